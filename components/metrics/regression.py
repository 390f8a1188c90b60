"""Annotated keypoints predicted from the landmarks by a linear map: how the landmarks are judged
that were learned without names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from components.metrics._support import UNITS, Normaliser, names_of, ruler
from components.ops.statistics import over_frames
from registry.contract import Batch, Outputs, need
from registry.roles import METRICS

Array = NDArray[np.float64]


@METRICS.register_module("metrics/regression")
class Regression:
    """Error of keypoints regressed from landmark positions, by least squares on ``data.fit``.

    Each keypoint has the frames of ``data.fit`` where it is annotated. The mean's player predicts
    the mean keypoints of these frames. The same with (or without) an intercept, and the number of
    frames fitted on, are reported beside the value.

    Args:
        normaliser: ``image``: percent of the image side; ``eyes``: percent of the distance between
            the two points of ``eyes``, without frames where it is below 1/64 (a pixel of 128);
            ``pixels``: original pixels of the crop where the data set tells its size, else pixels
            of the model's input image.
        origin: where (0, 0) is for landmarks and keypoints: the ``center`` of the image (BBC Pose,
            H3.6M) or its top left ``corner`` (MAFL); it matters where there is no intercept.
        intercept: also fit a constant; the papers do not.
        eyes: keypoint numbers of the two eyes.
        radius_px: score the share of keypoints within this distance instead of the error; in
            pixels as above, times ``accuracy_scale``.
        accuracy_scale: 1: the text's 6 pixels of the image; 0.5: the released BBC Pose code, which
            maps every coordinate to 0.5 (p - 1) + 1, so that its 6 pixels are 12 of the frame.
        activities: name starts that group clips; the value is then the mean of their means, and the
            mean over frames is reported beside it.

    Source: factorized sec 4.2; factorized sec A; factorized table 3; imm sec 4
    Differs: landmarks are kept in float32 (the official code dumps float16); directions below 1e-6
        of the largest singular value, float32 noise, are not fitted; the interval is a 95 %
        bootstrap over clips of the test set, for one and the same fit
    """

    def __init__(
        self,
        *,
        normaliser: Normaliser = "image",
        origin: Literal["center", "corner"] = "center",
        intercept: bool = False,
        eyes: Sequence[int] = (0, 1),
        radius_px: float | None = None,
        accuracy_scale: float = 1.0,
        activities: Sequence[str] = (),
    ) -> None:
        if origin not in ("center", "corner"):
            raise ValueError(f"unknown origin '{origin}'; use 'center' or 'corner'.")
        self.normaliser = normaliser
        self.shift = 1.0 if origin == "corner" else 0.0
        self.intercept = intercept
        self.eyes = list(eyes)
        self.radius_px, self.accuracy_scale = radius_px, accuracy_scale
        self.activities = activities
        self.higher_is_better = radius_px is not None
        self.of_mean = False
        self.fit_found: list[Array] = []
        self.fit_truth: list[Array] = []
        self.found: list[Array] = []
        self.truth: list[Array] = []
        self.units: list[Array] = []
        self.names: list[str] = []

    def fit(self, outputs: Outputs, batch: Batch) -> None:
        """Add a batch of ``data.fit``."""
        truth = need(batch, "keypoints", "an annotated dataset (data.fit)")
        self.fit_truth.append(_numpy(truth))
        if outputs.landmarks is not None:
            self.fit_found.append(_numpy(outputs.landmarks.xy))

    def update(self, outputs: Outputs, batch: Batch, mean_of: str | None = None) -> None:
        """Add a batch of the test set."""
        truth = need(batch, "keypoints", "an annotated dataset (data.test)")
        self.of_mean = mean_of is not None
        if not self.of_mean:
            landmarks = need(outputs, "landmarks", "a pipeline with a bottleneck")
            self.found.append(_numpy(landmarks.xy))
        normaliser = self.normaliser if self.radius_px is None else "pixels"
        self.units.append(_numpy(ruler(normaliser, batch, truth, self.eyes)))
        self.truth.append(_numpy(truth))
        self.names += names_of(batch, len(truth))

    def compute(self) -> dict[str, Any]:
        """Return metric, unit, value, interval, n, and further figures under ``extra``."""
        row = self._score(self.intercept)
        other = "without intercept" if self.intercept else "with intercept"
        row["extra"][other] = self._score(not self.intercept)["value"]
        known = np.isfinite(np.concatenate(self.fit_truth)).all(axis=-1).any(axis=-1)
        row["extra"]["frames fitted on"] = float(known.sum())
        if self.radius_px is None:
            return {"metric": "regression_error", "unit": UNITS[self.normaliser], **row}
        scale = f" at scale {self.accuracy_scale:g}" if self.accuracy_scale != 1 else ""
        unit = f"% within {self.radius_px:g} px{scale}"
        return {"metric": "regression_accuracy", "unit": unit, **row}

    def _score(self, intercept: bool) -> dict[str, Any]:
        truth, units = np.concatenate(self.truth), np.concatenate(self.units)
        offset = (self._predict(intercept) - truth) * units[:, None] / 2
        distance = np.linalg.norm(offset, axis=-1)
        if self.radius_px is not None:
            within = 100.0 * (self.accuracy_scale * distance <= self.radius_px)
            distance = np.where(np.isfinite(distance), within, np.nan)
        known = np.isfinite(truth).all(axis=-1)
        count = known.sum(axis=1)
        total = np.where(known, distance, 0).sum(axis=1)
        per_frame = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
        return over_frames(per_frame, self.names, self.activities)

    def _predict(self, intercept: bool) -> Array:
        """Return the keypoints (N, J, 2) of the test frames."""
        truth = np.concatenate(self.fit_truth)
        known = np.isfinite(truth).all(axis=-1)
        if not known.any(axis=0).all():
            raise ValueError(
                f"keypoint {int(np.argmin(known.any(axis=0)))} is annotated in no frame of "
                "data.fit, so nothing can be fitted to it; give data.fit more frames."
            )
        if self.of_mean:
            mean = np.where(known[..., None], truth, 0).sum(axis=0) / known.sum(axis=0)[:, None]
            return np.broadcast_to(mean, (len(self.names), *mean.shape))
        x, found = (self._features(part, intercept) for part in (self.fit_found, self.found))
        predicted = np.empty((len(found), *truth.shape[1:]))
        # one fit for all keypoints that are known in the same frames
        patterns, pattern_of = np.unique(known.T, axis=0, return_inverse=True)
        for number, rows in enumerate(patterns):
            own = np.flatnonzero(pattern_of.reshape(-1) == number)
            wanted = truth[rows][:, own].reshape(rows.sum(), -1) + self.shift
            # not a solve: landmarks that nothing draws on may all stand on one spot
            weights = np.linalg.lstsq(x[rows], wanted, rcond=1e-6)[0]
            predicted[:, own] = (found @ weights - self.shift).reshape(-1, len(own), 2)
        return predicted

    def _features(self, found: list[Array], intercept: bool) -> Array:
        """Return x then y of each landmark (N, 2 K), and a column of ones for the intercept."""
        xy = np.concatenate(found) + self.shift
        ones = np.ones((len(xy), int(intercept)))
        return np.concatenate((xy[..., 0], xy[..., 1], ones), axis=1)


def _numpy(tensor: torch.Tensor) -> Array:
    return tensor.detach().double().cpu().numpy()
