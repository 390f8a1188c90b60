"""Poses without images: an unpaired prior from the annotations of another data set."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.data.annotations import MISSING, keypoint_indices, read_coco, read_csv
from components.data.labels import read_penn_action, read_pts
from components.ops.pixels import from_pixel
from registry.roles import DATASETS

Array = NDArray[Any]

READERS = {"coco": read_coco, "csv": read_csv, "penn_action": read_penn_action, "pts": read_pts}
MARGIN = 0.95  # a pose placed with fit="box" stays in [-MARGIN, MARGIN]


@DATASETS.register_module("datasets/poses")
class Poses:
    """Complete poses from an annotation file; only `keypoints` is available, no image is read.

    Args:
        source: annotation file, or folder of label files.
        format: "coco", "csv", "penn_action" or "pts".
        midpoints: keypoints to add, each (name, first, second): ("neck", "left_shoulder",
            "right_shoulder").
        select: names or positions of the keypoints to keep, in this order; all if empty.
        edges: limbs, as pairs of names or positions among the keypoints kept; those of a COCO file
            if neither `edges` nor `select` is given.
        flip_pairs: (left, right) keypoints, also by name or position.
        fit: "image" keeps each pose where it is in its image; "box" gives it a random size and
            place, as a prior for images of another data set.
        size: (width, height) of the images, for files that do not contain it.
        box_height: smallest and largest height of the box of a pose, as a fraction of the image
            height; a wide pose is scaled down to fit.
        box_shift: maximum offset of the box's middle from `center`, in contract units, in each
            direction.
        center: position of the box's middle.
        torso: two keypoints, such as ("neck", "pelvis"); `box_height` and the middle then refer to
            the line between them, so that raised arms do not make a person small.
        actions: Penn Action only, keep these actions.
        views: Penn Action only, keep videos seen from these sides.
        stride: Penn Action only, keep every stride-th frame of each video.
        seed: seed of sizes and places.

    Raises:
        FileNotFoundError: the source does not exist.
        ValueError: the source is not in this format, or has no complete pose.

    Source: keypointgan sec 5.1
    Differs: the paper's prior comes from images of the same size and crop as the training images;
        fit="box" is a substitute for other priors.
    """

    def __init__(
        self,
        *,
        source: str,
        format: str = "coco",
        midpoints: tuple[tuple[str, str | int, str | int], ...] = (),
        select: tuple[str | int, ...] = (),
        edges: tuple[tuple[str | int, ...], ...] = (),
        flip_pairs: tuple[tuple[str | int, ...], ...] = (),
        fit: str = "image",
        size: tuple[int, int] | None = None,
        box_height: tuple[float, float] = (0.6, 0.9),
        box_shift: float = 0.1,
        center: tuple[float, float] = (0.0, 0.0),
        torso: tuple[str | int, ...] = (),
        actions: tuple[str, ...] = (),
        views: tuple[str, ...] = (),
        stride: int = 1,
        seed: int = 0,
    ) -> None:
        if format not in READERS or fit not in ("image", "box"):
            raise ValueError(
                f"datasets/poses: format={format!r} must be one of {', '.join(READERS)}; "
                f"fit={fit!r} must be 'image' or 'box'."
            )
        filters = {"actions": actions, "views": views, "stride": stride}
        if format != "penn_action" and (actions or views or stride != 1):
            raise ValueError(f"datasets/poses: {', '.join(filters)} need format='penn_action'.")
        found = READERS[format](source, **(filters if format == "penn_action" else {}))

        names, xy, there = found.names, found.xy, found.visible > MISSING
        for name, *ends in midpoints:
            a, b = keypoint_indices(names, ends)
            names = (*names, name)
            xy = np.concatenate([xy, (xy[:, [a]] + xy[:, [b]]) / 2], axis=1)
            there = np.concatenate([there, there[:, [a]] & there[:, [b]]], axis=1)
        kept = list(keypoint_indices(names, select or names))
        whole: Array = np.logical_and.reduce(there[:, kept], axis=1)
        self.dropped = int((~whole).sum())  # poses with a missing keypoint
        if not whole.any():
            raise ValueError(
                f"datasets/poses: no pose of {len(whole)} in '{source}' has all "
                "keypoints. Leave some out with select=."
            )
        self.keypoint_names = tuple(names[j] for j in kept)
        given = edges or (() if select else found.edges)
        self.edges = tuple(keypoint_indices(self.keypoint_names, edge) for edge in given)
        self.flip_pairs = tuple(keypoint_indices(self.keypoint_names, two) for two in flip_pairs)

        xy = xy[whole][:, kept]
        if fit == "box":
            part = list(keypoint_indices(self.keypoint_names, torso)) or list(range(len(kept)))
            rng = np.random.default_rng(seed)
            self._poses = _placed(xy, part, box_height, np.array(center), box_shift, rng)
            return
        sizes = found.sizes[whole] if size is None else np.array([size])
        if not sizes.all():
            raise ValueError(
                f"datasets/poses: '{source}' does not contain the size of its images. "
                "Set size=(width, height), or use fit='box'."
            )
        self._poses = from_pixel(xy, sizes[:, None]).astype(np.float32)

    def __len__(self) -> int:
        return len(self._poses)

    def keypoints(self, index: int) -> Array:
        """Return pose `index`, (K, 2) float32 in contract coordinates."""
        return self._poses[index].copy()


def _placed(
    xy: Array,
    part: list[int],
    box_height: tuple[float, float],
    center: Array,
    box_shift: float,
    rng: np.random.Generator,
) -> Array:
    """Scale each pose (N, K, 2) so that `part` gets a random length, its middle near `center`."""
    low, high = xy.min(axis=1, keepdims=True), xy.max(axis=1, keepdims=True)
    chosen = xy[:, part]
    first, last = chosen.min(axis=1, keepdims=True), chosen.max(axis=1, keepdims=True)
    line = np.linalg.norm(last - first, axis=-1) if len(part) == 2 else (last - first)[..., 1]
    length = 2 * rng.uniform(*box_height, (len(xy), 1))
    largest = 2 * MARGIN / np.maximum((high - low).max(axis=-1), 1e-6)
    scale = np.minimum(length / np.maximum(line, 1e-6), largest)[..., None]
    placed = scale * (xy - (first + last) / 2) + center
    placed += rng.uniform(-box_shift, box_shift, (len(xy), 1, 2))
    # push poses that extend beyond the image back inside
    low, high = placed.min(axis=1, keepdims=True), placed.max(axis=1, keepdims=True)
    placed += np.maximum(-MARGIN - low, 0) - np.maximum(high - MARGIN, 0)
    return placed.astype(np.float32)
