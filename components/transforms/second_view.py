"""A second view of the driving image, for losses that make landmarks follow a known warp."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from torch import Tensor

from components.ops.grid import Grid
from components.ops.warp import warp
from registry.contract import Batch, need
from registry.protocols import Warp
from registry.roles import TRANSFORMS


@TRANSFORMS.register_module("transforms/second_view")
class SecondView:
    """Set ``warped``, the driving image under one spline per item, and ``warp``, that spline.

    Args:
        driving_warp: sampler of the splines.
        padding: how to fill positions outside the image; FOMM reflects.
        grid: coordinate convention of the spline; ``corners`` in FOMM.
        align_corners: convention of the sampler; True is FOMM with torch before 1.3.

    Shapes:
        Batch, seeds (B,) -> Batch
    Source: lorenz sec 3; fomm sec 3.3
    Differs: Lorenz et al. warp one image twice and compare both views in it; here the driving image
        is the first view, and the spline relates it to the second
    """

    fills = ("warped", "warp")

    def __init__(
        self,
        *,
        driving_warp: Warp,
        padding: Literal["border", "reflection"] = "border",
        grid: Grid = "half_pixel",
        align_corners: bool = False,
    ) -> None:
        self.driving_warp = driving_warp
        self.padding, self.grid, self.align_corners = padding, grid, align_corners

    def __call__(self, batch: Batch, seeds: Tensor) -> Batch:
        image = need(batch, "driving", "the training dataset (data.train)")
        spline = self.driving_warp(seeds, 4, image.device)
        places = spline.grid(*image.shape[-2:], self.grid)
        warped = warp(image, places, self.padding, self.align_corners)
        return replace(batch, warped=warped, warp=spline)
