"""Random images and keypoints of a given shape, for when licensed data is not at hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.roles import DATASETS


@DATASETS.register_module("datasets/standin")
class StandIn:
    """One clip of noise with every field of a data set, so that any config builds and runs.

    Args:
        image_size: side of the square images.
        num_keypoints: J.
        edges: limbs, as pairs of keypoint positions.
        flip_pairs: (left, right) keypoint positions.
        length: number of frames.
        seed: seed of all random numbers.
    """

    def __init__(
        self,
        *,
        image_size: int,
        num_keypoints: int,
        edges: tuple[tuple[int, int], ...] = (),
        flip_pairs: tuple[tuple[int, int], ...] = (),
        length: int = 8,
        seed: int = 0,
    ) -> None:
        rng = np.random.default_rng(seed)
        self._images = rng.integers(0, 256, (length, image_size, image_size, 3), np.uint8)
        self._masks = rng.integers(0, 2, (length, image_size, image_size), np.uint8)
        self._keypoints = rng.uniform(-0.9, 0.9, (length, num_keypoints, 2)).astype(np.float32)
        self.keypoint_names = tuple(f"point_{j}" for j in range(num_keypoints))
        self.edges = tuple(map(tuple, edges))
        self.flip_pairs = tuple(map(tuple, flip_pairs))

    def __len__(self) -> int:
        return len(self._images)

    def clip_ranges(self) -> list[tuple[str, range]]:
        """Return the name of the clip and the numbers of its frames, for `image`."""
        return [("standin", range(len(self)))]

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return frame `index` (image_size, image_size, 3)."""
        return self._images[index].copy()

    def size(self, index: int) -> NDArray[np.float32]:
        """Return width and height (2,) of a frame."""
        return np.array(self._images[index].shape[1::-1], np.float32)

    def keypoints(self, index: int) -> NDArray[np.float32]:
        """Return the keypoints (J, 2) of a frame."""
        return self._keypoints[index].copy()

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Return frame `index` and, as its source, a frame that `rng` draws."""
        return {
            "target": self._images[index].copy(),
            "source": self._images[rng.integers(len(self))].copy(),
            "keypoints": self.keypoints(index),
            "visible": np.ones(len(self.keypoint_names), np.float32),
            "mask": self._masks[index].copy(),
            "size": self.size(index),
            "name": f"standin/{index:06d}",
        }
