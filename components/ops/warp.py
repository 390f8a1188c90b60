"""Sampling images at coordinates; the only file that calls ``grid_sample``."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from components.ops.grid import at_least_float32


def warp(
    image: Tensor,
    grid: Tensor,
    padding: Literal["zeros", "border", "reflection"] = "zeros",
    align_corners: bool = False,
) -> Tensor:
    """Sample ``image`` bilinearly where ``grid`` points.

    Args:
        image: (B, C, H, W).
        grid: (B, h, w, 2), (x, y) in [-1, 1]: where each output pixel comes from.
        padding: how to fill positions outside the image.
        align_corners: False is the contract; True is for parity with code made before torch 1.3.

    Shapes:
        -> (B, C, h, w)
    """
    # in bfloat16 a grid has eight bits: steps of a whole pixel in an image of 256
    wide = at_least_float32(image)
    moved = F.grid_sample(
        wide,
        grid.to(wide.dtype),
        mode="bilinear",
        padding_mode=padding,
        align_corners=align_corners,
    )
    return moved.to(image.dtype)
