"""Find clips on disk in any supported layout, and read their frames one by one."""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.data import video
from components.data.annotations import native_name

Array = NDArray[Any]


@dataclass(eq=False)
class Clip:
    """Where the frames of one clip are: image files, one strip, or one video.

    Args:
        name: path of the clip below the root, without suffix.
        paths: one image per frame, or the one file.
        strip: the file is one image that holds all frames side by side, each square.
    """

    name: str
    paths: list[Path]
    strip: bool = False

    def __post_init__(self) -> None:
        self.reader = None
        if not self.strip and video.is_video(self.paths[0]):
            self.reader = video.VideoReader(self.paths[0])
        self._size: tuple[int, int] | None = None

    @property
    def one_file(self) -> bool:
        """Whether the number of frames is known only after reading the file."""
        return self.strip or self.reader is not None

    def frames(self) -> Iterator[Array]:
        """Yield all frames in order, (H, W, 3) uint8 RGB.

        Raises:
            OSError: a file is empty or cannot be decoded.
            ValueError: a strip is not a row of square frames.
        """
        if self.reader:
            yield from self.reader
        elif self.strip:
            image = video.read_image(self.paths[0])
            height, width = image.shape[:2]
            if width % height:
                raise ValueError(
                    f"'{self.paths[0]}' ({width} x {height} pixels) is not a row of "
                    "square frames. Use strip=False for ordinary images."
                )
            yield from np.split(image, width // height, axis=1)
        else:
            yield from map(video.read_image, self.paths)

    def read(self, t: int) -> Array:
        """Return frame `t`, (H, W, 3) uint8 RGB."""
        if self.reader:
            return self.reader.read(t)
        if self.strip:
            image = video.read_image(self.paths[0])
            return image[:, t * len(image) : (t + 1) * len(image)]
        return video.read_image(self.paths[t])

    def size(self, t: int) -> tuple[int, int]:
        """Return (width, height) of frame `t`, decoding at most one frame per clip."""
        if not self.one_file:
            return video.image_size(self.paths[t])
        if self._size is None:
            height, width = next(self.frames()).shape[:2]
            self._size = width, height
        return self._size

    def path(self, t: int) -> Path:
        """Return a path that identifies frame `t`: its image file, or `file/000012` in one file."""
        return self.paths[0].with_suffix("") / f"{t:06d}" if self.one_file else self.paths[t]


def find_clips(root: Path, strip: bool = False) -> list[Clip]:
    """Return the clips at `root` in natural order.

    A file is one clip. Within a folder, every folder that holds images (including the root) and
    every video is a clip; with `strip`, every image is one. Hidden files and folders are skipped.

    Raises:
        FileNotFoundError: no image or video was found.
    """
    if root.is_file():
        return [Clip(root.stem, [root], strip)]
    clips = []
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [Path(folder, file) for file in files]
        images = sorted(filter(video.is_image, paths), key=video.natural)
        if images and not strip:
            name = Path(folder).relative_to(root).as_posix()
            clips.append(Clip(root.resolve().name if name == "." else name, images))
        for path in images if strip else filter(video.is_video, paths):
            clips.append(Clip(path.relative_to(root).with_suffix("").as_posix(), [path], strip))
    if not clips:
        raise FileNotFoundError(
            f"no image or video in folder '{root}' or below. Set root= to a "
            "folder of images, a folder of clips, or a video file."
        )
    return sorted(clips, key=lambda clip: video.natural(clip.name))


def clips_of_table(root: Path, table: str, columns: tuple[str, ...]) -> list[Clip]:
    """Group the images in the column `file` of a CSV into clips named by the other `columns`.

    Raises:
        ValueError: the table lacks a column.
    """
    groups = defaultdict(list)
    with open(table, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        rows = csv.DictReader(file, restval="")
        if missing := {"file", *columns} - set(rows.fieldnames or ()):
            raise ValueError(f"'{table}' has no column {', '.join(sorted(missing))}.")
        for row in rows:
            name = "/".join(row[column] for column in columns)
            groups[name].append(root / native_name(row["file"]))
    names = sorted(groups, key=video.natural)
    return [Clip(name, sorted(groups[name], key=video.natural)) for name in names]
