"""Keypoint annotations in memory; reading and writing them as COCO JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.data.video import IMAGE_SUFFIXES
from registry.atomic import replacing

Array = NDArray[Any]
PathLike = str | os.PathLike[str]
Table = dict[str, tuple[str, ...]]  # column name -> its cells

MISSING, OCCLUDED, VISIBLE = 0, 1, 2  # COCO's flags


@dataclass(frozen=True, eq=False)
class Annotations:
    """Keypoints of N objects, one object per row.

    Shapes: xy (N, J, 2) float32, original pixels with centres at integers, 0 where missing;
        visible (N, J) uint8, COCO's flags: 0 missing, 1 placed but occluded, 2 visible;
        sizes (N, 2) int, width and height of the image, 0 where unknown;
        scores (N, J) float32, confidence of a model in its points, in (0, 1]; None for annotations.

    Args:
        names: names of the J keypoints.
        edges: pairs of keypoint indices that form limbs.
        files: the image of each row, or `video/000012` for frame 12 of a video.
    """

    names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    files: tuple[str, ...]
    xy: Array
    visible: Array
    sizes: Array
    scores: Array | None = None

    def __post_init__(self) -> None:
        n, j = len(self.files), len(self.names)
        shapes = {"xy": (n, j, 2), "visible": (n, j), "sizes": (n, 2)}
        if self.scores is not None:
            shapes["scores"] = (n, j)
        for field, shape in shapes.items():
            if (has := getattr(self, field).shape) != shape:
                raise ValueError(f"Annotations.{field} has shape {has}; it must be {shape}.")


def make_annotations(
    names: Iterable[str],
    files: Iterable[str],
    xy: Any,
    visible: Any,
    sizes: Any = None,
    edges: Iterable[tuple[int, int]] = (),
    scores: Any = None,
) -> Annotations:
    """Build `Annotations` from raw numbers: non-finite points become missing."""
    files, xy = tuple(files), np.asarray(xy, np.float32)
    there = np.isfinite(xy).all(-1) & (np.asarray(visible) > MISSING)
    return Annotations(
        names=tuple(names),
        edges=tuple(edges),
        files=files,
        xy=np.where(there[..., None], xy, np.float32(0)),
        visible=np.where(there, visible, MISSING).astype(np.uint8),
        sizes=np.zeros((len(files), 2), int) if sizes is None else np.asarray(sizes, int),
        scores=None if scores is None else np.asarray(scores, np.float32),
    )


def _portable(name: str) -> str:
    """Return a file's name as it stands in UTF-8 files: other locales decode names differently."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def native_name(name: str) -> str:
    """Return a file's name as Python shows it here, from the text of a UTF-8 file."""
    return os.fsdecode(name.encode("utf-8", "surrogateescape"))


def keypoint_indices(names: tuple[str, ...], wanted: Iterable[str | int]) -> tuple[int, ...]:
    """Return the positions of keypoints given by name or by position.

    Raises:
        ValueError: a keypoint does not exist.
    """
    wanted = tuple(wanted)
    for one in wanted:
        if one not in (names if isinstance(one, str) else range(len(names))):
            raise ValueError(f"no keypoint {one!r} among these {len(names)}: {', '.join(names)}.")
    return tuple(names.index(one) if isinstance(one, str) else one for one in wanted)


