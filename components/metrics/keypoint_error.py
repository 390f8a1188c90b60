"""Distance between predicted landmarks and annotated keypoints, with nothing fitted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from components.metrics._support import UNITS, KeypointScore, Normaliser, choose
from components.ops.flips import flip_order
from registry.contract import Batch, Outputs
from registry.roles import METRICS


@METRICS.register_module("metrics/keypoint_error")
class KeypointError(KeypointScore):
    """Mean Euclidean distance over annotated keypoints, then over frames or activities.

    Args:
        normaliser: ``image``: percent of the image side; ``eyes``: percent of the distance between
            the two points of ``eyes``, without frames where it is below 1/64 (a pixel of 128);
            ``pixels``: original pixels of the crop.
        landmarks, keypoints: which landmarks are scored against which keypoints; None for all.
        eyes: keypoint numbers of the two eye points (36, 45 are the outer corners of 300-W).
        flip_pairs: left/right landmark numbers; also reports the error if an oracle exchanges them
            when that is better, and how often it does.
        activities: name prefixes that group clips; the value is then the mean of the groups' means,
            as in the paper; these and the mean over frames are also reported.

    Source: keypointgan sec 5; keypointgan table 1
    Differs: the interval is a 95 % bootstrap over clips (over frames, if there is one clip)
    """

    def __init__(
        self,
        *,
        normaliser: Normaliser = "image",
        landmarks: Sequence[int] | None = None,
        keypoints: Sequence[int] | None = None,
        eyes: Sequence[int] = (36, 45),
        flip_pairs: Sequence[Sequence[int]] = (),
        activities: Sequence[str] = (),
    ) -> None:
        super().__init__(normaliser, eyes, activities, landmarks, keypoints)
        self.flip_pairs = flip_pairs

    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Add a batch: landmarks; keypoints, size, name."""
        super().update(outputs, batch)
        found = choose(self.found[-1], self.landmarks).shape[1]
        wanted = choose(self.truth[-1], self.keypoints).shape[1]
        if found != wanted:
            raise ValueError(
                f"{found} landmarks but {wanted} keypoints; choose some with the metric's "
                "landmarks= and keypoints=."
            )

    def compute(self) -> dict[str, Any]:
        """Return metric, unit, value, interval, n, and further figures under ``extra``."""
        found = np.concatenate(self.found)
        points = choose(found, self.landmarks)
        row = self.row(points)
        if self.flip_pairs:
            other = found[:, flip_order(found.shape[1], self.flip_pairs)]
            plain, flipped = self.of_frames(points), self.of_frames(choose(other, self.landmarks))
            known = np.isfinite(plain)
            row["extra"]["oracle left/right"] = float(np.minimum(plain, flipped)[known].mean())
            row["extra"]["exchanged by the oracle"] = float((flipped < plain)[known].mean())
        return {"metric": "keypoint_error", "unit": UNITS[self.normaliser], **row}
