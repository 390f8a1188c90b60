"""Keypoint predictors that need no trained model; reported next to every keypoint score."""

from __future__ import annotations

from collections import defaultdict
from itertools import chain
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from components.ops.regression import by_annotation, left_out_together, ridge
from components.ops.statistics import clip_of, numbered
from registry.contract import Batch, need
from registry.loading import spread

Array = NDArray[Any]
Prediction = tuple[Array | None, str]

NAMES = ("predict_mean", "nearest_frame", "ridge_pixels", "ridge_blob", "tracking")
SIDE = 32  # side of the images compared pixel by pixel
MOVED = 15  # grey levels of 255 between the background and what moves in front of it
STILL = 8  # with a still camera, four fifths of the pixels usually stay this near the background
LEAST = 5  # minimum frames of a clip for a background
NOT_STILL = f"no still camera (or fewer than {LEAST} frames)"
SHOWN = 200  # maximum frames of a clip whose median is its background


class Competitors:
    """Predict keypoints of other frames from the annotated frames of ``data.fit`` alone.

    - ``predict_mean``: the mean position of each keypoint.
    - ``nearest_frame``: the keypoints of the nearest annotated frame, compared as 32 x 32 grey
      pixels.
    - ``ridge_pixels``: ridge regression on these pixels.
    - ``ridge_blob``: with a still camera, ridge regression on centre, axes and extents of what
      moves in front of the background, the median of the clip's frames.
    - ``tracking``: the keypoints of the nearest annotated frame of the same clip, tracked from
      frame to frame, forwards or backwards, by ``cv2.calcOpticalFlowPyrLK``. It sees only the
      evaluated frames in between, so it improves as more frames are evaluated.

    The ridge penalty is chosen by leave-one-clip-out error (leave-one-frame-out if there is only
    one clip). A keypoint not annotated in a frame is learned from the other frames. Frames that the
    last two cannot predict get the mean; if that is most frames, there is no prediction.
    """

    def __init__(self) -> None:
        self._fitted, self._tested = _Frames(), _Frames()
        self._truth: list[Array] = []

    def fit(self, batch: Batch) -> None:
        """Add a batch of ``data.fit``: driving, keypoints, name."""
        if batch.keypoints is not None:
            self._fitted.add(batch)
            self._truth.append(batch.keypoints.double().cpu().numpy())

    def update(self, batch: Batch) -> None:
        """Add a batch of frames to predict: driving, name; annotations are ignored."""
        self._tested.add(batch)

    def predict(self) -> dict[str, Prediction]:
        """Return, per predictor, the keypoints (N, J, 2) of the frames in order, and a remark.

        If there is no prediction, the remark says why. Keypoints never annotated are NaN.
        """
        fitted, tested = self._fitted, self._tested
        truth = np.concatenate(self._truth) if self._truth else np.full((1, 1, 2), np.nan)
        if not np.isfinite(truth).any():
            return dict.fromkeys(NAMES, (None, "no annotated frames to learn from (data.fit)"))
        groups, pixels, other = left_out_together(fitted.names), fitted.pixels(), tested.pixels()
        apart = _distances(other, pixels)

        def predicted(predict: Any) -> Array:
            return by_annotation(truth, len(tested.names), predict)

        mean = predicted(lambda rows, y: np.broadcast_to(y.mean(axis=0), (len(other), y.shape[1])))
        nearest = predicted(lambda rows, y: y[apart[:, rows].argmin(axis=1)])
        linear = predicted(lambda rows, y: ridge(pixels[rows], y, other, groups[rows]))
        return {
            "predict_mean": (mean, ""),
            "nearest_frame": (nearest, ""),
            "ridge_pixels": (linear, ""),
            "ridge_blob": self._blobs(truth, groups, mean),
            "tracking": _or_mean(
                _tracked(fitted, truth, tested), mean, "no annotated frame of the same clip"
            ),
        }

    def _blobs(self, truth: Array, groups: Array, mean: Array) -> Prediction:
        """Predict by ridge regression on what moves."""
        names = [*self._fitted.names, *self._tested.names]
        frames = [*self._fitted.grey, *self._tested.grey]
        features, own = np.full((len(names), 9), np.nan), defaultdict(list)
        for row, name in enumerate(names):
            own[clip_of(name)].append(row)
        moving = set()
        for clip, rows in own.items():
            found = blobs(np.stack([frames[row] for row in rows]))
            if found is None:
                moving.add(clip)
            else:
                features[rows] = found
        x, other = np.split(features, [len(truth)])
        seen, wanted = np.isfinite(x).all(axis=1), np.isfinite(other).all(axis=1)
        points = np.full(mean.shape, np.nan)
        if seen.any():
            scale = x[seen].std(axis=0) + 1e-9
            points[wanted] = by_annotation(
                np.where(seen[:, None, None], truth, np.nan),
                wanted.sum(),
                lambda rows, y: ridge(x[rows] / scale, y, other[wanted] / scale, groups[rows]),
            )
        tested = set(map(clip_of, self._tested.names))
        reason = "nothing moves"
        if moving & tested:
            reason = f"{NOT_STILL} in {len(moving & tested)} of {len(tested)} clips"
        elif not seen.any():
            reason = f"{NOT_STILL} in data.fit"
        return _or_mean(points, mean, reason)