def read_text(path: PathLike) -> str:
    """Return the text of an annotation file.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is empty.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no annotation file '{path}'. Check the path.")
    # names of files need not be UTF-8
    text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    if not text.strip():
        raise ValueError(f"annotation file '{path}' is empty. Copy or download it again.")
    return text


def read_coco(path: PathLike) -> Annotations:
    """Read COCO keypoints; objects without keypoints are left out.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is empty or not a COCO keypoint file.
    """
    try:
        data = json.loads(read_text(path))
        for row in data["annotations"]:
            numbers = row.get("keypoints", ())
            if len(numbers) % 3 or not all(type(number) in (int, float) for number in numbers):
                raise ValueError("'keypoints' must have three numbers for each point")
        images = {image["id"]: image for image in data["images"]}
        rows = [row for row in data["annotations"] if any(row.get("keypoints", ())[2::3])]
        images_of_rows = [images[row["image_id"]] for row in rows]
        files = [native_name(image["file_name"]) for image in images_of_rows]
        category = data["categories"][0]
        names, limbs = category.get("keypoints") or (), category.get("skeleton") or ()
        if len(set(names)) < len(names) or not all(isinstance(name, str) for name in names):
            raise ValueError("the names of the keypoints must be different texts")
        sizes = [(int(i.get("width", 0)), int(i.get("height", 0))) for i in images_of_rows]
        lengths = {len(row["keypoints"]) for row in rows}
        points = np.array([row["keypoints"] for row in rows if len(lengths) == 1], np.float64)
        if (np.abs(points) > np.finfo(np.float32).max).any():
            raise ValueError("a number is infinite")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"'{path}' is not a COCO keypoint file ({type(error).__name__}: {error}). It needs "
            "'images', 'annotations' with 'keypoints', and 'categories'."
        ) from error
    if not rows:
        raise ValueError(f"no object in '{path}' has keypoints. Is it a detection file?")
    if len(lengths) > 1:
        raise ValueError(
            f"objects in '{path}' have different numbers of keypoints. Split the file."
        )
    points = points.reshape(len(rows), -1, 3)
    count = points.shape[1]
    if not all(len(limb) == 2 and 1 <= min(limb) <= max(limb) <= count for limb in limbs):
        raise ValueError(
            f"'{path}': each limb of 'skeleton' must name two points, from 1 to {count}."
        )
    return make_annotations(
        names or map(str, range(count)),
        files,
        points[..., :2],
        points[..., 2],
        sizes=sizes,
        edges=[(a - 1, b - 1) for a, b in limbs],
    )


def write_coco(path: PathLike, annotations: Annotations) -> None:
    """Write COCO keypoints atomically: one image per file name, one object per row.

    Scores go to ``keypoint_scores``, one per point, and their mean to ``score``, as in COCO
    results.
    """
    images: dict[str, dict[str, Any]] = {}
    objects = []
    for row, file in enumerate(annotations.files):
        width, height = annotations.sizes[row].tolist()
        image = {"id": len(images) + 1, "file_name": _portable(file)}
        image |= {"width": width, "height": height}
        xy, flags = annotations.xy[row], annotations.visible[row].tolist()
        placed = xy[np.array(flags) > MISSING] if any(flags) else np.zeros((1, 2))
        box = [*placed.min(0).tolist(), *np.ptp(placed, axis=0).tolist()]
        told: dict[str, Any] = {}
        if annotations.scores is not None:
            told["keypoint_scores"] = [_short(s) for s in annotations.scores[row]]
            told["score"] = _short(annotations.scores[row].mean())
        objects.append(
            {
                "id": row + 1,
                "image_id": images.setdefault(file, image)["id"],
                "category_id": 1,
                "iscrowd": 0,
                "bbox": box,
                "area": box[2] * box[3],
                "keypoints": [n for (x, y), v in zip(xy, flags) for n in (_short(x), _short(y), v)],
                "num_keypoints": sum(flag > MISSING for flag in flags),
                **told,
            }
        )
    category = {
        "id": 1,
        "name": "object",
        "keypoints": list(annotations.names),
        "skeleton": [[a + 1, b + 1] for a, b in annotations.edges],
    }
    data = {"images": list(images.values()), "annotations": objects, "categories": [category]}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(data), encoding="utf-8")


def _short(value: np.float32) -> float:
    return float(str(value))  # the shortest decimal that reads back as the same float32


def read_csv(path: PathLike) -> Annotations:
    """Read keypoints from a wide, long or DeepLabCut table.

    A wide table has a row per image and columns `NAME_x, NAME_y[, NAME_score]` or `x0, y0, x1,
    y1 ...`; a long one a row per point and columns keypoint, x, y[, confidence]; DeepLabCut's
    starts with the rows scorer, bodyparts, coords. Images are identified by file, by video (or
    file) and frame, by frame, or by id. Empty cells, NaN and scores of 0 mean missing; other
    columns are ignored.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is empty, or its columns fit none of these layouts.
    """
    try:
        rows = [row for row in csv.reader(io.StringIO(read_text(path), newline="")) if any(row)]
    except csv.Error as error:  # endless cells
        raise ValueError(f"'{path}' is not a CSV file: {error}.") from error
    if not rows:
        raise ValueError(f"'{path}' has only empty cells.")
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise ValueError(
                f"row {number} of '{path}' has {len(row)} cells instead of {len(rows[0])}."
            )
    try:
        head, *body = _one_header(rows) if rows[0][0] == "scorer" else rows
        if not body:
            raise ValueError("no rows below the header")
        titles = [title.strip() for title in head]
        if twice := [title for title, times in Counter(titles).items() if title and times > 1]:
            raise ValueError(f"column '{twice[0]}' occurs twice")
        table = dict(zip(titles, zip(*body)))
        found = _long(table) if {"keypoint", "x", "y"} <= table.keys() else _wide(table)
        if not found.visible.any():
            raise ValueError("no row has the coordinates of a point")
        return found
    except ValueError as error:
        raise ValueError(
            f"'{path}': {error}. Its first row is {','.join(rows[0])[:60]}... Wide tables need "
            "NAME_x, NAME_y, long tables keypoint, x, y, both file, video + frame, frame or id."
        ) from error


def _one_header(rows: list[list[str]]) -> list[list[str]]:
    """Turn DeepLabCut's three header rows into the one of a wide table."""
    # newer versions spread the file name over several columns; only the first has a name
    first = next((j for j in range(1, len(rows[0])) if rows[0][j]), 0)
    if len(rows) < 3 or not first or (rows[1][0], rows[2][0]) != ("bodyparts", "coords"):
        raise ValueError("the row 'scorer' must be followed by the rows 'bodyparts' and 'coords'")
    head = [
        f"{name}_{'score' if end == 'likelihood' else end}"
        for name, end in zip(rows[1][first:], rows[2][first:])
    ]
    body = [["/".join(row[:first]), *row[first:]] for row in rows[3:]]
    is_video = all(row[0].isdecimal() for row in body)
    return [["frame" if is_video else "file", *head], *body]


