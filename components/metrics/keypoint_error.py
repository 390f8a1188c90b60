"""Distance between predicted landmarks and annotated keypoints, nothing fitted in between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from components.metrics._support import UNITS, Normaliser, names_of, ruler
from components.ops.flips import flip_order
from components.ops.statistics import over_frames
from registry.contract import Batch, Outputs, need
from registry.errors import ConfigError
from registry.roles import METRICS


@METRICS.register_module("metrics/keypoint_error")
class KeypointError:
    """Mean Euclidean distance over annotated keypoints, then over frames or activities.

    Args:
        normaliser: ``image``: percent of the image side; ``eyes``: percent of the distance between
            the two points of ``eyes``, without frames where it is below 1/64 (a pixel of 128);
            ``pixels``: original pixels of the crop where the data set tells its size, else pixels
            of the model's input image.
        landmarks, keypoints: which landmarks are scored against which keypoints; None for all.
        eyes: keypoint numbers of the two eye points (36, 45 are the outer corners of 300-W).
        flip_pairs: left/right landmark numbers; also reports the oracle minimum over exchanging
            them and how often the oracle exchanges.
        activities: name starts that group clips; the value is then the mean of their means, as the
            paper's, and the mean over frames is reported beside it.

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
        self.normaliser = normaliser
        self.landmarks, self.keypoints = landmarks, keypoints
        self.eyes, self.flip_pairs = list(eyes), flip_pairs
        self.activities = activities
        self.errors: list[np.ndarray] = []
        self.flipped: list[np.ndarray] = []
        self.names: list[str] = []

    def update(self, outputs: Outputs, batch: Batch, mean_of: str | None = None) -> None:
        """Add a batch.

        Args:
            outputs: landmarks are scored.
            batch: keypoints, visible, name.
            mean_of: the landmarks are the mean of this; of ``data.train`` it is one of keypoints,
                so ``keypoints`` selects them too.
        """
        truth = need(batch, "keypoints", "an annotated dataset (data.test)")
        if mean_of and outputs.landmarks is None:
            raise ConfigError(
                "neither data.train nor data.prior has keypoints; the mean baseline needs some."
            )
        found = need(outputs, "landmarks", "a pipeline with a bottleneck").xy.float()
        if not mean_of and self.flip_pairs:
            other = found[:, flip_order(found.shape[1], self.flip_pairs)]
            self.flipped.append(self._frame_errors(_take(other, self.landmarks), truth, batch))
        chosen = self.keypoints if mean_of == "data.train" else self.landmarks
        self.errors.append(self._frame_errors(_take(found, chosen), truth, batch))
        self.names += names_of(batch, len(truth))

    def _frame_errors(self, found: torch.Tensor, truth: torch.Tensor, batch: Batch) -> np.ndarray:
        wanted = _take(truth, self.keypoints)
        if found.shape != wanted.shape:
            raise ValueError(
                f"{found.shape[1]} landmarks against {wanted.shape[1]} keypoints; choose with "
                "the metric's landmarks= and keypoints=."
            )
        known = wanted.isfinite().all(dim=-1)  # a missing keypoint is NaN
        units = ruler(self.normaliser, batch, truth, self.eyes)[:, None] / 2
        distance = (units * (found - wanted.nan_to_num())).norm(dim=-1)
        per_frame = distance.where(known, 0.0).sum(dim=1) / known.sum(dim=1)  # NaN: nothing known
        return per_frame.cpu().numpy()

    def compute(self) -> dict[str, Any]:
        """Return metric, unit, value, interval, n, and further figures under ``extra``."""
        errors = np.concatenate(self.errors)
        row = over_frames(errors, self.names, self.activities)
        if self.flipped:
            known, flipped = np.isfinite(errors), np.concatenate(self.flipped)
            best = np.minimum(errors, flipped)[known]
            row["extra"]["oracle left/right"] = float(best.mean())
            row["extra"]["exchanged by the oracle"] = float((flipped < errors)[known].mean())
        return {"metric": "keypoint_error", "unit": UNITS[self.normaliser], **row}


def _take(points: torch.Tensor, chosen: Sequence[int] | None) -> torch.Tensor:
    return points if chosen is None else points[:, list(chosen)]
