"""Clips of consecutive frames from a data set of frames."""

from __future__ import annotations

from typing import Any

import numpy as np

from components.data.states import window
from registry.protocols import ClipDataset
from registry.roles import DATASETS


@DATASETS.register_module("datasets/clips")
class Clips:
    """One window of consecutive frames per clip; clips that are too short are in `skipped_clips`.

    Args:
        frame_dataset: any data set with `clip_ranges()` (name and frame numbers of each clip),
            `image(number)` and `size(number)` (width and height in original pixels), such as
            datasets/puppets or datasets/frames.
        length: frames per window.

    Raises:
        ValueError: no clip is long enough.
    """

    keypoint_names = edges = flip_pairs = ()

    def __init__(self, *, frame_dataset: ClipDataset, length: int) -> None:
        clips = frame_dataset.clip_ranges()
        self.frame_dataset, self.length = frame_dataset, length
        self.clips = [(name, frames) for name, frames in clips if len(frames) >= length]
        self.skipped_clips = [name for name, frames in clips if len(frames) < length]
        if not self.clips:
            longest = max((len(frames) for _, frames in clips), default=0)
            raise ValueError(
                f"datasets/clips: no clip has {length} frames; the longest has {longest}. Use a "
                "smaller length= or longer clips."
            )

    def __len__(self) -> int:
        return len(self.clips)

    def keypoints(self, index: int) -> None:
        """Return None: clips are not annotated."""

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Return a window of clip `index`; `rng` picks its first frame.

        Shapes: frames (length, H, W, 3) uint8 RGB; size (2,) float32, width and height in
            original pixels; name "<clip>/<number of the first frame>".
        """
        name, frames = self.clips[index]
        part = window(len(frames), self.length, rng)
        images = [self.frame_dataset.image(number) for number in frames[part]]
        return {
            "frames": np.stack(images),
            "size": self.frame_dataset.size(frames[part][0]),
            "name": f"{name}/{part.start:06d}",
        }
