"""Shared by metrics: units, frames and their names, scores of images and of keypoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from components.competitors import Competitors
from components.ops.statistics import over_frames, over_time
from registry.contract import Batch, Landmarks, Outputs, need

Array = NDArray[Any]
Normaliser = Literal["image", "eyes", "pixels"]
UNITS = {"image": "% of image", "eyes": "% of eye distance", "pixels": "px"}
_CLOSE = 1 / 64  # eyes closer to each other than one pixel of 128 are not a usable unit


def names_of(batch: Batch, count: int) -> Sequence[str]:
    """Return the names of the items, or their numbers if they have no names."""
    return batch.name or [str(i) for i in range(count)]


def landmarks_of(outputs: Outputs) -> Landmarks:
    """Return the landmarks of the driving images."""
    found: Landmarks = need(outputs, "landmarks", "a pipeline with a bottleneck")
    return found


def numpy_of(tensor: Tensor) -> Array:
    """Return a tensor in double precision."""
    return tensor.detach().double().cpu().numpy()


def scaled(offsets: Any, sides: Any) -> Any:
    """Convert offsets from contract coordinates (an image is 2 wide and high) to other units.

    Args:
        offsets: (..., 2).
        sides: width and height of the image in the new unit: a number, or (..., 2).
    """
    return offsets * sides / 2


def lengths(offsets: Array, sides: Any) -> Array:
    """Return the lengths (...) of converted offsets."""
    found: Array = np.linalg.norm(scaled(offsets, sides), axis=-1)
    return found


class ImageScore:
    """Mean over frames of what `compare` returns, for renders or for each predicted frame.

    Renders are compared with their targets, and the baseline copies the source. Predicted frames
    are compared with the last ones of their clip, with an additional figure per time step; their
    baselines are those of the pipeline. Images are clipped to [0, 1].

    Subclasses set ``metric`` and ``unit``, and `compare` images with true ones, (B, 3, H, W) in
    [0, 1], returning (B,), or (B, n) if they override `compute`.
    """

    reads: tuple[str, ...] = ("render|frames",)
    baseline = "copy_source"
    metric: str
    unit: str

    def __init__(self) -> None:
        self.scores: list[Array] = []
        self.names: list[str] = []
        self.seen: int | None = None

    def compare(self, image: Tensor, target: Tensor) -> Tensor:
        """Return one or more scores for each image."""
        raise NotImplementedError

    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Add a batch."""
        if outputs.frames is not None:
            self.seen = frames_seen(batch, outputs.frames.shape[1])
            images = outputs.frames
            targets = need(batch, "frames", "a data set of clips (data.test)")[:, self.seen :]
        else:
            images = need(outputs, "render", "a pipeline with a decoder")[:, None]
            targets = need(batch, "target", "the data set (data.test)")[:, None]
        pairs = zip(images.clamp(0, 1).unbind(1), targets.unbind(1))
        scores = [self.compare(image, target) for image, target in pairs]
        self.scores.append(torch.stack(scores, dim=1).cpu().numpy())
        self.names += names_of(batch, len(scores[0]))

    def guess(self, batch: Batch) -> Outputs | None:
        """Copy the source."""
        return None if batch.source is None else Outputs(render=batch.source)

    def compute(self) -> dict[str, Any]:
        """Return metric, unit, value, interval, n, and further figures under ``extra``."""
        row = over_time(self.scores, self.names, self.seen)
        return {"metric": self.metric, "unit": self.unit, **row}


def frames_seen(batch: Batch, predicted: int) -> int:
    """Return the number of frames of a clip before the predicted ones.

    Raises:
        ValueError: the clip is shorter than the prediction.
    """
    total = need(batch, "frames", "a data set of clips (data.test)").shape[1]
    if total < predicted:
        raise ValueError(f"{predicted} frames were predicted, but the clips have only {total}.")
    return int(total - predicted)


