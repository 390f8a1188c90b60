"""How unsteadily landmarks move from frame to frame."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.metrics._support import names_of
from components.ops.statistics import over_frames
from registry.contract import Batch, Outputs, need
from registry.roles import METRICS


@METRICS.register_module("metrics/jitter")
class Jitter:
    """Mean length of the second differences p(t + 1) - 2 p(t) + p(t - 1) of landmarks.

    Steady motion has none, whatever its speed. Scored are the frames whose neighbours by number
    (of the name, ``<clip>/<frame>``) are also there. How far landmarks move from one frame to the
    next, and both figures of the annotated keypoints, which is what real motion has, are reported
    beside the value: landmarks that stand still have no jitter either, which is the baseline.

    Raises:
        ValueError: no frame has both neighbours.
    Source: lee sec 3
    Differs: ours; the paper shows pictures only
    """

    baseline = "still_landmarks"

    def __init__(self) -> None:
        self.found: list[Tensor] = []
        self.truth: list[Tensor] = []
        self.names: list[str] = []

    def update(self, outputs: Outputs, batch: Batch, mean_of: str | None = None) -> None:
        """Add a batch."""
        if mean_of:
            xy = torch.zeros(len(need(batch, "driving", "the data set (data.test)")), 1, 2)
        else:
            xy = need(outputs, "landmarks", "a pipeline with a bottleneck").xy
        truth = xy.new_full((len(xy), 1, 2), torch.nan)
        self.found.append(xy.detach().double().cpu())
        self.truth.append((truth if batch.keypoints is None else batch.keypoints).double().cpu())
        self.names += names_of(batch, len(xy))

    def compute(self) -> dict[str, Any]:
        """Return metric, unit, value, interval, n, and further figures under ``extra``."""
        triples = _triples(self.names)
        if not len(triples):
            raise ValueError(
                "metrics/jitter: no three consecutive frames of a clip are among those evaluated. "
                "Set evaluate.max_items to None, which keeps every frame; to evaluate fewer, give "
                "data.test fewer clips. Names must end in frame numbers."
            )
        names = [self.names[i] for i in triples[:, 1]]
        jitter, movement = _differences(self.found, triples)
        row = over_frames(jitter, names)
        row["extra"]["movement"] = float(movement.mean())
        of_truth = [values[np.isfinite(values)] for values in _differences(self.truth, triples)]
        for name, values in zip(("keypoints", "movement of keypoints"), of_truth):
            if len(values):
                row["extra"][name] = float(values.mean())
        return {"metric": "jitter", "unit": "% of image", **row}


def _triples(names: list[str]) -> np.ndarray:
    """Return the positions (N, 3) of frames and of the ones before and after them."""
    places = {}
    for place, name in enumerate(names):
        if number := re.search(r"\d+$", name):
            places[name[: number.start()], int(number[0])] = place
    found = [
        (places[clip, i - 1], place, places[clip, i + 1])
        for (clip, i), place in places.items()
        if (clip, i - 1) in places and (clip, i + 1) in places
    ]
    return np.array(found, int).reshape(-1, 3)


def _differences(points: list[Tensor], triples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return second and first differences in percent of the image, mean over known points (N,)."""
    before, now, after = torch.cat(points).numpy()[triples.T]
    lengths = [np.linalg.norm(d, axis=-1) for d in (after - 2 * now + before, after - now)]
    known = np.isfinite(lengths[0])
    count = known.sum(axis=1)
    means = []
    for length in lengths:
        total = np.where(known, length, 0).sum(axis=1)
        means.append(50 * np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0))
    return means[0], means[1]
