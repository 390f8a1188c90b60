"""Landmark states of a data set, read once and cached in a file that records their origin."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from components.data.states import StateClips
from registry.atomic import replacing
from registry.contract import need
from registry.loading import Cache, frames_of, to_batch

Array = NDArray[np.float32]
IMAGES = 16  # read at a time: more would fragment CPU memory


def save_states(path: Path, states: Array, fingerprint: str) -> None:
    """Write states (F, K, S) atomically, with the `fingerprint` of what they came from."""
    with replacing(path) as temporary:
        # not save_file, which writes to a temporary file of its own
        temporary.write_bytes(save({"states": states}, {"fingerprint": fingerprint}))


def load_states(path: Path, fingerprint: str) -> Array | None:
    """Return the states (F, K, S) in a file; None if it is missing, broken, or of other origin."""
    try:
        with safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get("fingerprint") != fingerprint:
                return None
            return file.get_tensor("states")
    except (OSError, SafetensorError):
        return None


def fingerprint(state: Mapping[str, Tensor], kind: str) -> str:
    """Return a hash of the weights that read states and of everything else that affects them."""
    found = hashlib.sha256(kind.encode())
    for name, value in sorted(state.items()):
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def read_clips(
    clips: Any, read: Callable[[Tensor], Tensor], mark: str, device: torch.device, cache: Cache
) -> StateClips:
    """Return the states of all frames of a data set: from ``cache``, or read now.

    Args:
        clips: a datasets/clips.
        read: function from images (B, 3, H, W) to states (B, K, S).
        mark: :func:`fingerprint` of ``read``; with the data it decides whether a file is valid.
        device: device on which ``read`` runs.
        cache: cache of the run.
    """
    counts = [(name, len(frames)) for name, frames in clips.clips]
    file = cache.folder / "states.safetensors"
    mark = f"{mark} {hashlib.sha256(f'{cache.source} {counts}'.encode()).hexdigest()}"
    states = load_states(file, mark)
    if states is None:
        states = _read_all(clips, read, device, cache)
        save_states(file, states, mark)
    return StateClips(states, counts, clips.length)


def _read_all(
    clips: Any, read: Callable[[Tensor], Tensor], device: torch.device, cache: Cache
) -> Array:
    """Return the states (F, K, S) of all frames of all clips, one after the other."""
    numbers = [number for _, frames in clips.clips for number in frames]
    total, done = len(numbers), 0
    states = np.empty((0,), np.float32)
    for arrays in frames_of(_Stills(clips.frame_dataset), numbers, IMAGES, cache.workers):
        found = read(need(to_batch(arrays, device), "driving")).float().cpu().numpy()
        if not done:  # K is now known
            states = np.empty((total, *found.shape[1:]), np.float32)
        before, done = done, done + len(found)
        states[before:done] = found
        if 10 * done // total > 10 * before // total:
            cache.say(f"landmarks of {done}/{total} frames", done / total)
    return states


class _Stills:
    """The frames of a data set one by one, without partners."""

    def __init__(self, frame_dataset: Any) -> None:
        self.frame_dataset = frame_dataset

    def sample(self, index: int, rng: Any) -> dict[str, Any]:
        return {"target": self.frame_dataset.image(index)}