class KeypointScore:
    """Distances of predicted keypoints to annotated ones: mean over keypoints, then over frames.

    Args:
        normaliser: ``image``: percent of the image side; ``eyes``: percent of the distance between
            two keypoints, without frames where it is below 1/64 (a pixel of 128); ``pixels``:
            original pixels of the crop, whose size the data set provides.
        eyes: the two keypoints.
        activities: name prefixes that group clips; the value is then the mean of the groups' means,
            which are also reported, as is the mean over frames.
        landmarks, keypoints: which landmarks correspond to which keypoints; None for all.
        radius_px: score the percentage of keypoints within this distance, in original pixels times
            ``accuracy_scale``, instead of the distance.
        accuracy_scale: see ``radius_px``.
    """

    reads: tuple[str, ...] = ("landmarks",)
    competitors = Competitors

    def __init__(
        self,
        normaliser: Normaliser,
        eyes: Sequence[int],
        activities: Sequence[str],
        landmarks: Sequence[int] | None = None,
        keypoints: Sequence[int] | None = None,
        radius_px: float | None = None,
        accuracy_scale: float = 1.0,
    ) -> None:
        self.normaliser = normaliser if radius_px is None else "pixels"
        self.eyes, self.activities = list(eyes), activities
        self.landmarks, self.keypoints = landmarks, keypoints
        self.radius_px, self.accuracy_scale = radius_px, accuracy_scale
        self.higher_is_better = radius_px is not None
        self.found: list[Array] = []
        self.truth: list[Array] = []
        self.sides: list[Array] = []
        self.names: list[str] = []

    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Add a batch: landmarks; keypoints, size, name."""
        truth = numpy_of(need(batch, "keypoints", "an annotated data set (data.test)"))
        self.found.append(numpy_of(landmarks_of(outputs).xy))
        self.truth.append(truth)
        self.sides.append(self._sides(batch, truth))
        self.names += names_of(batch, len(truth))

    def _sides(self, batch: Batch, truth: Array) -> Array:
        """Return width and height of each image in the unit (B, 2); NaN if not measurable."""
        if self.normaliser == "image":
            return np.full((len(truth), 2), 100.0)
        if self.normaliser == "eyes":
            one, other = self.eyes
            apart = np.linalg.norm(truth[:, one] - truth[:, other], axis=-1, keepdims=True)
            return np.repeat(200 / np.where(apart >= _CLOSE, apart, np.nan), 2, axis=1)
        return numpy_of(need(batch, "size", "every data set here (data.test)"))

    def of_frames(self, points: Array) -> Array:
        """Return the score (N,) of each frame; NaN if it has no annotation or is not measurable.

        Shapes: points (N, J, 2), the predicted keypoints.
        """
        truth = choose(np.concatenate(self.truth), self.keypoints)
        sides = np.concatenate(self.sides)[:, None]
        distance = lengths(points - truth, sides)
        known = np.isfinite(truth).all(axis=-1)
        if self.radius_px is not None:
            within = 100.0 * (self.accuracy_scale * distance <= self.radius_px)
            distance = np.where(np.isfinite(distance), within, np.nan)
        total, count = np.where(known, distance, 0).sum(axis=1), known.sum(axis=1)
        return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)

    def row(self, points: Array) -> dict[str, Any]:
        """Return value, interval, n and extra of such points."""
        return over_frames(self.of_frames(points), self.names, self.activities)

    def score(self, points: Array, of_landmarks: bool = False) -> float:
        """Return the value of other predictions for the frames seen by `update`.

        Args:
            points: (N, J, 2), or (J, 2) for all frames: all keypoints of the annotation.
            of_landmarks: points are numbered like the model's landmarks.

        Returns:
            NaN if `points` lacks a scored keypoint.
        """
        points = choose(points, self.landmarks if of_landmarks else self.keypoints)
        truth = choose(np.concatenate(self.truth), self.keypoints)
        missing = np.isfinite(truth) & ~np.isfinite(points)
        return float("nan") if missing.any() else float(self.row(points)["value"])


def choose(points: Array, chosen: Sequence[int] | None) -> Array:
    """Return some of the points (..., J, 2), or all."""
    return points if chosen is None else points[..., list(chosen), :]
