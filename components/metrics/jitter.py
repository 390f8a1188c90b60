"""How unsteadily landmarks move from frame to frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from components.metrics._support import UNITS, Array, landmarks_of, lengths, names_of, numpy_of
from components.ops.statistics import numbered, over_frames
from registry.contract import Batch, Landmarks, Outputs, need
from registry.roles import METRICS


@METRICS.register_module("metrics/jitter")
class Jitter:
    """Mean length of the second differences p(t + 1) - 2 p(t) + p(t - 1) of landmarks.

    Uniform motion has no jitter, whatever its speed. A frame is scored if both frames next to it by
    number (in the name, ``<clip>/<frame>``) are present. Also reported are how far landmarks move
    per frame, since still landmarks (the baseline) have no jitter either, and both figures for the
    annotated keypoints, which show the jitter of real motion.

    Raises:
        ValueError: no frame has both neighbours.
    Source: lee sec 3
    Differs: ours; the paper only shows pictures
    """

    baseline = "still_landmarks"

    def __init__(self) -> None:
        self.found: list[Array] = []
        self.truth: list[Array] = []
        self.names: list[str] = []

    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Add a batch."""
        xy = landmarks_of(outputs).xy
        unknown = xy.new_full((len(xy), 1, 2), torch.nan)
        self.found.append(numpy_of(xy))
        self.truth.append(numpy_of(unknown if batch.keypoints is None else batch.keypoints))
        self.names += names_of(batch, len(xy))

    def guess(self, batch: Batch) -> Outputs:
        """Return one still landmark in the middle."""
        images = need(batch, "driving", "the data set (data.test)")
        return Outputs(landmarks=Landmarks(xy=images.new_zeros(len(images), 1, 2)))

    def compute(self) -> dict[str, Any]:
        """Return metric, unit, value, interval, n, and further figures under ``extra``."""
        triples = _triples(self.names)
        if not len(triples):
            raise ValueError(
                "metrics/jitter: no three consecutive frames of a clip are evaluated. "
                "Set evaluate.max_items to None to keep every frame (to evaluate less, give "
                "data.test fewer clips). Names must end in frame numbers."
            )
        names = [self.names[i] for i in triples[:, 1]]
        jitter, movement = _differences(self.found, triples)
        row = over_frames(jitter, names)
        row["extra"]["movement"] = float(movement.mean())
        of_truth = [values[np.isfinite(values)] for values in _differences(self.truth, triples)]
        for name, values in zip(("keypoints", "movement of keypoints"), of_truth):
            if len(values):
                row["extra"][name] = float(values.mean())
        return {"metric": "jitter", "unit": UNITS["image"], **row}


def _triples(names: list[str]) -> Array:
    """Return the indices (N, 3) of the frames before, at and after each scored frame."""
    places: dict[tuple[str, int], int] = {}
    for place, name in enumerate(names):
        if found := numbered(name):
            places[found] = place
    triples = [
        (places[clip, i - 1], place, places[clip, i + 1])
        for (clip, i), place in places.items()
        if (clip, i - 1) in places and (clip, i + 1) in places
    ]
    return np.array(triples, int).reshape(-1, 3)


def _differences(points: list[Array], triples: Array) -> tuple[Array, Array]:
    """Return second and first differences in percent of the image, mean over known points (N,)."""
    before, now, after = np.concatenate(points)[triples.T]
    second, first = lengths(after - 2 * now + before, 100), lengths(after - now, 100)
    known = np.isfinite(second)
    count = known.sum(axis=1)
    unknown = np.full(len(count), np.nan)
    means = [
        np.divide(np.where(known, d, 0).sum(axis=1), count, out=unknown.copy(), where=count > 0)
        for d in (second, first)
    ]
    return means[0], means[1]
