"""Distance between the keypoints a detector finds in renders and in targets (AKD, MKR)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from components.metrics._support import ImageScore, scaled
from components.ops.statistics import summary
from registry.checkpoint import load, load_part
from registry.contract import Landmarks
from registry.errors import ConfigError
from registry.protocols import Bottleneck, Encoder
from registry.roles import METRICS


@METRICS.register_module("metrics/keypoint_distance")
class KeypointDistance(ImageScore):
    """Average keypoint distance in pixels, as in the official script, and the missing rate.

    The mean absolute difference of coordinates, over the points found in both images, then over
    frames. Also reported: the Euclidean distance that the name promises; the missing rate, the
    fraction of points found in the target but not in the render, mean over frames; and the number
    of frames left out because no point was found in the render or in the target. The judge must be
    provided, and results of different judges are not comparable.

    Args:
        detector: the judge, a bottleneck (from a plugin) that takes images (B, 3, H, W) in [0, 1];
            a ``score`` of 0 means that a point was not found.
        encoder, bottleneck: alternatively, those of a pipeline trained here.
        weights: checkpoint of that pipeline, which finds all its points in every image.

    Raises:
        ConfigError: neither or both judges are given, or the checkpoint does not fit.
    Source: fomm sec 4; monkeynet sec 4; lee table 1
    Differs: a target without points is left out (the official script stops there)
    """

    metric, unit = "keypoint_distance", "px"

    def __init__(
        self,
        *,
        detector: Bottleneck | None = None,
        encoder: Encoder | None = None,
        bottleneck: Bottleneck | None = None,
        weights: str | None = None,
    ) -> None:
        parts = {"encoder": encoder, "bottleneck": bottleneck}
        given = [value is not None for value in (*parts.values(), weights)]
        if any(given) is (detector is not None) or any(given) is not all(given):
            raise ConfigError("set either detector, or encoder, bottleneck and weights of a run.")
        super().__init__()
        self.detector = detector or _Trained(parts, str(weights))

    @torch.no_grad()
    def compare(self, image: Tensor, target: Tensor) -> Tensor:
        """Return coordinate difference, distance and missing rate of each image (B, 3)."""
        detector = self.detector
        if isinstance(detector, nn.Module):
            detector = detector.to(image.device).eval()
        ours, theirs = detector(image.float()), detector(target.float())
        xy, true_xy = ours.xy, theirs.xy
        found, wanted = (
            xy.new_ones(xy.shape[:2]) if each.score is None else each.score > 0
            for each in (ours, theirs)
        )
        side = xy.new_tensor(image.shape[:-3:-1])  # width, height
        offset = scaled((xy - true_xy).double(), side)
        both, wanted = found.bool() & wanted.bool(), wanted.bool()
        values = torch.stack((offset.abs().mean(dim=-1), offset.norm(dim=-1)), dim=-1)
        values = values.where(both[..., None], 0.0).sum(dim=1) / both.sum(dim=1, keepdim=True)
        missing = (wanted & ~both).sum(dim=1) / wanted.sum(dim=1).double()
        return torch.cat((values, missing[:, None]), dim=1)  # NaN: no point to compare

    def compute(self) -> dict[str, Any]:
        """Return metric, unit, value, interval, n, and further figures under ``extra``."""
        table = np.concatenate(self.scores)
        names = np.repeat(self.names, table.shape[1])
        difference, distance, missing = table.reshape(-1, 3).T
        there, compared = np.isfinite(missing), np.isfinite(difference)
        if not there.any():
            raise ValueError(
                "metrics/keypoint_distance: the detector finds no point in any true frame; "
                "evaluate on images it was trained for, or use another detector."
            )
        row: dict[str, Any] = {"value": math.nan, "interval": [math.nan] * 2, "n": 0, "extra": {}}
        if compared.any():
            row = summary(difference[compared], names[compared].tolist())
            row["extra"]["Euclidean"] = float(distance[compared].mean())
        row["extra"] |= {
            "missing rate": float(missing[there].mean()),
            "frames without points in the render": float((there & ~compared).sum()),
            "frames without points in the target": float((~there).sum()),
        }
        return {"metric": self.metric, "unit": self.unit, **row}


class _Trained(nn.Module):
    """The landmarks of a trained pipeline as a detector."""

    def __init__(self, parts: dict[str, Any], weights: str) -> None:
        super().__init__()
        state = load(weights)
        for name, part in parts.items():
            load_part(part, state, name, weights)
        self.encoder, self.bottleneck = parts["encoder"], parts["bottleneck"]

    def forward(self, maps: Tensor) -> Landmarks:
        return self.bottleneck(self.encoder(maps).maps)
