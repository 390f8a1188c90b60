"""Landmark states of whole clips, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def window(total: int, length: int, rng: np.random.Generator) -> slice:
    """Return a random window of `length` consecutive frames out of `total`."""
    start = int(rng.integers(total - length + 1))
    return slice(start, start + length)


class StateClips:
    """Windows of landmark states, drawn exactly as `datasets/clips` draws its frames.

    Args:
        states: (F, K, S) of all clips, one after the other.
        clips: name and number of frames of each.
        length: frames of a window.
    """

    def __init__(self, states: Array, clips: Sequence[tuple[str, int]], length: int) -> None:
        ends = np.cumsum([frames for _, frames in clips])
        self.clips = [
            (name, states[end - frames : end]) for (name, frames), end in zip(clips, ends)
        ]
        self.length = length

    def __len__(self) -> int:
        return len(self.clips)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Return the states (length, K, S) of a window of clip `index`; `rng` picks its start."""
        name, states = self.clips[index]
        part = window(len(states), self.length, rng)
        return {"states": states[part].copy(), "name": f"{name}/{part.start:06d}"}
