"""Peak signal-to-noise ratio of renders and of predicted frames."""

from __future__ import annotations

from typing import Any

import numpy as np

from components.metrics._support import frame_scores, names_of
from components.ops.image_quality import psnr
from components.ops.statistics import over_time
from registry.contract import Batch, Outputs
from registry.roles import METRICS


@METRICS.register_module("metrics/psnr")
class Psnr:
    """PSNR in dB for a range of 1: the mean of the values of the frames, not of the pooled error.

    Renders are compared with their targets (the baseline copies the source); predicted frames with
    the last of the clip, one figure per time step (the baseline copies the last seen frame).
    Frames without any error have an infinite PSNR: they are counted, not averaged; the value is
    100 if there are no others.

    Source: factorized sec 4.3; factorized fig 5
    """

    needs_render = True
    baseline = "copy_source"
    higher_is_better = True

    def __init__(self) -> None:
        self.scores: list[np.ndarray] = []
        self.names: list[str] = []
        self.seen: int | None = None

    def update(self, outputs: Outputs, batch: Batch, mean_of: str | None = None) -> None:
        """Add a batch."""
        scores, self.seen = frame_scores(psnr, outputs, batch, mean_of)
        self.scores.append(scores)
        self.names += names_of(batch, len(scores))

    def compute(self) -> dict[str, Any]:
        """Return metric, unit, value, interval, n, and further figures under ``extra``."""
        scores = np.concatenate(self.scores)
        exact = np.isinf(scores)
        if exact.all():
            scores = np.full_like(scores, 100)
        row = over_time([scores], self.names, self.seen)
        row["extra"]["frames without error"] = float(exact.sum())
        return {"metric": "psnr", "unit": "dB", **row}