class _Frames:
    """Grey images and names of frames."""

    def __init__(self) -> None:
        self.grey: list[Array] = []
        self.names: list[str] = []

    def add(self, batch: Batch) -> None:
        images: Tensor = need(batch, "driving", "the data set (data.test, data.fit)")
        weights = images.new_tensor((0.299, 0.587, 0.114))[:, None, None]
        grey = (255 * (images * weights).sum(dim=1)).round().clamp(0, 255)
        self.grey += list(grey.byte().cpu().numpy())
        start = len(self.names)
        self.names += batch.name or [str(start + i) for i in range(len(images))]

    def pixels(self) -> Array:
        """Return (N, SIDE * SIDE) in [0, 1]."""
        size = (SIDE, SIDE)
        small = [
            cv2.resize(g.astype(np.float64), size, interpolation=cv2.INTER_AREA) for g in self.grey
        ]
        return np.stack(small).reshape(len(small), -1) / 255


def _distances(a: Array, b: Array) -> Array:
    """Return squared distances (N, F) between rows, up to a constant per row."""
    return (b**2).sum(axis=1) - 2 * a @ b.T


def _or_mean(points: Array, mean: Array, reason: str) -> Prediction:
    """Fill gaps with the mean, or give up if most frames are gaps; the remark says so."""
    gaps = ~np.isfinite(points) & np.isfinite(mean)
    count = int(gaps.any(axis=(1, 2)).sum())
    if 2 * count > len(points):
        return None, reason
    remark = f"the mean in {count} of {len(points)} frames: {reason}" if count else ""
    return np.where(gaps, mean, points), remark


def blobs(frames: Array) -> Array | None:
    """Return what moves in front of a clip's background.

    None if the camera moves or there are fewer than `LEAST` frames.

    Regions smaller than a twentieth of the largest one are noise.

    Shapes: frames (T, H, W) uint8 -> (T, 9): centre (x, y), second moments (xx, xy, yy) and
        extents (left, top, right, bottom) in contract coordinates; NaN where nothing moves.
    """
    if len(frames) < LEAST:
        return None
    chosen = spread(len(frames), SHOWN)
    background = np.rint(np.median(frames[chosen], axis=0)).astype(np.uint8)
    away = np.stack([cv2.absdiff(frame, background) for frame in frames])
    if (np.median(away[chosen], axis=0) > STILL).mean() > 0.2:
        return None
    height, width = background.shape
    found = np.full((len(frames), 9), np.nan)
    for row, moved in enumerate(away):
        count, regions, facts, _ = cv2.connectedComponentsWithStats(
            (moved > MOVED).astype(np.uint8)
        )
        if count == 1:
            continue
        areas = facts[1:, cv2.CC_STAT_AREA]
        y, x = np.nonzero(np.isin(regions, 1 + np.flatnonzero(20 * areas >= areas.max())))
        x, y = (2 * x + 1) / width - 1, (2 * y + 1) / height - 1
        dx, dy = x - x.mean(), y - y.mean()
        moments = (dx * dx).mean(), (dx * dy).mean(), (dy * dy).mean()
        found[row] = x.mean(), y.mean(), *moments, x.min(), y.min(), x.max(), y.max()
    return found


def _tracked(fitted: _Frames, truth: Array, tested: _Frames) -> Array:
    """Follow each keypoint from the nearest frame of the clip where it is annotated.

    Returns:
        (N, J, 2); NaN where no frame of the clip has the keypoint.
    """
    clips = defaultdict(list)
    rows = chain(enumerate(fitted.names), enumerate(tested.names, -len(tested.names)))
    for row, name in rows:  # frames to predict have negative indices
        if place := numbered(name):
            clips[place[0]].append((place[1], row))
    points = np.full((len(tested.names), *truth.shape[1:]), np.nan)
    nearest = np.full(points.shape[:2], np.inf)
    for frames in clips.values():
        if all(row >= 0 for _, row in frames):  # nothing to predict
            continue
        for order in (sorted(frames, key=_time), sorted(frames, key=_back)):
            now = np.full(truth.shape[1:], np.nan)
            since, before = np.full(len(now), np.inf), None
            for number, row in order:
                image = fitted.grey[row] if row >= 0 else tested.grey[row]
                if before is not None:
                    now = follow(before, image, now)
                if row >= 0:
                    known = np.isfinite(truth[row]).all(axis=-1)
                    now[known], since[known] = truth[row][known], number
                else:
                    better = np.abs(number - since) < nearest[row]
                    points[row][better], nearest[row][better] = (
                        now[better],
                        np.abs(number - since)[better],
                    )
                before = image
    return points


def _time(frame: tuple[int, int]) -> tuple[int, bool]:
    return frame[0], frame[1] < 0


def _back(frame: tuple[int, int]) -> tuple[int, bool]:
    return -frame[0], frame[1] < 0


def follow(before: Array, after: Array, points: Array) -> Array:
    """Return where points (J, 2) of an image are in the next one; lost ones stay where they were.

    Shapes: before, after (H, W) uint8; points (J, 2) in contract coordinates, NaN: nothing there.
    """
    known = np.isfinite(points).all(axis=-1)
    if not known.any():
        return points
    size = np.array(before.shape[::-1])
    pixels = (((points[known] + 1) * size - 1) / 2).astype(np.float32)[:, None]
    moved, found, _ = cv2.calcOpticalFlowPyrLK(
        before, after, pixels, pixels.copy(), winSize=(15, 15)
    )
    there = np.where(found.astype(bool), moved[:, 0], pixels[:, 0]).astype(np.float64)
    result = points.copy()
    result[known] = (2 * there + 1) / size - 1
    return result
