"""Reconstruction from the first frame: every source is the first frame of its clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from registry.protocols import ClipDataset
from registry.roles import DATASETS


@DATASETS.register_module("datasets/first_source")
class FirstSource:
    """The frames of another data set, each with the first frame of its clip as source.

    The other data set still reads the source that is replaced; for datasets/video_folder, use
    its pair="first" instead.

    Args:
        frame_dataset: any data set with `clip_ranges()`, whose clip names begin its sample names,
            `image(number)` and `size(number)`, such as datasets/puppets or datasets/frames.

    Source: fomm sec 4; monkeynet sec 4
    """

    def __init__(self, *, frame_dataset: ClipDataset) -> None:
        self.frame_dataset = frame_dataset
        self.keypoint_names = frame_dataset.keypoint_names
        self.edges, self.flip_pairs = frame_dataset.edges, frame_dataset.flip_pairs
        self.random_target = frame_dataset.random_target
        self._first = {name: frames.start for name, frames in frame_dataset.clip_ranges()}

    def __len__(self) -> int:
        return len(self.frame_dataset)

    def clip_ranges(self) -> Sequence[tuple[str, range]]:
        """Return the name of each clip and the numbers of its frames, for `image`."""
        return self.frame_dataset.clip_ranges()

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return one frame (H, W, 3)."""
        return self.frame_dataset.image(index)

    def size(self, index: int) -> NDArray[np.float32]:
        """Return width and height (2,) of a frame in original pixels."""
        return self.frame_dataset.size(index)

    def keypoints(self, index: int) -> NDArray[np.float32] | None:
        """Return the target's keypoints (J, 2), or None."""
        return self.frame_dataset.keypoints(index)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Return sample `index` of the other data set with its source replaced.

        Raises:
            ValueError: its clip is not in `clip_ranges()`.
        """
        sample = self.frame_dataset.sample(index, rng)
        clip = sample["name"].rpartition("/")[0]
        if clip not in self._first:
            raise ValueError(
                f"datasets/first_source: '{sample['name']}' belongs to none of the clips of "
                "frame_dataset, so its first frame is unknown. Use a data set whose sample names "
                "begin with the names in clip_ranges()."
            )
        return {**sample, "source": self.image(self._first[clip])}
