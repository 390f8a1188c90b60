"""Pairs of nearby frames with the optical flow between them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.data.flow import FlowCache, description, dis, partner, shrink
from registry.protocols import ClipDataset
from registry.roles import DATASETS


@DATASETS.register_module("datasets/flow_pairs")
class FlowPairs:
    """Each frame as target, a frame shortly before it as source, and the flow between them.

    The source comes after the target if no frame is that far before it. Clips shorter than twice
    the smallest gap are left out (see `skipped_clips`).

    Args:
        frame_dataset: any data set with `clip_ranges()`, `image(number)` and `size(number)`, such
            as datasets/frames; exact flow also needs `flow(number, other)`, as in datasets/puppets.
        gaps: distances of source and target in frames; each item draws one possible in its clip.
        flow: "exact" asks the frame data set; "dis" estimates it on demand (dense inverse
            search, about 1 ms for 64 x 64 pixels, 9 ms for 256 x 256); a folder is read as
            filled by `keypoint-zoo prepare flow`.
        stride: side in pixels of the squares over which flow is averaged.

    Raises:
        FileNotFoundError: the folder lacks the flow of some or all clips.
        ValueError: the folder's flow is of other frames, no clip is long enough, or the arguments
            do not fit the images.
    """

    def __init__(
        self,
        *,
        frame_dataset: ClipDataset,
        gaps: tuple[int, ...] = (1, 2, 4),
        flow: str = "exact",
        stride: int = 1,
    ) -> None:
        self.frame_dataset, self.gaps, self.stride = frame_dataset, tuple(gaps), stride
        if not gaps or min(gaps) < 1:
            raise ValueError(f"datasets/flow_pairs: gaps={gaps} must be 1 or more frames.")
        if flow == "exact" and not hasattr(frame_dataset, "flow"):
            raise ValueError(
                f"datasets/flow_pairs: {type(frame_dataset).__name__} does not know its exact "
                "flow. Set flow='dis', or flow= to a folder filled by keypoint-zoo prepare flow."
            )
        clips, least = frame_dataset.clip_ranges(), 2 * min(gaps)
        self.clips = [(name, frames) for name, frames in clips if len(frames) >= least]
        self.skipped_clips = [name for name, frames in clips if len(frames) < least]
        if not self.clips:
            raise ValueError(
                f"datasets/flow_pairs: no clip has {least} frames. Use smaller gaps= or longer "
                "clips."
            )
        self._ends = np.cumsum([len(frames) for _, frames in self.clips])
        first = frame_dataset.image(self.clips[0][1][0])
        if len(first) % stride:
            raise ValueError(
                f"datasets/flow_pairs: the image side of {len(first)} pixels must be a multiple of "
                f"stride={stride}."
            )
        counts = [(name, len(frames)) for name, frames in self.clips]
        self.description = description(counts, self.gaps, first, stride)
        self._flow = flow
        self._cache: FlowCache | None = None
        if flow not in ("exact", "dis"):
            self._cache = FlowCache(Path(flow), self.description)
        self.keypoint_names = frame_dataset.keypoint_names
        self.edges, self.flip_pairs = frame_dataset.edges, frame_dataset.flip_pairs
        # annotations are looked up by item; without them if items are not the frames in order
        ranges = [range(0), *(frames for _, frames in clips)]
        in_order = all(a.stop == b.start for a, b in pairwise(ranges))
        self._annotated = in_order and ranges[-1].stop == len(frame_dataset)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def _locate(self, index: int) -> tuple[int, int]:
        clip = int(np.searchsorted(self._ends, index, side="right"))
        return clip, index - int(self._ends[clip]) + len(self.clips[clip][1])

    def keypoints(self, index: int) -> NDArray[np.float32] | None:
        """Return the target's keypoints (J, 2), or None."""
        clip, t = self._locate(index)
        if not self._annotated:
            return None
        found: NDArray[np.float32] | None = self.frame_dataset.keypoints(self.clips[clip][1][t])
        return found

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Return frame `index` of all clips, a source at a gap that `rng` draws, and their flow.

        Shapes: target, source (H, W, 3) uint8 RGB; flow (H / stride, W / stride, 2) float32, the
            displacement of each pixel from target to source, (x, y) in contract units; size
            (2,) float32, width and height of the target in original pixels; name
            "<clip>/<number of the target in it>".
        """
        clip, t = self._locate(index)
        name, frames = self.clips[clip]
        near = [(gap, partner(t, len(frames), gap)) for gap in self.gaps]
        possible = [(gap, at) for gap, at in near if at is not None]
        gap, at = possible[rng.integers(len(possible))]
        number, other = frames[t], frames[at]
        target, source = self.frame_dataset.image(number), self.frame_dataset.image(other)
        if self._cache is not None:
            flow = self._cache.read(clip, t, gap)
        elif self._flow == "dis":
            flow = shrink(dis(target, source), self.stride)
        else:
            exact: Any = self.frame_dataset  # has flow(): the constructor checked
            flow = shrink(exact.flow(number, other), self.stride)
        return {
            "target": target,
            "source": source,
            "flow": flow,
            "size": self.frame_dataset.size(number),
            "name": f"{name}/{t:06d}",
        }
