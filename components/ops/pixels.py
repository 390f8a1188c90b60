"""Pixel and contract coordinates: plain arithmetic for numbers, arrays and tensors."""

from __future__ import annotations

from typing import Any


def from_pixel(pixel: Any, size: Any) -> Any:
    """Convert a pixel coordinate, pixel centres at integers, to a contract coordinate.

    Args:
        pixel: number, array or tensor.
        size: pixels of the axis that spans [-1, 1]; broadcast with ``pixel``.

    Example:
        >>> from_pixel(0, 4), from_pixel(1.5, 4), from_pixel(3, 4)
        (-0.75, 0.0, 0.75)
    """
    return (2 * pixel + 1) / size - 1


def to_pixel(coordinate: Any, size: Any) -> Any:
    """Convert a contract coordinate to a pixel coordinate: the inverse of :func:`from_pixel`."""
    return ((coordinate + 1) * size - 1) / 2
