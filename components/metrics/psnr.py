"""Peak signal-to-noise ratio of renders and of predicted frames."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from components.metrics._support import ImageScore
from components.ops.image_quality import psnr
from registry.roles import METRICS


@METRICS.register_module("metrics/psnr")
class Psnr(ImageScore):
    """PSNR in dB for a range of 1: the mean over frames, not the PSNR of the pooled error.

    Frames without any error have an infinite PSNR: they are counted, not averaged. If all frames
    are exact, the value is 100.

    Source: factorized sec 4.3; factorized fig 5
    """

    higher_is_better = True
    metric, unit = "psnr", "dB"

    def compare(self, image: Tensor, target: Tensor) -> Tensor:
        """Return the ratio of each image (B,)."""
        return psnr(image, target)

    def compute(self) -> dict[str, Any]:
        """Return metric, unit, value, interval, n, and further figures under ``extra``."""
        scores = np.concatenate(self.scores)
        exact = np.isinf(scores)
        if exact.all():
            self.scores = [np.full_like(scores, 100)]
        row = super().compute()
        row["extra"]["frames without error"] = float(exact.sum())
        return row