def _names_of_rows(table: Table) -> list[str]:
    file, frame = table.get("file"), table.get("frame")
    if frame and not (file and all(Path(f).suffix.lower() in IMAGE_SUFFIXES for f in file)):
        numbers = [f"{int(number):06d}" for number in _numbers(frame)]
        video = table.get("video") or file
        return [f"{native_name(v)}/{n}" for v, n in zip(video, numbers)] if video else numbers
    if not (names := file or table.get("id")):
        raise ValueError("no column identifies the image")
    return [native_name(name.replace("\\", "/")) for name in names]


def _numbers(cells: Iterable[str]) -> Array:
    numbers = np.array([float(cell) if cell.strip() else np.nan for cell in cells])
    if (np.abs(numbers) > np.finfo(np.float32).max).any():
        raise ValueError("a number is infinite; leave missing points empty")
    return numbers


def _sizes_of_rows(table: Table) -> Array | None:
    if {"width", "height"} <= table.keys():
        return np.nan_to_num([_numbers(table["width"]), _numbers(table["height"])]).T
    return None


def _wide(table: Table) -> Annotations:
    numbered = "x0" in table
    column, pattern = ("{axis}{name}", r"x(\d+)") if numbered else ("{name}_{axis}", "(.+)_x")
    names = [match[1] for title in table if (match := re.fullmatch(pattern, title))]
    if not names:
        raise ValueError("no column NAME_x")
    for name in names:
        if column.format(name=name, axis="y") not in table:
            raise ValueError(f"keypoint '{name}' has a column for x but not for y")
    xy = [[_numbers(table[column.format(name=n, axis=axis)]) for axis in "xy"] for n in names]
    scores = [_numbers(table.get(f"{n}_score", ("1",) * len(xy[0][0]))) for n in names]
    return make_annotations(
        names,
        _names_of_rows(table),
        np.array(xy).transpose(2, 0, 1),
        np.where(np.array(scores).T > 0, VISIBLE, MISSING),
        _sizes_of_rows(table),
    )


def _long(table: Table) -> Annotations:
    files, names = _names_of_rows(table), table["keypoint"]
    row_of = {file: i for i, file in enumerate(dict.fromkeys(files))}
    column_of = {name: j for j, name in enumerate(dict.fromkeys(names))}
    at = [row_of[file] for file in files], [column_of[name] for name in names]
    if len(set(zip(*at))) < len(files):
        raise ValueError("a keypoint occurs twice for one image")
    xy = np.full((len(row_of), len(column_of), 2), np.nan)
    xy[at] = np.stack([_numbers(table["x"]), _numbers(table["y"])], -1)
    scores = np.zeros(xy.shape[:2])
    given = (table[c] for c in ("confidence", "score", "likelihood") if c in table)
    scores[at] = _numbers(next(given, ("1",) * len(files)))
    sizes = np.zeros((len(row_of), 2), int)
    if (known := _sizes_of_rows(table)) is not None:
        sizes[at[0]] = known
    return make_annotations(column_of, row_of, xy, np.where(scores > 0, VISIBLE, MISSING), sizes)


def write_csv(path: PathLike, annotations: Annotations) -> None:
    """Write a wide table: file, width and height where known, NAME_x, NAME_y (empty if missing).

    With scores, each point has a third column, NAME_score.
    """
    sized = bool(annotations.sizes.all())
    head = ["file", *(("width", "height") if sized else ())]
    options: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
    with replacing(path) as temporary, temporary.open("w", **options) as file:
        writer = csv.writer(file)
        columns = ("x", "y") if annotations.scores is None else ("x", "y", "score")
        writer.writerow([*head, *(f"{name}_{c}" for name in annotations.names for c in columns)])
        for row, name in enumerate(annotations.files):
            size = annotations.sizes[row].tolist() if sized else []
            xy = annotations.xy[row]
            if annotations.scores is not None:
                xy = np.concatenate((xy, annotations.scores[row][:, None]), axis=1)
            points = zip(xy, annotations.visible[row])
            cells = [str(c) if flag else "" for point, flag in points for c in point]
            writer.writerow([name, *size, *cells])
