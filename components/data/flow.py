"""Optical flow of frames: an estimator without weights, and a cache on disk.

A cache is a folder with `index.json`, which describes the frames, and one array per clip, (frames,
gaps, h, w, 2) float16: the displacement of each pixel of a frame to its position in the frame's
partner at that gap, (x, y) in contract units.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

INDEX = "index.json"
SMALLEST = 12  # pixels; the minimum side OpenCV accepts
SAME_GREY = 8  # of 255: decoders differ by less, a different crop or frame order by more


def dis(target: Array, source: Array) -> Array:
    """Return the dense inverse search flow: the displacement of each pixel from target to source.

    Shapes: two (H, W, 3) uint8 RGB -> (H, W, 2) float32, (x, y) in contract units.
    Raises: ValueError if the images are smaller than OpenCV accepts.
    """
    height, width = target.shape[:2]
    if min(height, width) < SMALLEST:
        raise ValueError(
            f"optical flow: images of {width} x {height} pixels are too small; set image_size to "
            f"at least {SMALLEST}."
        )
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (target, source)]
    # Any: the stub asks for an initial flow, which may be None
    estimator: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow: Array = estimator.calc(*grey, None) * np.array([2 / width, 2 / height], np.float32)
    return flow


def shrink(flow: Array, stride: int) -> Array:
    """Return the mean of each square of `stride` x `stride` pixels.

    Shapes: (H, W, 2) -> (H / stride, W / stride, 2) float32
    """
    if stride == 1:
        return flow
    h, w = flow.shape[0] // stride, flow.shape[1] // stride
    mean: Array = flow.reshape(h, stride, w, stride, 2).mean(axis=(1, 3), dtype=np.float32)
    return mean


def partner(t: int, length: int, gap: int) -> int | None:
    """Return the frame `gap` before frame `t`, else the one `gap` after it, else None."""
    if t >= gap:
        return t - gap
    return t + gap if t + gap < length else None


def description(
    clips: Sequence[tuple[str, int]], gaps: Sequence[int], first: Array, stride: int
) -> dict[str, Any]:
    """Return what identifies the data set of a cache, as stored in `index.json`.

    Args:
        clips: name and number of frames of each.
        gaps: distances of two frames.
        first: the first frame (H, W, 3).
        stride: see `shrink`.
    """
    return {
        "clips": [[name, frames] for name, frames in clips],
        "gaps": sorted(set(gaps)),
        "size": [side // stride for side in first.shape[:2]],
        "first_frame": cv2.resize(first, (4, 4), interpolation=cv2.INTER_AREA).tolist(),
    }


def difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Return how the flow `found` differs from the flow `wanted`; "" if it does not."""
    for there, here in zip(found["clips"], wanted["clips"]):
        if there != here:
            return f"of clip '{there[0]}' of {there[1]} frames, not '{here[0]}' of {here[1]}"
    if len(found["clips"]) != len(wanted["clips"]):
        return f"of {len(found['clips'])} clips, not {len(wanted['clips'])}"
    for key in ("gaps", "size"):
        if found[key] != wanted[key]:
            return f"of {key} {found[key]}, not {wanted[key]}"
    if np.abs(np.subtract(found["first_frame"], wanted["first_frame"])).max() > SAME_GREY:
        return f"of a first frame that looks different from that of '{wanted['clips'][0][0]}'"
    return ""


def clip_file(folder: Path, clip: int) -> Path:
    """Return the array of a clip, by its position in the index."""
    return folder / f"{clip:06d}.npy"


def read_index(folder: Path) -> dict[str, Any] | None:
    """Return the index of a cache, or None if it has none.

    Raises: ValueError if the file is not an index of optical flow.
    """
    try:
        index: dict[str, Any] = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        index["clips"], index["gaps"], index["size"], index["first_frame"]
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"'{folder / INDEX}' is not an index of optical flow. Move it away, or give another "
            "folder."
        ) from error
    return index


