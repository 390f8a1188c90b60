"""Distance between predicted landmarks and annotated keypoints, nothing fitted in between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch

from components.ops.flips import flip_order
from registry.contract import Batch, Outputs, need
from registry.roles import METRICS


@METRICS.register_module("metrics/keypoint_error")
class KeypointError:
    """Mean Euclidean distance over visible keypoints and frames.

    Args:
        normaliser: ``image``: percent of the image side; ``eyes``: percent of the distance between
            the two points of ``eyes``; ``pixels``: pixels of the model's input image.
        landmarks, keypoints: which landmarks are scored against which keypoints; None for all.
        eyes: keypoint numbers of the two eye points (36, 45 are the outer corners of 300-W).
        flip_pairs: left/right landmark numbers; also reports the oracle minimum over exchanging
            them and how often the oracle exchanges.
        activities: name starts that group clips; their mean of means is reported as ``macro``.
        visible_only: score visible keypoints only.

    Source: keypointgan sec 5; keypointgan table 1
    Differs: the interval is a 95 % bootstrap over clips
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
        visible_only: bool = False,
    ) -> None:
        self.normaliser = normaliser
        self.landmarks, self.keypoints = landmarks, keypoints
        self.eyes, self.flip_pairs = list(eyes), flip_pairs
        self.activities, self.visible_only = activities, visible_only
        self.errors: list[np.ndarray] = []
        self.flipped: list[np.ndarray] = []
        self.names: list[str] = []

    def update(self, outputs: Outputs, batch: Batch, is_mean: bool = False) -> None:
        """Add a batch.

        Args:
            outputs: landmarks are scored.
            batch: keypoints, visible, name.
            is_mean: the landmarks are a mean of keypoints, so ``keypoints`` selects them too.
        """
        truth = need(batch, "keypoints", "an annotated dataset (data.test)")
        found = need(outputs, "landmarks", "a pipeline with a bottleneck").xy.float()
        if not is_mean and self.flip_pairs:
            other = found[:, flip_order(found.shape[1], self.flip_pairs)]
            self.flipped.append(self._frame_errors(_take(other, self.landmarks), truth, batch))
        chosen = self.keypoints if is_mean else self.landmarks
        self.errors.append(self._frame_errors(_take(found, chosen), truth, batch))
        self.names += batch.name or [str(i) for i in range(len(truth))]

    def _frame_errors(self, found: torch.Tensor, truth: torch.Tensor, batch: Batch) -> np.ndarray:
        wanted = _take(truth, self.keypoints)
        if found.shape != wanted.shape:
            raise ValueError(
                f"{found.shape[1]} landmarks against {wanted.shape[1]} keypoints; choose with "
                "the metric's landmarks= and keypoints=."
            )
        distance = (found - wanted).norm(dim=-1) / 2  # of the image side
        weight = torch.ones_like(distance)
        if self.visible_only and batch.visible is not None:
            weight = _take(batch.visible, self.keypoints)
        if self.normaliser == "eyes":
            left, right = truth[:, self.eyes[0]], truth[:, self.eyes[1]]
            distance = distance / ((left - right).norm(dim=-1, keepdim=True) / 2)
        elif self.normaliser == "pixels":
            distance = distance * batch.driving.shape[-1] / 100
        per_frame = (distance * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1)
        per_frame[weight.sum(dim=1) == 0] = float("nan")
        return 100 * per_frame.cpu().numpy()

    def compute(self) -> dict[str, Any]:
        """Return metric, unit, value, interval, n and, where asked for, macro and flip figures."""
        errors = np.concatenate(self.errors)
        unit = {"image": "% of image", "eyes": "% of eye distance", "pixels": "px"}[self.normaliser]
        clips = np.array([name.rpartition("/")[0] for name in self.names])
        row: dict[str, Any] = {
            "metric": "keypoint_error",
            "unit": unit,
            "value": float(np.nanmean(errors)),
            "interval": _bootstrap(errors, clips),
            "n": int(np.isfinite(errors).sum()),
        }
        if self.activities:
            starts = [clip.rpartition("/")[2].lower() for clip in clips]
            masks = [np.array([s.startswith(a) for s in starts]) for a in self.activities]
            missing = [a for a, m in zip(self.activities, masks) if not m.any()]
            if missing:
                raise ValueError(
                    f"no clip is named '{missing[0]}...', so the mean over activities would not "
                    f"be that of the paper; clips are named like '{clips[0]}'. Correct "
                    "activities=, or add the data."
                )
            row["macro"] = float(np.mean([np.nanmean(errors[m]) for m in masks]))
        if self.flipped:
            flipped = np.concatenate(self.flipped)
            row["oracle_flip"] = float(np.nanmean(np.minimum(errors, flipped)))
            row["oracle_flip_rate"] = float(np.mean(flipped < errors))
        return row


def _take(points: torch.Tensor, chosen: Sequence[int] | None) -> torch.Tensor:
    return points if chosen is None else points[:, list(chosen)]


def _bootstrap(errors: np.ndarray, clips: np.ndarray, rounds: int = 1000) -> list[float]:
    """Resample whole clips: frames of one clip are not independent."""
    ids, group = np.unique(clips, return_inverse=True)
    ok = np.isfinite(errors)
    sums = np.bincount(group[ok], errors[ok], len(ids))
    counts = np.bincount(group[ok], minlength=len(ids))
    draw = np.random.default_rng(0).integers(len(ids), size=(rounds, len(ids)))
    means = sums[draw].sum(axis=1) / np.maximum(counts[draw].sum(axis=1), 1)
    return [float(v) for v in np.quantile(means, (0.025, 0.975))]
