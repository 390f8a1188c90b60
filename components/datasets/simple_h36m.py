"""Simplified Human3.6M: people cropped from Human3.6M at 128 x 128, with 32 joints and masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from components.data.fit import fit_image, fit_size
from components.data.video import read_image
from registry.roles import DATASETS

Array = NDArray[Any]

MASKS = "BackgroudMask"  # spelt so in the release

JOINTS = (
    "hip",
    "right_hip",
    "right_knee",
    "right_ankle",
    "right_ball",
    "right_toes",
    "left_hip",
    "left_knee",
    "left_ankle",
    "left_ball",
    "left_toes",
    "pelvis",
    "thorax",
    "neck",
    "head_center",
    "head_top",
    "left_collar",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "left_hand",
    "left_thumb",
    "left_little",
    "left_little_tip",
    "right_collar",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
    "right_hand",
    "right_thumb",
    "right_little",
    "right_little_tip",
)


@DATASETS.register_module("datasets/simple_h36m")
class SimpleH36M:
    """The release of Zhang et al. 2018 as KeypointGAN splits it.

    Training images come from the first half of each sequence of the training subjects, prior poses
    from the second half; all sequences of the test subject are used. Frame distances count
    positions in the list of released frames. The target is the earlier frame of a pair, the source
    the later one.

    Args:
        root: the folder `human_images` of the release, see `layout`.
        split: "train" or "test"; in test samples, source and target are equal.
        role: "images" or "prior" selects a half of each training sequence; "all" takes them whole,
            for models without a prior.
        image_size: side of the square images; 128 in the release.
        use_mask: make the background black.
        sample_window: smallest and largest distance between the frames of a pair.
        stride: use every ``stride``-th frame.
        sampling: how often a training image occurs: "sequence" repeats short sequences until all
            occur equally often, like the official code, which draws a sequence, then a frame;
            "frame" uses every frame once per pass.

    Raises:
        FileNotFoundError: the release or part of it is missing; the message shows the layout.

    Source: keypointgan sec 5.1; keypointgan table 1
    Differs: none in the numbers. Landmark files store (y, x): the official code swaps them, then
        draws and predicts (x, y). Its labels 2p - 1 are kept, so they are at most half a pixel off
        the pixel centres of the contract.
    """

    train_subjects = ("S1", "S5", "S6", "S7", "S8", "S9")
    test_subjects = ("S11",)
    activities = ("directions", "discussion", "greeting", "posing", "waiting", "walking")
    layout = (
        f"S*/WithBackground/<sequence>/<n>.jpg, S*/{MASKS}/<sequence>/<n>.png and "
        "S*/Landmarks/<sequence>/<n>.mat"
    )

    keypoint_names = JOINTS
    edges = (
        (1, 11),
        (2, 1),
        (3, 2),
        (5, 3),
        (6, 11),
        (7, 6),
        (8, 7),
        (10, 8),
        (13, 11),
        (15, 13),
        (17, 13),
        (18, 17),
        (19, 18),
        (25, 13),
        (26, 25),
        (27, 26),
    )  # "human36m_simple2"
    flip_pairs = tuple((left, left - 5) for left in range(6, 11)) + tuple(
        (left, left + 8) for left in range(16, 24)
    )

    def __init__(
        self,
        *,
        root: str,
        split: str = "train",
        role: str = "images",
        image_size: int = 128,
        use_mask: bool = True,
        sample_window: tuple[int, int] = (0, 1000),
        stride: int = 1,
        sampling: Literal["sequence", "frame"] = "sequence",
    ) -> None:
        if split not in ("train", "test") or role not in ("images", "prior", "all"):
            raise ValueError(
                f"datasets/simple_h36m: split={split!r} must be 'train' or 'test'; "
                f"role={role!r} must be 'images', 'prior' or 'all'."
            )
        if role == "prior" and split == "test":
            raise ValueError("datasets/simple_h36m: role='prior' needs split='train'.")
        self.root, self.split = Path(root), split
        self.image_size, self.use_mask = image_size, use_mask
        self._low, self._high = sample_window
        subjects = self.train_subjects if split == "train" else self.test_subjects
        self._sequences = [
            (subject, name, self._frames(subject, name, role))
            for subject in subjects
            for name in self._names(subject)
        ]
        # a pair needs a later frame at the minimum distance or more
        pairs = split == "train" and role != "prior"
        last = self._low if pairs else 0
        starts = [range(0, len(frames) - last, stride) for _, _, frames in self._sequences]
        longest = max(map(len, starts))
        self._items = [
            (s, own[i % len(own)])
            for s, own in enumerate(starts)
            for i in range(longest if pairs and sampling == "sequence" and own else len(own))
        ]

    def _names(self, subject: str) -> list[str]:
        folder = self.root / subject / MASKS
        names = sorted(f.name for f in folder.iterdir() if f.is_dir()) if folder.is_dir() else []
        chosen = [n for start in self.activities for n in names if n.lower().startswith(start)]
        if not chosen:
            raise FileNotFoundError(
                f"datasets/simple_h36m: no sequence in '{folder}'. Download human_images.tar.gz, "
                "linked from github.com/YutingZhang/lmdis-rep, and set root= to its folder with "
                f"{self.layout}."
            )
        return chosen

    def _frames(self, subject: str, name: str, role: str) -> list[int]:
        # not zero-padded: sort as numbers
        frames = sorted(int(f.stem) for f in (self.root / subject / MASKS / name).glob("*.png"))
        half = len(frames) // 2
        if self.split == "test" or role == "all":
            return frames
        return frames[:half] if role == "images" else frames[half:]

    def _file(self, sequence: int, position: int, folder: str, suffix: str) -> Path:
        subject, name, frames = self._sequences[sequence]
        path = self.root / subject / folder / name / f"{frames[position]}{suffix}"
        if not path.is_file():
            raise FileNotFoundError(f"datasets/simple_h36m: no file '{path}' of {self.layout}.")
        return path

    def __len__(self) -> int:
        return len(self._items)

    def keypoints(self, index: int) -> Array:
        """Return the 32 joints of a frame, (32, 2) float32."""
        from scipy.io import loadmat  # slow to import

        points = loadmat(self._file(*self._items[index], "Landmarks", ".mat"))["keypoints_2d"]
        return (2 * points[:, ::-1] - 1).astype(np.float32)

    def _image(self, sequence: int, position: int) -> tuple[Array, Array, Array]:
        image = read_image(self._file(sequence, position, "WithBackground", ".jpg"))
        mask = read_image(self._file(sequence, position, MASKS, ".png"))[..., :1]
        if self.use_mask:
            image = np.rint(image * (mask / 255)).astype(np.uint8)
        inside = fit_image(mask[..., 0], self.image_size)[0] > 127
        h, w = image.shape[:2]
        return fit_image(image, self.image_size)[0], inside.astype(np.uint8), fit_size((w, h))

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Return one pair; `rng` draws the source.

        Shapes: target, source (image_size, image_size, 3) uint8 RGB; mask (image_size, image_size);
            keypoints (32, 2); visible (32,); size (2,), width and height of the file in pixels;
            name "S11/<sequence>/<frame>", which begins with the activity.
        """
        s, i = self._items[index]
        subject, name, frames = self._sequences[s]
        target, mask, size = self._image(s, i)
        source = target.copy()
        if self.split == "train" and self._high:
            last = min(i + self._high, len(frames) - 1)
            source, *_ = self._image(s, int(rng.integers(min(i + self._low, last), last + 1)))
        return {
            "target": target,
            "source": source,
            "mask": mask,
            "keypoints": self.keypoints(index),
            "visible": np.ones(len(JOINTS), np.float32),
            "size": size,
            "name": f"{subject}/{name}/{frames[i]:06d}",
        }
