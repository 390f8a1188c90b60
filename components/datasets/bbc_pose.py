"""BBC Pose: twenty sign language videos with seven upper-body joints."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from components.data.fit import Crop, fit_affine, fit_image, fit_size, to_contract
from components.data.video import image_size as size_of
from components.data.video import read_image
from registry.roles import DATASETS

Array = NDArray[Any]

VIDEOS = {"train": range(1, 11), "val": range(11, 16)}


@DATASETS.register_module("datasets/bbc_pose")
class BBCPose:
    """The official release: frames cropped around their joints.

    Args:
        root: folder with `1` ... `20`, each with `<frame>.jpg`, and with `code/bbcpose.mat` and
            `code/results.mat`.
        split: "train" (videos 1-10), "val" (11-15) or "test" (the frames of `results.mat`).
        image_size: side of the square images; crops are stretched to it.
        crop: "box" is the bounding box of the joints plus 60 pixels on each side, the official
            training crop; "square" is 300 x 300 around the centre of that box, used by the paper
            and by the official evaluation. Both are clipped to the frame.
        pair_range: the distance of the source from the target, in annotated frames, is drawn from
            [pair_range[0], pair_range[1]); the source is later if such a frame exists, else
            earlier. With None, and always in "val" and "test", source and target are the same.

    Raises:
        FileNotFoundError: part of the release is missing; the message says where to get it.
        ValueError: an unknown split or crop, or an invalid file.

    Source: factorized sec 4; factorized table 3
    Differs: joints use Matlab's coordinates, counted from 1. As in the official code, boxes are
        made from these numbers and rounded; unlike it, the returned keypoints count from 0 and
        refer to the rounded box, so they lie within one frame pixel of the official labels
    """

    keypoint_names = (
        "head",
        "right_wrist",
        "left_wrist",
        "right_elbow",
        "left_elbow",
        "right_shoulder",
        "left_shoulder",
    )
    edges = ((0, 5), (0, 6), (5, 6), (5, 3), (3, 1), (6, 4), (4, 2))
    flip_pairs = ((2, 1), (4, 3), (6, 5))

    def __init__(
        self,
        *,
        root: str,
        split: Literal["train", "val", "test"] = "train",
        image_size: int = 128,
        crop: Literal["box", "square"] = "box",
        pair_range: tuple[int, int] | None = (3, 40),
    ) -> None:
        if split not in ("train", "val", "test") or crop not in ("box", "square"):
            raise ValueError(
                f"datasets/bbc_pose: split={split!r} must be 'train', 'val' or 'test'; "
                f"crop={crop!r} must be 'box' or 'square'."
            )
        self.root, self.image_size, self.crop = Path(root), image_size, crop
        self.pair_range = pair_range if split == "train" else None
        read = self._tested if split == "test" else self._annotated
        self._videos, self._frames, self._joints = read(VIDEOS.get(split, range(0)))
        found = np.unique(self._videos, return_index=True, return_counts=True)
        spans = zip(*(part.tolist() for part in found))
        self._spans: dict[int, tuple[int, int]] = {v: (start, count) for v, start, count in spans}
        self._sizes: dict[int, tuple[int, int]] = {}

    def _annotated(self, videos: range) -> tuple[Array, Array, Array]:
        """Return video (N,), frame (N,) and joints (N, 2, 7) of videos, in order of time."""
        found = []
        entries = self._load("bbcpose")[0]
        for video in videos:
            # fields by position: name, type, source, train_frames, train_joints
            frames, joints = list(entries[video - 1])[3:5] if video <= len(entries) else ([], [])
            frames = np.reshape(frames, -1)
            if not len(frames):
                raise ValueError(
                    f"datasets/bbc_pose: '{self.root}/code/bbcpose.mat' has no annotated frames of "
                    f"video {video}. Unpack bbcpose_extbbcpose_code_1.0.tgz again."
                )
            order = np.argsort(frames, kind="stable")
            joints = joints.reshape(2, 7, -1).transpose(2, 0, 1)[order]
            found.append((np.full(len(frames), video), frames[order], joints))
        return _together(*(np.concatenate(parts) for parts in zip(*found)))

    def _tested(self, _: range) -> tuple[Array, Array, Array]:
        """Return the same of the test frames, in the order of results.mat."""
        # fields by position: gt, frames, videos
        joints, frames, videos, *_rest = self._load("results")[0][0]
        return _together(videos, frames, joints.reshape(2, 7, -1).transpose(2, 0, 1))

    def _load(self, name: str) -> Array:
        from scipy.io import loadmat  # slow to import

        path = self.root / "code" / f"{name}.mat"
        if not path.is_file():
            raise FileNotFoundError(
                f"datasets/bbc_pose: no file '{path}'. Unpack bbcpose_extbbcpose_code_1.0.tgz of "
                "www.robots.ox.ac.uk/~vgg/data/pose into root=, so that it holds code/."
            )
        return loadmat(path)[name]

    def _path(self, item: int) -> Path:
        path = self.root / str(self._videos[item]) / f"{self._frames[item]}.jpg"
        if not path.is_file():
            raise FileNotFoundError(
                f"datasets/bbc_pose: no file '{path}'. Download bbcpose_data_1.0.zip from "
                "www.robots.ox.ac.uk/~vgg/data/pose and unpack its tar files side by side into "
                "root=: 1 ... 20, each with <frame>.jpg."
            )
        return path

    def __len__(self) -> int:
        return len(self._frames)

    def box(self, index: int) -> Crop:
        """Return (left, top, width, height) of the crop of a frame, in pixels of the frame."""
        video = int(self._videos[index])
        if video not in self._sizes:  # all frames of a video have one size
            self._sizes[video] = size_of(self._path(index))
        low, high = self._joints[index].min(axis=1), self._joints[index].max(axis=1)
        if self.crop == "square":
            low, high = (low + high) / 2 - 150, (low + high) / 2 + 150
        else:
            low, high = low - 60, high + 60
        left, top = np.rint(np.maximum(low, 0)).astype(int).tolist()
        right, bottom = np.rint(np.minimum(high, self._sizes[video])).astype(int).tolist()
        return left, top, right - left, bottom - top

    def keypoints(self, index: int) -> Array:
        """Return the seven joints of a frame, (7, 2) float32 in its crop, without decoding it."""
        affine = fit_affine((0, 0), crop=self.box(index))
        return to_contract(self._joints[index].T - 1, affine)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Return one pair, both cropped around the target's joints; `rng` draws the source.

        Shapes: target, source (image_size, image_size, 3) uint8 RGB; keypoints (7, 2); visible
            (7,) float32, 1 in the crop; size (2,) float32, width and height of the crop in pixels
            of the frame; name "<video>/<frame>".
        """
        box = self.box(index)
        target = fit_image(read_image(self._path(index)), self.image_size, crop=box)[0]
        source = target.copy()
        if self.pair_range is not None:
            other = read_image(self._path(self._partner(index, rng)))
            source = fit_image(other, self.image_size, crop=box)[0]
        points = self.keypoints(index)
        return {
            "target": target,
            "source": source,
            "keypoints": points,
            "visible": (np.abs(points) <= 1).all(axis=1).astype(np.float32),
            "size": fit_size((0, 0), crop=box),
            "name": f"{self._videos[index]}/{self._frames[index]}",
        }

    def _partner(self, index: int, rng: np.random.Generator) -> int:
        assert self.pair_range is not None
        low, high = self.pair_range
        start, count = self._spans[int(self._videos[index])]
        place, left = index - start, start + count - index
        if left > low:
            return index + int(rng.integers(low, min(high, left)))
        return index - min(place, int(rng.integers(low, high)))


def _together(videos: Array, frames: Array, joints: Array) -> tuple[Array, Array, Array]:
    # files store small unsigned integers, whose differences would wrap around
    numbers = (array.reshape(-1).astype(np.int64) for array in (videos, frames))
    return *numbers, joints.astype(np.float64)  # type: ignore[return-value]
