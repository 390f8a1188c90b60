"""The factorized model's "temp, tps": sources are a warp of the target and another frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from components.ops.warp import warp
from registry.contract import Batch, need
from registry.protocols import Warp
from registry.roles import TRANSFORMS


@TRANSFORMS.register_module("transforms/tps_and_temporal")
class TpsAndTemporal:
    """Double the batch: the first sources are the warped targets, the others the data set's.

    It must be the last transform, because the seeds are those of the original items.

    Args:
        source_warp: sampler of the splines that warp the targets.

    Shapes:
        Batch of B, seeds (B,) -> Batch of 2 B
    Source: factorized sec 4; factorized table 1
    """

    copies = 2

    def __init__(self, *, source_warp: Warp) -> None:
        self.source_warp = source_warp

    def __call__(self, batch: Batch, seeds: Tensor) -> Batch:
        data = "the training dataset (data.train)"
        driving, source = need(batch, "driving", data), need(batch, "source", data)
        # the target, because driving may be jittered
        image = driving if batch.target is None else batch.target
        grid = self.source_warp(seeds, 2, image.device).grid(*image.shape[-2:])
        twice: Batch = _twice(batch)
        sources = torch.cat((warp(image, grid, padding="border"), source))
        return replace(twice, source=sources, flow=None)


def _twice(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):  # the batch, and a spline in it
        return replace(value, **{f.name: _twice(getattr(value, f.name)) for f in fields(value)})
    if isinstance(value, Mapping):
        return {name: _twice(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return 2 * value
    return torch.cat((value, value)) if isinstance(value, Tensor) else value
