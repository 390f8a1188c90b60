"""Distance of forecast landmarks from those of the true frames."""

from __future__ import annotations

from typing import Any

from components.metrics._support import UNITS, Array, frames_seen, lengths, names_of, numpy_of
from components.ops.statistics import over_time
from registry.contract import Batch, Outputs, need
from registry.roles import METRICS


@METRICS.register_module("metrics/state_error")
class StateError:
    """Mean Euclidean distance of forecast landmarks from those detected in the true frames.

    A figure per time step is also reported; the baseline keeps the landmarks of the last seen
    frame.

    Source: factorized sec D
    Differs: ours; the papers score only the rendered frames
    """

    reads = ("states", "true_states")

    def __init__(self) -> None:
        self.scores: list[Array] = []
        self.names: list[str] = []
        self.seen: int | None = None

    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Add a batch."""
        origin = "a pipeline that forecasts (pipelines/forecast)"
        found, truth = need(outputs, "states", origin), need(outputs, "true_states", origin)
        distance = lengths(numpy_of(found[..., :2]) - numpy_of(truth[..., :2]), 100)
        self.scores.append(distance.mean(axis=-1))
        self.seen = frames_seen(batch, found.shape[1])
        self.names += names_of(batch, len(found))

    def compute(self) -> dict[str, Any]:
        """Return metric, unit, value, interval, n, and further figures under ``extra``."""
        row = over_time(self.scores, self.names, self.seen)
        return {"metric": "state_error", "unit": UNITS["image"], **row}
