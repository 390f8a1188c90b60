"""Landmark states of whole clips: kept in memory, and in a file that says what they came from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from registry.atomic import replacing

Array = NDArray[np.float32]


def window(total: int, length: int, rng: np.random.Generator) -> slice:
    """Return `length` consecutive of `total` frames, drawn by `rng`."""
    start = int(rng.integers(total - length + 1))
    return slice(start, start + length)


class StateClips:
    """Windows of landmark states, by the same draws as `datasets/clips` takes its frames.

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


def save_states(path: Path, states: Array, fingerprint: str) -> None:
    """Write states (F, K, S) of what `fingerprint` stands for: all of the file or none of it."""
    with replacing(path) as temporary:
        save_file({"states": states}, temporary, metadata={"fingerprint": fingerprint})


def load_states(path: Path, fingerprint: str) -> Array | None:
    """Return the states (F, K, S) of a file; None if it is missing, broken, or of other origin."""
    try:
        with safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get("fingerprint") != fingerprint:
                return None
            return file.get_tensor("states")  # type: ignore[no-any-return]
    except (OSError, SafetensorError):
        return None
