"""How far forecast landmarks are from those of the true frames."""

from __future__ import annotations

from typing import Any

import numpy as np

from components.metrics._support import frames_seen, names_of
from components.ops.statistics import over_time
from registry.contract import Batch, Outputs, need
from registry.roles import METRICS


@METRICS.register_module("metrics/state_error")
class StateError:
    """Mean Euclidean distance of forecast landmarks to those the model reads off the true frames.

    One figure per time step is reported beside the mean; the baseline keeps the landmarks of the
    last seen frame.

    Source: factorized sec D
    Differs: ours; the papers score the rendered frames only
    """

    needs_render = True

    def __init__(self) -> None:
        self.scores: list[np.ndarray] = []
        self.names: list[str] = []
        self.seen: int | None = None

    def update(self, outputs: Outputs, batch: Batch, mean_of: str | None = None) -> None:
        """Add a batch."""
        origin = "a pipeline that forecasts (pipelines/forecast)"
        found, truth = need(outputs, "states", origin), need(outputs, "true_states", origin)
        distance = (found[..., :2] - truth[..., :2]).double().norm(dim=-1) / 2  # of the image side
        self.scores.append(100 * distance.mean(dim=-1).cpu().numpy())
        self.seen = frames_seen(batch, found.shape[1])
        self.names += names_of(batch, len(found))

    def compute(self) -> dict[str, Any]:
        """Return metric, unit, value, interval, n, and further figures under ``extra``."""
        row = over_time(self.scores, self.names, self.seen)
        return {"metric": "state_error", "unit": "% of image", **row}
