"""Structural similarity of renders and of predicted frames."""

from __future__ import annotations

from typing import Any

import numpy as np

from components.metrics._support import frame_scores, names_of
from components.ops.image_quality import ssim
from components.ops.statistics import over_time
from registry.contract import Batch, Outputs
from registry.roles import METRICS


@METRICS.register_module("metrics/ssim")
class Ssim:
    """SSIM with the settings of Wang et al. 2004, per channel, mean over frames.

    A Gaussian window of 11 x 11 and sigma 1.5, K1 = 0.01, K2 = 0.03, range 1; scikit-image gives
    the same with ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False``. Renders are
    compared with their targets (the baseline copies the source); predicted frames with the last of
    the clip, one figure per time step (the baseline copies the last seen frame).

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
        scores, self.seen = frame_scores(ssim, outputs, batch, mean_of)
        self.scores.append(scores)
        self.names += names_of(batch, len(scores))

    def compute(self) -> dict[str, Any]:
        """Return metric, unit, value, interval, n, and further figures under ``extra``."""
        row = over_time(self.scores, self.names, self.seen)
        return {"metric": "ssim", "unit": "SSIM", **row}
