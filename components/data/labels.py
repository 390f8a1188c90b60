"""Read annotation files of specific data sets: Penn Action `.mat` and 300-W `.pts`."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from components.data.annotations import (
    MISSING,
    OCCLUDED,
    VISIBLE,
    Annotations,
    make_annotations,
    read_text,
)
from components.data.video import natural

PENN_ACTION = (
    "head",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)


def read_penn_action(
    path: str | os.PathLike[str],
    *,
    actions: tuple[str, ...] = (),
    views: tuple[str, ...] = (),
    stride: int = 1,
) -> Annotations:
    """Read Penn Action labels, one `NNNN.mat` or a folder of them; pixels become 0-based.

    A joint marked invisible counts as missing if it lies in the top left corner, where the data set
    leaves joints that were not placed, and as occluded otherwise.

    Args:
        path: label file or folder.
        actions: keep these actions only, such as "jumping_jacks"; all if empty.
        views: keep videos seen from "front", "back", "left" or "right" only; all if empty.
        stride: keep every ``stride``-th frame of each video.

    Raises:
        FileNotFoundError: the file does not exist, or the folder has no label files.
        ValueError: a file is not a Penn Action label file, or no video passes the filters.
    """
    from scipy.io import loadmat  # slow to import
    from scipy.io.matlab import MatReadError

    files, xy, visible, sizes = [], [], [], []
    for label in _label_files(path, ".mat"):
        try:
            mat = loadmat(label)
            # some files store small unsigned integers, which would overflow below
            points = np.stack([mat["x"], mat["y"]], -1).astype(np.float64)
            seen = mat["visibility"].astype(bool)
            action, view = str(mat["action"][0]), str(mat["pose"][0])
            height, width = mat["dimensions"].astype(int).ravel()[:2]
        except (KeyError, ValueError, IndexError, NotImplementedError, MatReadError) as error:
            raise ValueError(f"'{label}' is not a Penn Action label file ({error}).") from error
        if (actions and action not in actions) or (views and view not in views):
            continue
        placed = (points > 1).any(-1)
        flags = np.where(seen, VISIBLE, np.where(placed, OCCLUDED, MISSING))
        frames = range(0, len(points), stride)
        files += [f"{label.stem}/{t + 1:06d}.jpg" for t in frames]
        sizes += [(width, height)] * len(frames)
        xy.append(points[::stride] - 1)
        visible.append(flags[::stride])
    if not files:
        raise ValueError(f"no video at '{path}' has actions={actions} and views={views}.")
    return make_annotations(PENN_ACTION, files, np.concatenate(xy), np.concatenate(visible), sizes)


def read_pts(path: str | os.PathLike[str]) -> Annotations:
    """Read `.pts` files, one or all below a folder; pixels become 0-based.

    Raises:
        FileNotFoundError: the file does not exist, or the folder has no `.pts` files.
        ValueError: a file is empty, not a `.pts` file, or differs from the rest in number of
            points.
    """
    files = _label_files(path, ".pts")
    root = Path(path) if Path(path).is_dir() else Path(path).parent
    xy = []
    for file in files:
        found = re.search(r"n_points:\s*(\d+)\s*\{([^}]*)\}", read_text(file))
        if not found or len(found[2].split()) != 2 * int(found[1]):
            raise ValueError(
                f"'{file}' is not a .pts file ('n_points: N', then N lines 'x y' in braces)."
            )
        xy.append(np.array(found[2].split(), np.float64).reshape(-1, 2) - 1)
        if len(xy[-1]) != len(xy[0]):
            raise ValueError(
                f"'{file}' has {len(xy[-1])} points, but '{files[0]}' has {len(xy[0])}."
            )
    names = [str(j) for j in range(len(xy[0]))]
    visible = np.full((len(xy), len(names)), VISIBLE)
    return make_annotations(names, (f.relative_to(root).as_posix() for f in files), xy, visible)


def _label_files(path: str | os.PathLike[str], suffix: str) -> list[Path]:
    path = Path(path)
    files = sorted(path.rglob(f"*{suffix}"), key=natural) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise FileNotFoundError(f"no {suffix} file at '{path}'. Pass a file or a folder of them.")
    return files
