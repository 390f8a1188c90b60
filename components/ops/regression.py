"""Ridge regression with the penalty chosen by cross-validation, and gaps in annotation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.ops.statistics import clip_of

Array = NDArray[Any]

PENALTIES = 10.0 ** np.arange(-6, 4.01, 1 / 3)  # times the mean row's sum of squares
TOGETHER = 100  # maximum frames of a clip left out at once when choosing a penalty


def by_annotation(truth: Array, count: int, predict: Callable[[Array, Array], Array]) -> Array:
    """Predict keypoints, fitting together those that are annotated in the same frames.

    Args:
        truth: (F, J, 2) of the fitted frames, NaN where a keypoint is missing.
        count: N, the number of frames to predict.
        predict: called with the fitted frames to use (F,) bool, and the coordinates of some
            keypoints in them (f, 2 j); returns those of the frames to predict (N, 2 j).

    Returns:
        (N, J, 2); NaN for keypoints that are never annotated.
    """
    known = np.isfinite(truth).all(axis=-1)
    found = np.full((count, *truth.shape[1:]), np.nan)
    patterns, pattern_of = np.unique(known.T, axis=0, return_inverse=True)
    for number, rows in enumerate(patterns):
        own = np.flatnonzero(pattern_of.reshape(-1) == number)
        if rows.any():
            wanted = truth[rows][:, own].reshape(rows.sum(), -1)
            found[:, own] = predict(rows, wanted).reshape(count, len(own), 2)
    return found


def left_out_together(names: Sequence[str]) -> Array:
    """Return group numbers (F,): `ridge` leaves out clips, in parts of at most 100 frames.

    If there is only one clip, each frame has its own number.

    Args:
        names: ``<clip>/<frame>`` of each frame.
    """
    clips = [clip_of(name) for name in names]
    if len(set(clips)) == 1:
        return np.arange(len(names))
    places: dict[str, int] = defaultdict(int)
    groups: dict[tuple[str, int], int] = {}
    found = []
    for clip in clips:
        part = places[clip] // TOGETHER
        places[clip] += 1
        found.append(groups.setdefault((clip, part), len(groups)))
    return np.array(found)


def ridge(x: Array, y: Array, tested: Array, groups: Array) -> Array:
    """Predict other rows by ridge regression with an unpenalised intercept.

    The one of `PENALTIES` is used that best predicts each group of rows when it is left out of the
    fit. This needs no second fit: (I - H)^-1 (y - H y) is the error on the group left out. With one
    group no penalty can be chosen, and the mean is predicted.

    Shapes: x (F, P), y (F, Q), tested (N, P), groups (F,) numbers; returns (N, Q).
    """
    centre, mean = x.mean(axis=0), y.mean(axis=0)
    x, y, tested = x - centre, y - mean, tested - centre
    wide = x.shape[0] <= x.shape[1]
    squares, vectors = np.linalg.eigh(x @ x.T if wide else x.T @ x)  # the smaller one
    keep = squares > 1e-10 * squares.max()
    numbers, sizes = np.unique(groups, return_counts=True)
    if not keep.any() or len(numbers) == 1:  # no predictors, or no way to choose the penalty
        return np.broadcast_to(mean, (len(tested), y.shape[1]))
    squares, vectors = squares[keep], vectors[:, keep]
    singular = np.sqrt(squares)
    left = vectors if wide else x @ vectors / singular  # x = left * singular @ right.T
    right = x.T @ left / singular if wide else vectors
    projected = left.T @ y

    members = [  # groups of equal size together
        np.stack([np.flatnonzero(groups == number) for number in numbers[sizes == size]])
        for size in np.unique(sizes)
    ]

    def left_out(shrinkage: Array) -> float:
        """Return the squared error of groups left out of the fit: (I - H)^-1 residual."""
        residual, total = y - left * shrinkage @ projected, 0.0
        for rows in members:
            own = left[rows]
            hat = own * shrinkage @ own.swapaxes(1, 2) + 1 / len(x)
            missed = np.linalg.solve(np.eye(rows.shape[1]) - hat, residual[rows])
            total += float((missed**2).sum())
        return total

    penalties = PENALTIES * squares.sum() / len(x)
    shrinkage = min((squares / (squares + penalty) for penalty in penalties), key=left_out)
    return mean + tested @ right @ ((shrinkage / singular)[:, None] * projected)
