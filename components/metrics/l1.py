"""Mean absolute difference of renders and of predicted frames."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from components.metrics._support import frame_scores, names_of
from components.ops.statistics import over_time
from registry.contract import Batch, Outputs
from registry.roles import METRICS


@METRICS.register_module("metrics/l1")
class L1:
    """Mean over frames of the mean absolute difference of pixels in [0, 1].

    Renders are compared with their targets (the baseline copies the source); predicted frames with
    the last of the clip, one figure per time step (the baseline copies the last seen frame). The
    motion transfer papers reconstruct test clips from their first frames (datasets/first_source).

    Source: fomm sec 4; monkeynet sec 4; lee table 1
    """

    needs_render = True
    baseline = "copy_source"

    def __init__(self) -> None:
        self.scores: list[np.ndarray] = []
        self.names: list[str] = []
        self.seen: int | None = None

    def update(self, outputs: Outputs, batch: Batch, mean_of: str | None = None) -> None:
        """Add a batch."""
        scores, self.seen = frame_scores(_difference, outputs, batch, mean_of)
        self.scores.append(scores)
        self.names += names_of(batch, len(scores))

    def compute(self) -> dict[str, Any]:
        """Return metric, unit, value, interval, n, and further figures under ``extra``."""
        row = over_time(self.scores, self.names, self.seen)
        return {"metric": "l1", "unit": "of [0, 1]", **row}


def _difference(image: Tensor, target: Tensor) -> Tensor:
    return (image.double() - target.double()).abs().mean(dim=(1, 2, 3))
