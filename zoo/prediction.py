"""Finding landmarks in pictures and videos: drawings and tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from os.path import realpath  # of a loop of links, too, for which Path.resolve raises
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.data.annotations import VISIBLE, make_annotations, write_coco, write_csv
from components.data.video import VideoReader, is_image, natural, read_image, write_video
from components.drawing import draw_landmarks, write_png
from registry.errors import ConfigError
from registry.loading import spread
from registry.progress import counted
from registry.usual import CHECKED, warn_of
from zoo.model import best_device, load

Frame = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Predicted:
    """What was found in one input."""

    input: Path  # image, folder of images, or video
    table: Path  # CSV with a row per frame: file, width, height; x, y in pixels and score
    coco: Path | None  # the same as COCO keypoints, if the model has limbs (its skeleton)
    drawn: tuple[Path, ...]  # the pictures, or the video, with the landmarks drawn
    frames: int
    landmarks: int
    stated: int  # frames of the input; more than ``frames`` if it is damaged or cut short
    checked: int = 0  # number of frames that were compared with the training images
    unusual: int = 0  # how many of these look unlike them


def predict(
    ref: str | Path,
    inputs: Sequence[str | Path],
    out: str | Path,
    *,
    batch_size: int = 16,
) -> Iterator[Predicted]:
    """Find landmarks in images, folders and videos; yield each input when it is done.

    Of a damaged video, the frames that can be read are used, and there is a warning.

    Args:
        ref: as for ``zoo.load``.
        inputs: images, folders of images, videos.
        out: folder for the results, ``NAME_landmarks.*``. An input, or the result of another one,
            is never overwritten.
        batch_size: frames in memory at a time.

    Raises:
        ZooError, ConfigError: the model does not exist, or does not take images.
        OSError, ValueError: an input cannot be read, or a result cannot be written.
    """
    for name in inputs:
        if not Path(name).exists():
            raise FileNotFoundError(
                f"there is no input '{name}'. Give an image, a folder of images, or a video."
            )
    if Path(out).exists() and not Path(out).is_dir():
        raise NotADirectoryError(f"--out '{out}' is a file. Give a folder for the results.")
    model = load(ref, device=best_device())
    if not hasattr(model, "predict") or model.preprocess is None:
        raise ConfigError(
            f"{ref} does not find landmarks in images. Give a model of images with an image_size."
        )
    taken = set(map(realpath, inputs))
    for name in inputs:
        yield _predict_input(model, Path(name), Path(out), max(batch_size, 1), taken)


def _predict_input(
    model: Any, path: Path, out: Path, batch_size: int, taken: set[str]
) -> Predicted:
    """Write drawing and table of one input; video frames are streamed, one batch at a time."""
    names, edges = model.keypoints["names"], model.keypoints["edges"]
    files: list[str] = []
    points: list[NDArray[np.float32]] = []
    scores: list[NDArray[np.float32]] = []
    remarks: list[str] = []
    looked_at: set[int] = set()  # numbers of frames
    sizes: list[tuple[int, int]] = []
    missing = 0

    def claim(target: Path) -> Path:
        if realpath(target) in taken:
            raise ValueError(
                f"'{target}' is an input, or the result of another one. Give another --out, or "
                "rename the input."
            )
        taken.add(realpath(target))
        return target

    def drawn(frames: Iterator[Frame], labels: Iterator[str]) -> Iterator[Frame]:
        while batch := list(islice(frames, batch_size)):
            ready = model.preprocess(batch)
            landmarks = model.predict(ready.images).landmarks
            if landmarks.score is not None:
                scores.extend(landmarks.score.float().cpu().numpy())
            chosen = [i for i in range(len(batch)) if len(files) + i in looked_at]
            if model.usual is not None and chosen:
                remarks.extend(model.usual.remarks(model, ready.images[chosen]))
            for frame, pixels in zip(batch, ready.to_original(landmarks.xy)):
                files.append(next(labels))
                points.append(pixels)
                sizes.append((frame.shape[1], frame.shape[0]))
                yield draw_landmarks(frame, pixels, edges)

    if path.is_dir() or is_image(path):
        images = [path]
        if path.is_dir():
            images = sorted((file for file in path.iterdir() if is_image(file)), key=natural)
        if not images:
            raise FileNotFoundError(f"the folder '{path}' has no images. Give images or a video.")
        looked_at |= set(spread(len(images), CHECKED))
        taken |= set(map(realpath, images))
        folder = out / f"{path.name}_landmarks" if path.is_dir() else out
        pictures = drawn(
            counted(map(read_image, images), len(images), str(path)),
            (image.name for image in images),
        )
        written = []
        for image, picture in zip(images, pictures):
            written.append(claim(folder / f"{image.stem}_landmarks.png"))
            write_png(written[-1], picture)
    else:
        reader = VideoReader(path)
        looked_at |= set(spread(reader.stated_length or 10 * CHECKED, CHECKED))
        out.mkdir(parents=True, exist_ok=True)
        written = [claim(out / f"{path.stem}_landmarks.mp4")]
        numbered = (f"{path.stem}/{i:06d}" for i in range(10**9))
        write_video(
            written[0],
            drawn(counted(reader, reader.stated_length, str(path)), numbered),
            reader.fps,
        )
        missing = reader.missing
    visible = np.full((len(files), len(names)), VISIBLE)
    score = np.stack(scores).round(4) if scores else None
    found = make_annotations(names, files, np.stack(points), visible, sizes, edges, score)
    table = claim(out / f"{path.stem}_landmarks.csv")
    write_csv(table, found)
    coco = claim(table.with_suffix(".json")) if edges else None
    if coco is not None:
        write_coco(coco, found)
    warn_of(remarks, str(path))
    unusual = sum(map(bool, remarks))
    frames, stated = len(files), len(files) + missing
    return Predicted(
        path, table, coco, tuple(written), frames, len(names), stated, len(remarks), unusual
    )
