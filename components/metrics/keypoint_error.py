"""Distance between predicted landmarks and annotated keypoints, nothing fitted in between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch

from components.ops.flips import flip_order
from registry.contract import Batch, Outputs, need
from registry.errors import ConfigError
from registry.roles import METRICS

_UNITS = {"image": "% of image", "eyes": "% of eye distance", "pixels": "px"}


@METRICS.register_module("metrics/keypoint_error")
class KeypointError:
    """Mean Euclidean distance over annotated keypoints, then over frames or activities.

    Args:
        normaliser: ``image``: percent of the image side; ``eyes``: percent of the distance between
            the two points of ``eyes``; ``pixels``: pixels of the model's input image.
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
        normaliser: Literal["image", "eyes", "pixels"] = "image",
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
        self.names += batch.name or [str(i) for i in range(len(truth))]

    def _frame_errors(self, found: torch.Tensor, truth: torch.Tensor, batch: Batch) -> np.ndarray:
        wanted = _take(truth, self.keypoints)
        if found.shape != wanted.shape:
            raise ValueError(
                f"{found.shape[1]} landmarks against {wanted.shape[1]} keypoints; choose with "
                "the metric's landmarks= and keypoints=."
            )
        known = wanted.isfinite().all(dim=-1)  # a missing keypoint is NaN
        distance = (found - wanted.nan_to_num()).norm(dim=-1) / 2  # of the image side
        if self.normaliser == "eyes":
            left, right = truth[:, self.eyes[0]], truth[:, self.eyes[1]]
            distance = distance / ((left - right).norm(dim=-1, keepdim=True) / 2)
        elif self.normaliser == "pixels":
            distance = distance * batch.driving.shape[-1] / 100
        per_frame = distance.where(known, 0.0).sum(dim=1) / known.sum(dim=1)  # NaN: nothing known
        return 100 * per_frame.cpu().numpy()

    def compute(self) -> dict[str, Any]:
        """Return metric, unit, value, interval, n, and further figures under ``extra``."""
        errors, names = np.concatenate(self.errors), np.array(self.names)
        known = np.isfinite(errors)
        if not known.any():
            raise ValueError(
                "no frame has an annotated keypoint; annotate some, or correct the data."
            )
        errors, names = errors[known], names[known]
        clips = np.array([name.rpartition("/")[0] for name in names])
        groups = self._activities_of(clips)
        extra = {}
        if self.activities:
            extra["mean over frames"] = float(errors.mean())
        if self.flipped:
            flipped = np.concatenate(self.flipped)[known]
            extra["oracle left/right"] = float(np.minimum(errors, flipped).mean())
            extra["exchanged by the oracle"] = float((flipped < errors).mean())
        return {
            "metric": "keypoint_error",
            "unit": _UNITS[self.normaliser],
            "value": float(_means(errors, groups).mean()),
            "interval": _bootstrap(errors, clips, groups),
            "n": len(errors),
            "extra": extra,
        }

    def _activities_of(self, clips: np.ndarray) -> np.ndarray:
        """Return the activity number of each frame; all 0 without activities."""
        if not self.activities:
            return np.zeros(len(clips), int)
        starts = np.array([clip.rpartition("/")[2].lower() for clip in clips])
        groups = np.full(len(clips), -1)
        for number, activity in enumerate(self.activities):
            chosen = np.char.startswith(starts, activity)
            if not chosen.any():
                raise ValueError(
                    f"no clip is named '{activity}...', so the mean over activities would not "
                    f"be that of the paper; clips are named like '{clips[0]}'. Correct "
                    "activities=, or add the data."
                )
            groups[chosen] = number
        if (groups < 0).any():
            other = clips[int(np.argmax(groups < 0))]
            raise ValueError(f"clip '{other}' is of none of the activities; correct activities=.")
        return groups


def _take(points: torch.Tensor, chosen: Sequence[int] | None) -> torch.Tensor:
    return points if chosen is None else points[:, list(chosen)]


def _means(errors: np.ndarray, groups: np.ndarray) -> np.ndarray:
    return np.bincount(groups, errors) / np.bincount(groups)


def _bootstrap(
    errors: np.ndarray, clips: np.ndarray, groups: np.ndarray, rounds: int = 1000
) -> list[float]:
    """Resample whole clips, within their activity: frames of one clip are not independent."""
    ids, clip = np.unique(clips, return_inverse=True)
    if len(ids) == 1:
        ids = clip = np.arange(len(errors))
    sums, counts = np.bincount(clip, errors), np.bincount(clip)
    group_of = np.zeros(len(ids), int)
    group_of[clip] = groups
    rng = np.random.default_rng(0)
    means = []
    for group in np.unique(group_of):
        own = np.flatnonzero(group_of == group)
        draw = own[rng.integers(len(own), size=(rounds, len(own)))]
        means.append(sums[draw].sum(axis=1) / counts[draw].sum(axis=1))
    return [float(v) for v in np.quantile(np.mean(means, axis=0), (0.025, 0.975))]
