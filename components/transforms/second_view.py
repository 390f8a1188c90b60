"""A second view of the driving image, for losses that ask landmarks to follow a known warp."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from components.ops.tps import Spline
from components.ops.warp import warp
from registry.contract import Batch, need
from registry.roles import TRANSFORMS


@TRANSFORMS.register_module("transforms/second_view")
class SecondView:
    """Set ``warped``, the driving image under one spline per item, and ``warped_grid``.

    Args:
        driving_transform: sampler of the splines.

    Shapes:
        Batch, seeds (B,) -> Batch
    Source: lorenz sec 3; fomm sec 3.3
    Differs: Lorenz et al. warp one image twice and compare both views in it; here the driving image
        is the first view, and the spline leads from the first to the second
    """

    def __init__(self, *, driving_transform: Callable[[Tensor, int, torch.device], Spline]) -> None:
        self.driving_transform = driving_transform

    def __call__(self, batch: Batch, seeds: Tensor) -> Batch:
        image = need(batch, "driving", "the training dataset (data.train)")
        grid = self.driving_transform(seeds, 4, image.device).grid(*image.shape[-2:])
        return replace(batch, warped=warp(image, grid, padding="border"), warped_grid=grid)
