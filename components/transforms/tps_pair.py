"""Thin-plate warps of an image pair: two warps of one image, or one warp of both."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from components.ops.tps import Spline
from components.ops.warp import warp
from registry.contract import Batch, need
from registry.protocols import Warp
from registry.roles import TRANSFORMS


@TRANSFORMS.register_module("transforms/tps_pair")
class TpsPair:
    """Warp driving (with its target, mask, weight, keypoints) and source, each with its own spline.

    Args:
        source_warp: sampler of the source's splines; None warps it like the driving image, so
            that a pair of video frames keeps its still background.
        driving_warp: sampler of the driving image's splines; None leaves it unchanged.
        chained: warp the source from the warped driving image (IMM) instead of from the original.

    Shapes:
        Batch, seeds (B,) -> Batch
    Source: keypointgan sec 3.2; imm sec 3
    Differs: keypoints follow the warp, which no official code does; those that leave the image
        become invisible
    """

    def __init__(
        self,
        *,
        source_warp: Warp | None = None,
        driving_warp: Warp | None = None,
        chained: bool = False,
    ) -> None:
        self.source_warp, self.driving_warp = source_warp, driving_warp
        self.chained = chained

    def __call__(self, batch: Batch, seeds: Tensor) -> Batch:
        image = need(batch, "driving", "the training dataset (data.train)")
        source = need(batch, "source", "the training dataset (data.train)")
        spline = None
        if self.driving_warp is not None:
            spline = self.driving_warp(seeds, 1, image.device)
            batch = warp_driving(batch, spline)
        if self.chained:
            source = batch.driving
        if self.source_warp is not None:
            spline = self.source_warp(seeds, 2, image.device)
        if spline is None:
            return batch
        moved = warp(source, spline.grid(*image.shape[-2:]), padding="border")
        return replace(batch, source=moved, flow=None)


def warp_driving(batch: Batch, spline: Spline) -> Batch:
    """Warp driving, target, mask, weight and keypoints of a batch by one spline per item.

    Flow and a second view, which no longer match the driving image, are dropped.
    """
    driving = need(batch, "driving", "the training dataset (data.train)")
    grid = spline.grid(*driving.shape[-2:])
    same = batch.target is driving
    changed: dict[str, Any] = {"driving": warp(driving, grid, padding="border")}
    if batch.target is not None:
        changed["target"] = (
            changed["driving"] if same else warp(batch.target, grid, padding="border")
        )
    if batch.mask is not None:
        changed["mask"] = warp(batch.mask, grid)
    if batch.weight is not None:
        changed["weight"] = warp(batch.weight, grid)  # 0 outside: invented pixels do not count
    if batch.keypoints is not None:
        moved = spline.invert(batch.keypoints)
        inside = (moved.abs() <= 1).all(dim=-1).float()
        changed["keypoints"] = moved
        changed["visible"] = inside if batch.visible is None else batch.visible * inside
    return replace(batch, **changed, flow=None, warped=None, warp=None)
