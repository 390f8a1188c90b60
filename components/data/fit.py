"""Fit an image of any size into the square image a model sees, and map points both ways."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from components.ops.pixels import from_pixel

FITS = ("stretch", "pad", "crop")

Array = NDArray[Any]
Crop = tuple[int, int, int, int]


def check_crop(crop: Crop | None, size: tuple[int, int], place: str) -> None:
    """Refuse a user's crop that does not lie inside the picture.

    Args:
        crop: (left, top, width, height) in original pixels; None is fine.
        size: (width, height) of the picture.
        place: name of the setting, which begins the error.

    Raises:
        ValueError: the crop is not a rectangle, or extends beyond the picture.
    """
    if crop is None:
        return
    if len(crop) != 4 or min(crop[2:]) < 1:
        raise ValueError(
            f"{place}={crop} must be (left, top, width, height), width and height over 0."
        )
    left, top, w, h = crop
    if left < 0 or top < 0 or left + w > size[0] or top + h > size[1]:
        raise ValueError(
            f"{place}={crop} (left, top, width, height) extends beyond a picture of {size[0]} x "
            f"{size[1]} pixels. Keep it inside, or leave it out."
        )


def fit_image(
    image: Array, image_size: int, fit: str = "stretch", crop: Crop | None = None
) -> tuple[Array, Array]:
    """Cut, pad and resize an image to a square.

    Shapes: image (H, W) or (H, W, 3); returns (image_size, image_size[, 3]) and an affine (2, 3).

    Args:
        image: the original, uint8.
        image_size: side of the result in pixels.
        fit: "stretch" both axes, "pad" the short one with black, or "crop" to the middle of the
            long one.
        crop: (left, top, width, height) in original pixels, cut out first; black outside the image.

    Returns:
        The resized image, and the affine from original pixels to contract coordinates.
    """
    height, width = image.shape[:2]
    left, top, w, h = _window(width, height, fit, crop)
    right, bottom = left + w, top + h
    inside = image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if inside.size == 0:
        raise ValueError(
            f"crop={crop} lies outside the image of {width} x {height} pixels. Move it."
        )
    if inside.shape[:2] != (h, w):
        above, below = max(-top, 0), max(bottom - height, 0)
        before, after = max(-left, 0), max(right - width, 0)
        inside = cv2.copyMakeBorder(inside, above, below, before, after, cv2.BORDER_CONSTANT)
    # each axis separately: averaged when shrinking, interpolated when enlarging
    smaller = min(w, image_size), min(h, image_size)
    resized = cv2.resize(inside, smaller, interpolation=cv2.INTER_AREA)
    resized = cv2.resize(resized, (image_size, image_size), interpolation=cv2.INTER_LINEAR)
    return resized, fit_affine((width, height), fit, crop)


def fit_affine(size: tuple[int, int], fit: str = "stretch", crop: Crop | None = None) -> Array:
    """Return the affine of `fit_image` for an original of `size` (width, height)."""
    left, top, w, h = _window(*size, fit, crop)
    return np.array([[2 / w, 0, from_pixel(-left, w)], [0, 2 / h, from_pixel(-top, h)]])


def fit_size(size: tuple[int, int], fit: str = "stretch", crop: Crop | None = None) -> Array:
    """Return width and height (2,) float32, in original pixels, of what `fit_image` shows.

    Args:
        size: (width, height) of the original.
        fit, crop: as of `fit_image`.
    """
    return np.array(_window(*size, fit, crop)[2:], np.float32)


def to_contract(xy: Array, affine: Array) -> Array:
    """Map points from original pixels, centres at integers, to contract coordinates.

    Shapes: xy (..., 2), affine (2, 3); returns float32 (..., 2).
    """
    return (np.asarray(xy, np.float64) @ affine[:, :2].T + affine[:, 2]).astype(np.float32)


def to_pixels(xy: Array, affine: Array) -> Array:
    """Map points from contract coordinates back to original pixels: the inverse of `to_contract`.

    Shapes: xy (..., 2), affine (2, 3); returns float32 (..., 2).
    """
    inverse = np.linalg.inv(affine[:, :2])
    return ((np.asarray(xy, np.float64) - affine[:, 2]) @ inverse.T).astype(np.float32)


def _window(width: int, height: int, fit: str, crop: Crop | None) -> Crop:
    """Return the rectangle (left, top, width, height) that becomes the whole result."""
    left, top, w, h = crop or (0, 0, width, height)
    if fit == "stretch":
        return left, top, w, h
    if fit not in FITS:
        raise ValueError(f"fit={fit!r} must be one of {', '.join(FITS)}.")
    side = max(w, h) if fit == "pad" else min(w, h)
    return left + (w - side) // 2, top + (h - side) // 2, side, side
