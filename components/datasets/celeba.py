"""CelebA for training and MAFL for evaluation: aligned faces with five points."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from components.data.fit import fit_affine, fit_image, fit_size, to_contract
from components.data.video import image_size as size_of
from components.data.video import read_image
from registry.roles import DATASETS

Array = NDArray[Any]

SPLITS = ("train", "mafl_train", "mafl_test")


@DATASETS.register_module("datasets/celeba")
class CelebA:
    """Single faces, from which a transform makes pairs; source and target are the same image.

    Images are stretched to a square of 5/4 of `image_size` (160 for 128), whose centre is used.

    Args:
        root: folder with `Img/img_align_celeba*/000001.jpg`, `Anno/list_landmarks_align_celeba.txt`
            and `Eval/list_eval_partition.txt` of CelebA and `MAFL/training.txt` and
            `MAFL/testing.txt`.
        split: "train" is CelebA's training set without MAFL's test set and without the last tenth
            of MAFL's training set; "mafl_train" is the rest of MAFL's training set, for fitting
            regressors; "mafl_test" is MAFL's test set.
        image_size: side of the square images.

    Raises:
        FileNotFoundError: part of the data is missing; the message says where to get it.
        ValueError: an unknown split, or a listed image without landmarks.

    Source: imm sec 4; factorized sec 4; factorized table 2
    Differs: the splits are those of IMM's official code: regressors are fitted on nine tenths of
        MAFL's training set, which also stay in "train"; the factorized paper trains on CelebA
        without any of MAFL. Points are taken as pixel centres, half a pixel right of and below
        the official ones
    """

    keypoint_names = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")  # in the image
    edges = ((0, 2), (1, 2), (2, 3), (2, 4), (3, 4))
    flip_pairs = ((0, 1), (3, 4))

    def __init__(
        self,
        *,
        root: str,
        split: Literal["train", "mafl_train", "mafl_test"] = "train",
        image_size: int = 128,
    ) -> None:
        if split not in SPLITS:
            raise ValueError(
                f"datasets/celeba: split={split!r} must be one of {', '.join(SPLITS)}."
            )
        self.root, self.split, self.image_size = Path(root), split, image_size
        folders = sorted(f for f in self.root.glob("Img/img_align_celeba*") if f.is_dir())
        if not folders:
            raise FileNotFoundError(
                f"datasets/celeba: no folder '{self.root}/Img/img_align_celeba*'. Download "
                "CelebA's aligned images from mmlab.ie.cuhk.edu.hk/projects/CelebA.html and "
                "unpack them into Img of root=."
            )
        self._folder = folders[0]
        self.files = self._chosen()
        rows = self._lines("Anno/list_landmarks_align_celeba.txt", "CelebA")[2:]
        where = {line.split(maxsplit=1)[0]: line for line in rows}
        if lost := [file for file in self.files if file not in where]:
            raise ValueError(
                f"datasets/celeba: '{self.root}/Anno/list_landmarks_align_celeba.txt' has no row "
                f"for {lost[0]}. Download it again."
            )
        numbers = [where[file].split()[1:] for file in self.files]
        self._points = np.array(numbers, np.float64).reshape(-1, 5, 2)
        self._size: tuple[int, int] | None = None

    def _chosen(self) -> list[str]:
        training = self._lines("MAFL/training.txt", "MAFL")
        kept = len(training) * 9 // 10
        if self.split == "mafl_train":
            return training[:kept]
        testing = self._lines("MAFL/testing.txt", "MAFL")
        if self.split == "mafl_test":
            return testing
        left_out = {*testing, *training[kept:]}
        rows = (line.split() for line in self._lines("Eval/list_eval_partition.txt", "CelebA"))
        return [file for file, part in rows if part == "0" and file not in left_out]

    def _lines(self, name: str, of: str) -> list[str]:
        path = self.root / name
        if not path.is_file():
            origin = {
                "CelebA": "mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
                "MAFL": "github.com/zhzhanp/TCDCN-face-alignment",
            }
            raise FileNotFoundError(
                f"datasets/celeba: no file '{path}' of {of}. Download it from {origin[of]} and "
                f"put it at {name} of root=."
            )
        return [
            line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()
        ]

    def _path(self, index: int) -> Path:
        path = self._folder / self.files[index]
        if not path.is_file():
            path = path.with_suffix(".png")  # img_align_celeba_png
        if not path.is_file():
            raise FileNotFoundError(
                f"datasets/celeba: no file '{self._folder / self.files[index]}' (or .png). Unpack "
                "all of CelebA's aligned images."
            )
        return path

    def __len__(self) -> int:
        return len(self.files)

    def keypoints(self, index: int) -> Array:
        """Return the five points of a face, (5, 2) float32, without decoding the image."""
        whole = to_contract(self._points[index], fit_affine(self._original(index)))
        points: Array = whole * np.float32(self._large / self.image_size)
        return points

    def _original(self, index: int) -> tuple[int, int]:
        self._size = self._size or size_of(self._path(index))  # all are 178 x 218
        return self._size

    @property
    def _large(self) -> int:
        """Side of the square whose centre is the image; the difference of the sides is even."""
        return self.image_size + 2 * (self.image_size // 8)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Return one face as target and source; `rng` is unused.

        Shapes: target, source (image_size, image_size, 3) uint8 RGB; keypoints (5, 2); visible
            (5,) float32, 1 in the image; size (2,) float32, width and height of the centre that is
            used, in pixels of the file; name "<split>/<file without suffix>".
        """
        margin = self.image_size // 8
        large = fit_image(read_image(self._path(index)), self._large)[0]
        target = large[margin : margin + self.image_size, margin : margin + self.image_size].copy()
        points = self.keypoints(index)
        return {
            "target": target,
            "source": target.copy(),
            "keypoints": points,
            "visible": (np.abs(points) <= 1).all(axis=1).astype(np.float32),
            "size": fit_size(self._original(index)) * np.float32(self.image_size / self._large),
            "name": f"{self.split}/{Path(self.files[index]).stem}",
        }