def flow_of(
    images: Array, pairs: Array, estimate: Callable[[Array, Array], Any], stride: int
) -> Array:
    """Return the flow of frames to their partners as stored in a cache; 0 without a partner.

    Args:
        images: (N, H, W, 3).
        pairs: (n, gaps, 2) positions of frame and partner in `images`; negative for a missing
            partner.
        estimate: function of two (P, H, W, 3) that returns P of (H, W, 2).
        stride: see `shrink`.

    Shapes: (n, gaps, H / stride, W / stride, 2) float16
    """
    there = pairs[..., 1] >= 0
    target, source = images[pairs[there].T]
    size = [side // stride for side in images.shape[1:3]]
    flow = np.zeros((*pairs.shape[:2], *size, 2), np.float16)
    flow[there] = [shrink(found, stride) for found in estimate(target, source)]
    return flow


def dis_each(targets: Array, sources: Array) -> list[Array]:
    """Return `dis` of each pair."""
    return [dis(target, source) for target, source in zip(targets, sources)]


class Chunks:
    """Consecutive frames of a clip with all their partners, each frame read once.

    Args:
        pairs: a datasets/flow_pairs.
        gaps: distances of the partners.
        chunks: clip, first frame and end frame (exclusive) of each.
        estimate: passed to `flow_of`; None returns images and positions instead.
    """

    def __init__(
        self,
        pairs: Any,
        gaps: Sequence[int],
        chunks: Sequence[tuple[int, int, int]],
        estimate: Callable[[Array, Array], Any] | None,
    ) -> None:
        self.pairs, self.gaps, self.chunks, self.estimate = pairs, gaps, chunks, estimate

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, number: int) -> Any:
        """Return the flow of a chunk, or (images, pairs) for `flow_of`."""
        clip, start, stop = self.chunks[number]
        frames = self.pairs.clips[clip][1]
        wanted = [
            [(t, partner(t, len(frames), gap)) for gap in self.gaps] for t in range(start, stop)
        ]
        needed = sorted({t for row in wanted for pair in row for t in pair if t is not None})
        images = np.stack([self.pairs.frame_dataset.image(frames[t]) for t in needed])
        at = {t: place for place, t in enumerate(needed)} | {None: -1}
        positions = np.array([[[at[t] for t in pair] for pair in row] for row in wanted])
        if self.estimate is None:
            return images, positions
        return flow_of(images, positions, self.estimate, self.pairs.stride)


class FlowCache:
    """Read flow from a folder that `keypoint-zoo prepare flow` filled.

    Args:
        folder: folder of the cache.
        wanted: description of the data set that will read it.

    Raises:
        FileNotFoundError: the flow is missing for some or all clips.
        ValueError: the flow belongs to other data.
    """

    def __init__(self, folder: Path, wanted: dict[str, Any]) -> None:
        index = read_index(folder)
        how = "Run keypoint-zoo prepare flow with this config"
        if index is None:
            raise FileNotFoundError(f"datasets/flow_pairs: no optical flow in '{folder}'. {how}.")
        if {*wanted["gaps"]} < {*index["gaps"]}:  # more than needed
            wanted = {**wanted, "gaps": index["gaps"]}
        if other := difference(index, wanted):
            raise ValueError(
                f"datasets/flow_pairs: the optical flow in '{folder}' is {other}. {how} and "
                "another folder, or move this one away."
            )
        there = set(os.listdir(folder))
        missing = [
            name
            for clip, (name, _) in enumerate(index["clips"])
            if clip_file(folder, clip).name not in there
        ]
        if missing:
            raise FileNotFoundError(
                f"datasets/flow_pairs: '{folder}' lacks the optical flow of {len(missing)} of "
                f"{len(index['clips'])} clips, such as '{missing[0]}'. {how}; it goes on where it "
                "stopped."
            )
        self._folder, self._gaps = folder, index["gaps"]

    def read(self, clip: int, t: int, gap: int) -> Array:
        """Return the flow (h, w, 2) float32 of frame `t` of a clip to its partner."""
        flow = np.load(clip_file(self._folder, clip), mmap_mode="r")[t, self._gaps.index(gap)]
        return np.array(flow, np.float32)
