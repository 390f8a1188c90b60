"""Frames of clips: a folder of images, clip folders or videos, a single video, or film strips."""

from __future__ import annotations

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from components.data.annotations import MISSING, keypoint_indices, read_coco, read_csv
from components.data.clips import Clip, clips_of_table, find_clips
from components.data.fit import (
    Crop,
    check_crop,
    fit_affine,
    fit_image,
    fit_size,
    to_contract,
)
from components.data.video import IMAGE_SUFFIXES, VIDEO_SUFFIXES, VideoReader
from registry.progress import counted
from registry.roles import DATASETS

Array = NDArray[Any]

OPEN_VIDEOS = 8  # file handles kept open if frames do not fit into memory
SUFFIXES = "|".join(map(re.escape, IMAGE_SUFFIXES + VIDEO_SUFFIXES))


@DATASETS.register_module("datasets/frames")
class Frames:
    """Pairs of frames of one clip, or single images, from files in almost any layout.

    `root` is a video, or a folder in which every folder that holds images is a clip and every video
    is a clip. Frames are resized once and kept in memory if all of them fit into `cache_mb`: videos
    and strips when the data set is built (only then is their length known), images at first use.

    Args:
        root: folder or video file.
        image_size: side of the square images.
        pair: "clip" takes the source from the target's clip and leaves out clips of one frame
            (see `skipped_clips`); "same" uses one frame as source and target, for images without
            clips, from which a transform makes the pair.
        pair_range: smallest and largest distance of the source from the target in frames, before or
            after it; in a clip that is too short, the farthest frame is used.
        include: keep clips whose name matches one of these patterns ("subject[0-4]*"), or all.
        exclude: drop clips whose name matches one of these patterns.
        strip: each image holds the square frames of a clip side by side.
        fit: "stretch", "pad" or "crop" to a square; `components/data/fit.py` maps points back.
        crop: (left, top, width, height) in original pixels, inside the picture, cut out of every
            frame first.
        annotations: COCO (.json) or CSV file of keypoints; its paths may have more or fewer parent
            folders than those below `root`; frames of a video are named as in
            `Annotations.files`.
        labelled_only: only annotated frames are targets; any frame can be a source.
        half: use only this half of every clip, so that images (first half) and a pose prior
            (second half) of the same clips never overlap.
        clip_columns: columns of a CSV `annotations` that identify the clip of an image, such as
            ("identity", "video"); only images in the table are used.
        edges: limbs, by keypoint name or position; if empty, those of the COCO file.
        flip_pairs: (left, right) keypoints, by name or position.
        cache_mb: memory for resized frames; if they do not fit, they are decoded at every access.

    Raises:
        FileNotFoundError: the root does not exist or is empty.
        OSError: a file is empty or cannot be decoded; the message names it.
        ValueError: no clip passes the patterns or has two frames, or annotations match no frame.
    Differs: factorized prefers a later source; here both directions are equally likely.
    """

    def __init__(
        self,
        *,
        root: str,
        image_size: int,
        pair: str = "clip",
        pair_range: tuple[int, int] = (1, 60),
        include: tuple[str, ...] = (),
        exclude: tuple[str, ...] = (),
        strip: bool = False,
        fit: str = "stretch",
        crop: Crop | None = None,
        annotations: str | None = None,
        labelled_only: bool = False,
        half: Literal["first", "second"] | None = None,
        clip_columns: tuple[str, ...] = (),
        edges: tuple[tuple[str | int, ...], ...] = (),
        flip_pairs: tuple[tuple[str | int, ...], ...] = (),
        cache_mb: int = 2048,
    ) -> None:
        if pair not in ("clip", "same"):
            raise ValueError(f"datasets/frames: pair={pair!r} must be 'clip' or 'same'.")
        if (labelled_only or clip_columns or edges or flip_pairs) and not annotations:
            raise ValueError(
                "datasets/frames: labelled_only, clip_columns, edges and flip_pairs "
                "need annotations. Set annotations= to a CSV or COCO file."
            )
        if not Path(root).exists():
            raise FileNotFoundError(
                f"datasets/frames: no folder '{root}'. Set root= to an existing "
                "folder of images, folder of clips, or video file."
            )
        self.image_size, self.pair, self.pair_range = image_size, pair, pair_range
        self._fit, self._crop, self._half = fit, crop, half
        self._recent: list[VideoReader] = []
        self._sizes: dict[int, tuple[int, int]] = {}  # (width, height) of originals, by frame

        clips = (
            clips_of_table(Path(root), annotations, clip_columns)
            if annotations and clip_columns
            else find_clips(Path(root), strip)
        )
        chosen = [
            clip
            for clip in clips
            if (not include or _matches(clip.name, include)) and not _matches(clip.name, exclude)
        ]
        if not chosen:
            raise ValueError(
                f"datasets/frames: include={include}, exclude={exclude} match none of "
                f"the clips {', '.join(clip.name for clip in clips[:5])} of '{root}'."
            )
        self._read(chosen, limit=cache_mb * 2**20 // (3 * image_size**2))
        if not self._clips:
            raise ValueError(
                f"datasets/frames: '{chosen[0].paths[0]}' has 1 frame; a pair needs "
                "two. Use pair='same', videos, or folders of frames."
            )

        if crop is not None:
            check_crop(crop, self._clips[0].size(0), "datasets/frames: crop")
        self.keypoint_names: tuple[str, ...] = ()
        self.edges: tuple[tuple[int, ...], ...] = ()
        self._rows: dict[int, int] = {}  # row of the annotations, by frame
        if annotations:
            read = read_coco if annotations.lower().endswith(".json") else read_csv
            self._labels = read(annotations)
            left_out = include or exclude or self.skipped_clips
            self._rows = self._match(Path(root), annotations, everything=not left_out)
            self.keypoint_names, self.edges = self._labels.names, self._labels.edges
        if edges:
            self.edges = tuple(keypoint_indices(self.keypoint_names, edge) for edge in edges)
        self.flip_pairs = tuple(keypoint_indices(self.keypoint_names, two) for two in flip_pairs)
        self._items = sorted(self._rows) if labelled_only else range(int(self._ends[-1]))
        if half:
            self._items = [frame for frame in self._items if self._in_half(frame)]

    def _read(self, clips: list[Clip], limit: int) -> None:
        """Count the frames, and keep those that had to be decoded for it if all fit."""
        self._clips: list[Clip] = []
        self.skipped_clips: list[str] = []
        self._cache: list[Array | None] | None = []  # one entry per frame; None: too many frames
        lengths = []
        for clip in clips:
            length = 0
            fitted: list[Array | None] = []
            frames: Iterable[Array | None] = [None] * len(clip.paths)
            if clip.one_file:
                stated = clip.reader.stated_length if clip.reader else None
                frames = counted(clip.frames(), stated, f"reading {clip.paths[0].name}")
            for frame in frames:
                length += 1
                if self._cache is None or len(self._cache) + length > limit:
                    self._cache = None
                else:
                    fitted.append(None if frame is None else self._fitted(frame))
            if self.pair == "clip" and length == 1:
                self.skipped_clips.append(clip.name)
                continue
            self._clips.append(clip)
            lengths.append(length)
            if self._cache is not None:
                self._cache += fitted
        self._ends = np.cumsum(lengths)

    def _match(self, root: Path, annotations: str, everything: bool) -> dict[int, int]:
        """Find the annotation row of each frame: one of the two paths ends in the other."""
        root = root if root.is_dir() else root.parent
        paths = [
            clip.path(t)
            for clip, end, start in zip(self._clips, self._ends, [0, *self._ends])
            for t in range(end - start)
        ]
        full = ["/" + _bare(path.absolute().as_posix()) for path in paths]
        short = ["/" + _bare(path.relative_to(root).as_posix()) for path in paths]
        files = ["/" + _bare(file) for file in self._labels.files]
        frames_of = defaultdict(list)
        for frame, path in enumerate(paths):
            frames_of[_bare(path.name)].append(frame)
        near = [
            (frame, row)
            for row, file in enumerate(files)
            for frame in frames_of[file.rpartition("/")[2]]
        ]
        matches = [(frame, row) for frame, row in near if full[frame].endswith(files[row])] or [
            (frame, row) for frame, row in near if files[row].endswith(short[frame])
        ]
        if not matches:
            raise ValueError(
                f"datasets/frames: '{annotations}' names no frame of '{root}': it has "
                f"'{files[0][1:]}', the data set '{short[0][1:]}'."
            )
        found = {row for _, row in matches}
        if len(found) < len(files) and everything:
            lost = next(row for row in range(len(files)) if row not in found)
            warnings.warn(
                f"datasets/frames: {len(files) - len(found)} of the {len(files)} rows of "
                f"'{annotations}' name no frame of '{root}', such as '{files[lost][1:]}'.",
                stacklevel=4,
            )
        for names, side in ((short, 0), (files, 1)):
            most, times = Counter(match[side] for match in matches).most_common(1)[0]
            if times > 1:
                raise ValueError(
                    f"datasets/frames: '{names[most][1:]}' matches {times} times between "
                    f"'{annotations}' and '{root}'. Keep one row per frame, with "
                    "its folder if names repeat."
                )
        return dict(matches)

    def __len__(self) -> int:
        return len(self._items)

    def _locate(self, frame: int) -> tuple[Clip, int, int]:
        """Return the clip of a frame, the frame's position in it, and the clip's length."""
        k = int(np.searchsorted(self._ends, frame, side="right"))
        start = int(self._ends[k - 1]) if k else 0
        return self._clips[k], frame - start, int(self._ends[k]) - start

    def _fitted(self, image: Array) -> Array:
        check_crop(self._crop, (image.shape[1], image.shape[0]), "datasets/frames: crop")
        return fit_image(image, self.image_size, self._fit, self._crop)[0]

    def clip_ranges(self) -> list[tuple[str, range]]:
        """Return the name of each clip and the numbers of its frames, for `image`."""
        found = []
        for clip, end, start in zip(self._clips, self._ends, [0, *self._ends]):
            first, last = self._span(int(end - start))
            found.append((clip.name, range(int(start) + first, int(start) + last)))
        return found

    def image(self, index: int) -> Array:
        """Return one frame (image_size, image_size, 3), uint8 RGB."""
        if self._cache and (kept := self._cache[index]) is not None:
            return kept.copy()
        clip, t, _ = self._locate(index)
        if clip.reader:
            self._recent = [r for r in self._recent if r is not clip.reader] + [clip.reader]
            if len(self._recent) > OPEN_VIDEOS:
                self._recent.pop(0).close()
        image = self._fitted(clip.read(t))
        if self._cache:
            self._cache[index] = image.copy()
        return image

    def size(self, index: int) -> Array:
        """Return width and height (2,) float32, in original pixels, of what `image` shows."""
        if index not in self._sizes:
            clip, t, _ = self._locate(index)
            self._sizes[index] = clip.size(t)
        return fit_size(self._sizes[index], self._fit, self._crop)

    def _labelled(self, frame: int) -> tuple[Array, Array]:
        """Return the keypoints of a frame (J, 2) and which of them are annotated (J,)."""
        if frame not in self._rows:
            j = len(self.keypoint_names)
            return np.full((j, 2), np.nan, np.float32), np.zeros(j, bool)
        clip, t, _ = self._locate(frame)
        row = self._rows[frame]
        there = self._labels.visible[row] > MISSING
        xy = to_contract(self._labels.xy[row], fit_affine(clip.size(t), self._fit, self._crop))
        return np.where(there[:, None], xy, np.float32(np.nan)), there

    def keypoints(self, index: int) -> Array | None:
        """Return the target's keypoints (J, 2), without decoding it; None if one is missing."""
        xy, there = self._labelled(self._items[index])
        return xy if there.size and there.all() else None

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Return one pair; `rng` draws the source.

        Shapes: target, source (image_size, image_size, 3) uint8 RGB; size (2,) float32, width and
            height in original pixels; name "<clip>/<frame>"; with annotations also keypoints (J, 2)
            float32, NaN where missing, and visible (J,) float32, 1 where a point is annotated,
            occluded or not, and inside the image.
        """
        frame = self._items[index]
        clip, t, length = self._locate(frame)
        source = frame - t + self._partner(t, length, rng) if self.pair == "clip" else frame
        sample = {
            "target": self.image(frame),
            "source": self.image(source),
            "size": self.size(frame),
            "name": f"{clip.name}/{_bare(clip.path(t).name)}",
        }
        if self.keypoint_names:
            xy, there = self._labelled(frame)
            inside = (np.abs(xy) <= 1).all(-1)
            sample |= {"keypoints": xy, "visible": (there & inside).astype(np.float32)}
        return sample

    def _span(self, length: int) -> tuple[int, int]:
        """Return the frames [start, end) of a clip that are used."""
        middle = (length + 1) // 2
        return {None: (0, length), "first": (0, middle), "second": (middle, length)}[self._half]

    def _in_half(self, frame: int) -> bool:
        _, t, length = self._locate(frame)
        start, end = self._span(length)
        return start <= t < end

    def _partner(self, t: int, length: int, rng: np.random.Generator) -> int:
        low, high = self.pair_range
        start, end = self._span(length)
        near = np.arange(max(t - high, start), min(t + high + 1, end))
        near = near[np.abs(near - t) >= low]
        if not near.size:
            return start if 2 * t >= start + end else end - 1
        return int(near[rng.integers(near.size)])


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _bare(path: str) -> str:
    """Drop the suffixes of images and videos: 'a/b.mp4/000012' is 'a/b/000012'."""
    return re.sub(rf"({SUFFIXES})(?=/|$)", "", path.replace("\\", "/"), flags=re.IGNORECASE)
