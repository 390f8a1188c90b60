"""DeepFashion in-shop: people in front of plain walls, with the view in the file name."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from components.data.fit import fit_image, fit_size
from components.data.video import is_image, read_image
from registry.roles import DATASETS

VIEW = re.compile(r"_\d_?([a-z]+)$")  # 01_4_full, or ...01_4full in flattened names


@DATASETS.register_module("datasets/deepfashion")
class DeepFashion:
    """Single photographs, from which a transform makes pairs; source and target are the same image.

    A random fifth of the images is the test set, the same images for both layouts. Images are
    stretched to a square.

    Args:
        root: folder with `Img/img/{WOMEN,MEN}/<category>/id_00000002/01_4_full.jpg` of the in-shop
            benchmark, or one that holds flattened names, at any depth:
            `fashionWOMENDressesid0000000201_4full.jpg`.
        image_size: side of the square images.
        split: "train" or "test".
        views: which of front, side, back, full, additional and flat to use.

    Raises:
        FileNotFoundError: the root does not exist or has no image of these views.
        ValueError: an unknown split.

    Source: lee sec 4.1
    Differs: the paper uses full-body frontal images without saying how they were selected; "full"
        is the view that shows the whole person
    """

    keypoint_names = edges = flip_pairs = ()

    def __init__(
        self,
        *,
        root: str,
        image_size: int,
        split: Literal["train", "test"] = "train",
        views: tuple[str, ...] = ("full",),
    ) -> None:
        if split not in ("train", "test"):
            raise ValueError(f"datasets/deepfashion: split={split!r} must be 'train' or 'test'.")
        if not Path(root).is_dir():
            raise FileNotFoundError(
                f"datasets/deepfashion: no folder '{root}'. Download the In-shop Clothes Retrieval "
                "Benchmark from mmlab.ie.cuhk.edu.hk/projects/DeepFashion.html and set root= to it."
            )
        self.split, self.image_size = split, image_size
        # only the benchmark's own folder: others beside it may hold the same images enlarged
        inside = Path(root, "Img/img")
        self._folder = inside if inside.is_dir() else Path(root)
        found = [
            path
            for path in self._folder.rglob("*")
            if is_image(path) and (view := VIEW.search(path.stem)) and view[1] in views
        ]
        if not found:
            raise FileNotFoundError(
                f"datasets/deepfashion: no image of the views {', '.join(views)} in "
                f"'{self._folder}'. Set root= to a folder with Img/img of the in-shop benchmark, "
                "or with flattened names such as fashionWOMENDressesid0000000201_4full.jpg."
            )
        found.sort(key=self._identity)
        order = np.random.default_rng(0).permutation(len(found))
        fifth = math.ceil(len(found) / 5)
        chosen = order[:fifth] if split == "test" else order[fifth:]
        self.files = [found[i] for i in np.sort(chosen)]

    def _identity(self, path: Path) -> str:
        """Return the name of an image common to both layouts, without separators."""
        flat = path.stem.startswith("fashion")
        name = path.stem if flat else path.relative_to(self._folder).with_suffix("").as_posix()
        return re.sub("^fashion|[/_]", "", name)

    def __len__(self) -> int:
        return len(self.files)

    def keypoints(self, index: int) -> None:
        """Return None: the benchmark annotates clothes, not people."""

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Return one image as target and source; `rng` is unused.

        Shapes: target, source (image_size, image_size, 3) uint8 RGB; size (2,) float32, width and
            height of the file in pixels; name "<split>/<file>".
        """
        path = self.files[index]
        image = read_image(path)
        height, width = image.shape[:2]
        target: NDArray[np.uint8] = fit_image(image, self.image_size)[0]
        name = path.relative_to(self._folder).with_suffix("").as_posix()
        return {
            "target": target,
            "source": target.copy(),
            "size": fit_size((width, height)),
            "name": f"{self.split}/{name}",
        }
