"""Videos in FOMM's layout: files, film strips or folders of frames in train/ and test/."""

from __future__ import annotations

import csv
import math
import os
from collections import defaultdict
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from components.data.clips import Clip
from components.data.fit import fit_image, fit_size
from components.data.video import VideoReader, is_image, is_video, natural
from components.data.video import image_size as size_of
from registry.roles import DATASETS

Array = NDArray[Any]

OPEN_VIDEOS = 8  # file handles kept


@DATASETS.register_module("datasets/video_folder")
class VideoFolder:
    """Pairs of frames of one video, or of two for animation.

    A video is a file (mp4, gif, mov ...), a film strip (png, jpg ...: square frames side by side)
    or a folder of frames, whose name may also end in .mp4. Frames are stretched to a square.
    Videos are read lazily: a file is decoded once, at first use, to find its frames. If all frames
    are items (pair="first", pairs), and for `clip_ranges`, all videos are read.

    Args:
        root: folder with train/ and test/, or with the videos themselves: then a random fifth of
            the identities is the test set.
        image_size: side of the square images.
        split: "train" or "test".
        pair: "random" has one item per video: source and target are two frames drawn with
            replacement, the source is the earlier; "first" has one item per frame of every video;
            its source is the video's first frame (reconstruction).
        id_sampling: one item per identity, the name up to the first "#"; one of its videos is
            drawn.
        pairs: CSV with columns source and driving, names of videos in this split: each frame of the
            driving video is an item, with the first frame of the source video as source
            (animation).

    Attributes:
        random_target: the target depends on the generator, not only on the index.
        skipped_pairs: rows of `pairs` with a video that is not in this split.

    Raises:
        FileNotFoundError: the root does not exist or contains no video.
        OSError: a file is empty or cannot be decoded; the message names it.
        ValueError: an unknown split or pair, options that exclude each other, an empty part of a
            random split, a strip that is not a row of squares, or no usable row in `pairs`.

    Source: fomm sec 4; monkeynet sec 4
    Differs: an identity is the whole name up to "#" (the official pattern for id1 also matches
        id10); videos are sorted, and a random split keeps the videos of an identity together;
        frames of any size are resized, averaged when shrinking, interpolated when enlarging
    """

    keypoint_names = edges = flip_pairs = ()

    def __init__(
        self,
        *,
        root: str,
        image_size: int,
        split: Literal["train", "test"] = "train",
        pair: Literal["random", "first"] = "random",
        id_sampling: bool = False,
        pairs: str | None = None,
    ) -> None:
        if split not in ("train", "test"):
            raise ValueError(f"datasets/video_folder: split={split!r} must be train or test.")
        if pair not in ("random", "first"):
            raise ValueError(f"datasets/video_folder: pair={pair!r} must be 'random' or 'first'.")
        if id_sampling and (pairs or pair == "first"):
            raise ValueError(
                "datasets/video_folder: id_sampling draws one video, but pair='first' and pairs "
                "use all of them. Set only one of these."
            )
        self.image_size = image_size
        self.videos = _videos(Path(root), split)
        self.names = [path.name for path in self.videos]
        self.random_target = pair == "random" and not pairs
        self.skipped_pairs: list[tuple[str, str]] = []
        self._groups = [[video] for video in range(len(self.videos))]
        if id_sampling:
            self._groups = list(_identities(self.names).values())
        self._files: dict[int, Clip] = {}
        self._lengths: dict[int, int] = {}
        self._recent: list[VideoReader] = []
        self._first: tuple[int, Array] | None = None  # video and its frame 0
        self._strip: tuple[int, list[Array]] | None = None  # video and its frames
        self._pairs = self._read_pairs(pairs) if pairs else []
        if not self.random_target:
            # (source, driving) of the items, and the index at which the next pair's begin
            self._pairs = self._pairs or [(v, v) for v in range(len(self.videos))]
            self._ends = np.cumsum([self._length(driving) for _, driving in self._pairs])

    def _read_pairs(self, table: str) -> list[tuple[int, int]]:
        if not Path(table).is_file():
            raise FileNotFoundError(
                f"datasets/video_folder: no file '{table}'. Set pairs= to a CSV with columns "
                "source and driving."
            )
        at = {name: video for video, name in enumerate(self.names)}
        with open(table, newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if missing := {"source", "driving"} - set(rows.fieldnames or ()):
                raise ValueError(
                    f"datasets/video_folder: '{table}' has no column "
                    f"{' and no column '.join(sorted(missing))}. Name the videos of each pair."
                )
            found = [(row["source"], row["driving"]) for row in rows]
        kept = [two for two in found if at.keys() >= {*two}]
        self.skipped_pairs = [two for two in found if two not in kept]
        if not kept:
            raise ValueError(
                f"datasets/video_folder: no row of '{table}' names two videos of "
                f"'{self.videos[0].parent}', such as '{self.names[0]}'. Use the names of files or "
                "folders, with suffix."
            )
        return [(at[source], at[driving]) for source, driving in kept]

    def __len__(self) -> int:
        return len(self._groups) if self.random_target else int(self._ends[-1])

    def _clip(self, video: int) -> Clip:
        path = self.videos[video]
        if path.is_dir():  # listed each time: the paths of thousands of videos would fill memory
            # bare names: sorting whole paths takes longer than decoding a frame
            names = sorted((n for n in os.listdir(path) if is_image(Path(n))), key=natural)
            if not names:
                raise FileNotFoundError(
                    f"datasets/video_folder: no image in folder '{path}'. Put the frames of one "
                    "video there, or remove it."
                )
            return Clip(path.name, [path / name for name in names])
        if video not in self._files:
            self._files[video] = Clip(path.name, [path], strip=is_image(path))
        return self._files[video]

    def _length(self, video: int) -> int:
        """Count the frames of a video, at first use only."""
        if video not in self._lengths:
            clip = self._clip(video)
            if clip.strip:
                width, height = size_of(clip.paths[0])
                if width % height:
                    raise ValueError(
                        f"datasets/video_folder: '{clip.paths[0]}' ({width} x {height} pixels) is "
                        "not a row of square frames. Put ordinary images into a folder per video."
                    )
                self._lengths[video] = width // height
            else:
                self._lengths[video] = len(clip.reader) if clip.reader else len(clip.paths)
        return self._lengths[video]

    def _frame(self, video: int, t: int) -> Array:
        return fit_image(self._original(video, t), self.image_size)[0]

    def _original(self, video: int, t: int) -> Array:
        clip = self._clip(video)
        if clip.strip:  # the last one is kept: reading one frame costs as much as all
            if self._strip is None or self._strip[0] != video:
                self._strip = video, list(clip.frames())
            return self._strip[1][t]
        if clip.reader:
            self._recent = [r for r in self._recent if r is not clip.reader] + [clip.reader]
            if len(self._recent) > OPEN_VIDEOS:
                self._recent.pop(0).close()
        return clip.read(t)

    def _first_frame(self, video: int) -> Array:
        """Return frame 0; the last one is kept, so that a video is read from start to end."""
        if self._first is None or self._first[0] != video:
            self._first = video, self._frame(video, 0)
        return self._first[1].copy()

    @cached_property
    def _video_ends(self) -> Array:
        ends: Array = np.cumsum([self._length(video) for video in range(len(self.videos))])
        return ends

    def clip_ranges(self) -> list[tuple[str, range]]:
        """Return the name of each video and the numbers of its frames, for `image`."""
        ends = self._video_ends.tolist()
        return [(n, range(a, b)) for n, a, b in zip(self.names, [0, *ends], ends)]

    def image(self, index: int) -> Array:
        """Return one frame (image_size, image_size, 3), uint8 RGB."""
        return self._frame(*_place(self._video_ends, index))

    def size(self, index: int) -> Array:
        """Return width and height (2,) float32 of a frame in original pixels."""
        return _size(self._original(*_place(self._video_ends, index)))

    def keypoints(self, index: int) -> None:
        """Return None: the videos are not annotated."""

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Return one pair; `rng` draws video and frames unless all frames are items.

        Shapes: target, source (image_size, image_size, 3) uint8 RGB; size (2,) float32, width
            and height of the frame in pixels; name "<video>/<frame number>", or
            "<driving video>-<source video>/<frame number>" of `pairs`.
        """
        if self.random_target:
            group = self._groups[index]
            video = group[rng.integers(len(group))]
            first, second = np.sort(rng.integers(self._length(video), size=2)).tolist()
            source, name = self._frame(video, first), self.names[video]
        else:
            k, second = _place(self._ends, index)
            start, video = self._pairs[k]
            source, name = self._first_frame(start), self.names[video]
            if start != video:
                name = f"{name}-{self.names[start]}"
        image = self._original(video, second)
        return {
            "target": fit_image(image, self.image_size)[0],
            "source": source,
            "size": _size(image),
            "name": f"{name}/{second:06d}",
        }


def _size(image: Array) -> Array:
    height, width = image.shape[:2]
    return fit_size((width, height))


def _videos(root: Path, split: str) -> list[Path]:
    """Return the videos of a split, sorted."""
    if not root.is_dir():
        raise FileNotFoundError(
            f"datasets/video_folder: no folder '{root}'. Set root= to a folder with train/ and "
            "test/, or with videos."
        )
    halves = any((root / name).is_dir() for name in ("train", "test"))
    folder = root / split if halves else root
    if not folder.is_dir():
        raise FileNotFoundError(
            f"datasets/video_folder: no folder '{folder}', only the other split's. Put videos "
            "there, or put all videos directly into root= for a random split."
        )
    found = [
        path
        for path in sorted(folder.iterdir(), key=natural)
        if not path.name.startswith(".") and (path.is_dir() or is_video(path) or is_image(path))
    ]
    if not found:
        raise FileNotFoundError(
            f"datasets/video_folder: no video in '{folder}'. Put mp4, gif or mov files, rows of "
            "frames (png, jpg) or folders of frames there."
        )
    if halves:
        return found
    groups = list(_identities([path.name for path in found]).values())
    order = np.random.default_rng(0).permutation(len(groups))
    tested = order[: math.ceil(len(groups) / 5)]
    chosen = tested if split == "test" else np.setdiff1d(order, tested)
    if not chosen.size:
        raise ValueError(
            f"datasets/video_folder: a random fifth of the {len(groups)} video(s) in '{folder}' is "
            "for testing, which leaves one split empty. Add videos, or make train/ and test/."
        )
    return [found[video] for k in sorted(chosen.tolist()) for video in groups[k]]


def _place(ends: Array, number: int) -> tuple[int, int]:
    """Return the range that contains a number, and the number's offset in it."""
    if not 0 <= number < ends[-1]:
        raise IndexError(f"datasets/video_folder: no frame {number}; the data set has {ends[-1]}.")
    k = int(np.searchsorted(ends, number, side="right"))
    return k, number - (int(ends[k - 1]) if k else 0)


def _identities(names: list[str]) -> dict[str, list[int]]:
    """Return the positions of the videos of each identity, the name up to the first '#'."""
    groups = defaultdict(list)
    for position, name in enumerate(names):
        groups[name.partition("#")[0]].append(position)
    return groups
