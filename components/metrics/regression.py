"""Annotated keypoints predicted from landmarks by a linear map, the usual score of unsupervised
landmarks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from components.metrics._support import (
    UNITS,
    Array,
    KeypointScore,
    Normaliser,
    landmarks_of,
    names_of,
    numpy_of,
)
from components.ops.regression import by_annotation, left_out_together, ridge
from registry.contract import Batch, Outputs, need
from registry.roles import METRICS


@METRICS.register_module("metrics/regression")
class Regression(KeypointScore):
    """Error of keypoints regressed from landmark positions, by least squares on ``data.fit``.

    Each keypoint is fitted on the frames of ``data.fit`` where it is annotated. Also reported are
    the error with (or without) an intercept, the number of frames fitted on, and ``with ridge``:
    the error with an intercept and a penalty on the weights, chosen to best predict clips left out
    of the fit (frames, if there is one clip). This is not the papers' protocol, but says more about
    the landmarks if few frames are annotated.

    Args:
        normaliser: ``image``: percent of the image side; ``eyes``: percent of the distance between
            the two points of ``eyes``, without frames where it is below 1/64 (a pixel of 128);
            ``pixels``: original pixels of the crop.
        origin: position of (0, 0) for landmarks and keypoints: the ``center`` of the image (BBC
            Pose, H3.6M) or its top left ``corner`` (MAFL); matters only without an intercept.
        intercept: also fit a constant; the papers do not.
        eyes: keypoint numbers of the two eyes.
        radius_px: score the fraction of keypoints within this distance instead of the error; in
            original pixels, times ``accuracy_scale``.
        accuracy_scale: 1: the text's 6 pixels of the image; 0.5: the released BBC Pose code, which
            maps every coordinate to 0.5 (p - 1) + 1, so that its 6 pixels are 12 of the frame.
        activities: name prefixes that group clips; the value is then the mean of the groups' means;
            these and the mean over frames are also reported.

    Source: factorized sec 4.2; factorized sec A; factorized table 3; imm sec 4
    Differs: landmarks are kept in float32 (the official code dumps float16); directions below 1e-6
        of the largest singular value, float32 noise, are not fitted; the interval is a 95 %
        bootstrap over clips of the test set, with the fit unchanged
    """

    fits = True

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
            raise ValueError(f"origin={origin!r} must be 'center' or 'corner'.")
        super().__init__(
            normaliser, eyes, activities, radius_px=radius_px, accuracy_scale=accuracy_scale
        )
        self.shift = 1.0 if origin == "corner" else 0.0
        self.intercept = intercept
        self.fit_found: list[Array] = []
        self.fit_truth: list[Array] = []
        self.fit_names: list[str] = []

    def fit(self, outputs: Outputs, batch: Batch) -> None:
        """Add a batch of ``data.fit``."""
        truth = need(batch, "keypoints", "an annotated data set (data.fit)")
        self.fit_truth.append(numpy_of(truth))
        self.fit_found.append(numpy_of(landmarks_of(outputs).xy))
        self.fit_names += names_of(batch, len(truth))

    def compute(self) -> dict[str, Any]:
        """Return metric, unit, value, interval, n, and further figures under ``extra``."""
        row = self.row(self._predict(self._least_squares(self.intercept)))
        other = "without intercept" if self.intercept else "with intercept"
        without = self._predict(self._least_squares(not self.intercept))
        row["extra"][other] = self.row(without)["value"]
        row["extra"]["with ridge"] = self.row(self._predict(self._ridge()))["value"]
        known = np.isfinite(np.concatenate(self.fit_truth)).all(axis=-1).any(axis=-1)
        row["extra"]["frames fitted on"] = float(known.sum())
        if self.radius_px is None:
            return {"metric": "regression_error", "unit": UNITS[self.normaliser], **row}
        scale = f" at scale {self.accuracy_scale:g}" if self.accuracy_scale != 1 else ""
        unit = f"% within {self.radius_px:g} px{scale}"
        return {"metric": "regression_accuracy", "unit": unit, **row}

    def _predict(self, predict: Callable[[Array, Array], Array]) -> Array:
        """Return the keypoints (N, J, 2) of the test frames; for `predict` see `by_annotation`."""
        truth = np.concatenate(self.fit_truth)
        known = np.isfinite(truth).all(axis=-1).any(axis=0)
        if not known.all():
            raise ValueError(
                f"keypoint {int(np.argmin(known))} is not annotated in any frame of data.fit, so "
                "it cannot be fitted; give data.fit more frames."
            )
        return by_annotation(truth, sum(map(len, self.found)), predict)

    def _least_squares(self, intercept: bool) -> Callable[[Array, Array], Array]:
        x, tested = (self._features(part, intercept) for part in (self.fit_found, self.found))

        def predict(rows: Array, wanted: Array) -> Array:
            # not a solve: unused landmarks may all collapse to one point
            weights = np.linalg.lstsq(x[rows], wanted + self.shift, rcond=1e-6)[0]
            found: Array = tested @ weights - self.shift
            return found

        return predict

    def _ridge(self) -> Callable[[Array, Array], Array]:
        x, tested = (self._features(part, False) for part in (self.fit_found, self.found))
        groups = left_out_together(self.fit_names)
        return lambda rows, wanted: ridge(x[rows], wanted, tested, groups[rows])

    def _features(self, found: list[Array], intercept: bool) -> Array:
        """Return x then y of each landmark (N, 2 K), and a column of ones for the intercept."""
        xy = np.concatenate(found) + self.shift
        ones = np.ones((len(xy), int(intercept)))
        return np.concatenate((xy[..., 0], xy[..., 1], ones), axis=1)
