"""Animating a picture with the motion of a video."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from components.data.video import (
    VideoReader,
    check_video,
    frames_of,
    is_image,
    read_image,
    write_gif,
    write_video,
)
from components.steps.transfer import pose_distance
from registry.atomic import replacing
from registry.errors import ConfigError
from registry.progress import counted
from zoo.model import best_device, load

Frame = NDArray[np.uint8]  # (H, W, 3) RGB


@dataclass(frozen=True, slots=True)
class Animated:
    """What :func:`animate` wrote."""

    out: Path
    frames: int
    stated: int  # of the driving video; more than ``frames`` if it is damaged or cut short
    best_frame: int | None  # number of the driving frame closest to the picture, if requested
    notes: tuple[str, ...]  # what was left out, and why


def animate(
    ref: str | Path,
    source: str | Path,
    driving: str | Path,
    out: str | Path,
    *,
    absolute: bool = False,
    best_frame: bool = False,
    side_by_side: bool = False,
    adapt_scale: bool = False,
    batch_size: int = 8,
) -> Animated:
    """Write a video in which a picture moves like another video; frames are streamed.

    Of a damaged video, the frames that can be read are used, and there is a warning.

    Args:
        ref: as for ``zoo.load``.
        source: the picture.
        driving: video, GIF or folder of images.
        out: .mp4 or .gif. An input is never overwritten.
        absolute: copy the driving poses instead of moving relative to the first one.
        best_frame: move relative to the driving frame whose pose is closest to the picture's.
        side_by_side: picture, driving frame and result in one frame.
        adapt_scale: scale the motion by the spread of the picture's landmarks over the video's.
        batch_size: frames in memory at a time.

    Raises:
        ZooError, ConfigError: the model does not exist, or does not animate images.
        OSError, ValueError: an input cannot be read, or the result cannot be written.
    """
    source, driving, out = Path(source), Path(driving), Path(out)
    check_paths(source, driving, out)
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}.")
    model = load(ref, device=best_device())
    taken = model.preprocess
    if not hasattr(model, "animator") or taken is None:
        raise ConfigError(
            f"{ref} does not animate images. Give a motion transfer model with an image_size."
        )

    def fitted(frame: Frame) -> Frame:
        image: Frame = taken.fitted(frame)[0]
        return image

    still = fitted(read_image(source))
    reader = None
    if driving.is_dir():
        fps, total = 25.0, sum(map(is_image, driving.iterdir()))
    elif is_image(driving):
        fps, total = 25.0, 1
    else:
        reader = VideoReader(driving)
        fps, total = reader.fps, reader.stated_length

    def moves() -> Iterator[Frame]:
        return map(fitted, frames_of(driving) if reader is None else reader)

    initial, number = None, None
    if best_frame:
        frames = counted(moves(), total, "comparing poses")
        number, initial = nearest_frame(model, still, frames, batch_size)
    elif not absolute:
        initial = next(moves())

    moving = moves()
    pairs = moved(model, still, moving, initial, batch_size, adapt_scale)
    written = 0

    def pictures() -> Iterator[Frame]:
        nonlocal written
        for pair in counted(pairs, total, str(out)):
            yield np.concatenate((still, *pair), axis=1) if side_by_side else pair[1]
            written += 1

    note = None
    if out.suffix.lower() == ".gif":
        write_gif(out, pictures(), fps)
    else:
        with replacing(out) as silent:
            write_video(silent, pictures(), fps)
            if driving.is_file() and not is_image(driving) and driving.suffix.lower() != ".gif":
                note = add_sound(silent, driving, written)
    stated = written + (reader.missing if reader else 0)
    return Animated(out, written, stated, number, (note,) if note else ())


def check_paths(source: Path, driving: Path, out: Path) -> None:
    """Check the paths before anything is loaded; an input is never overwritten."""
    if out.suffix.lower() not in (".mp4", ".gif"):
        raise ValueError(f"--out '{out}' must end in .mp4 or .gif.")
    for path in (source, driving):
        if not path.exists():
            raise FileNotFoundError(f"there is no input '{path}'. Give an image and a video.")
        if out.exists() and out.samefile(path):
            raise ValueError(f"--out '{out}' is an input. Give another --out.")


def batches(
    frames: Iterable[Frame], size: int, device: torch.device
) -> Iterator[tuple[list[Frame], Tensor]]:
    """Yield the frames of each batch, and the batch (T, 3, H, W) in [0, 1]."""
    frames = iter(frames)
    while batch := list(islice(frames, size)):
        images = torch.from_numpy(np.stack(batch)).to(device)
        yield batch, images.permute(0, 3, 1, 2).float() / 255


def nearest_frame(
    model: Any, source: Frame, frames: Iterable[Frame], batch_size: int
) -> tuple[int, Frame]:
    """Return number and pixels of the frame whose landmarks are closest to the source's."""
    device = next(model.parameters()).device
    ((_, image),) = batches([source], 1, device)
    own = model.predict(image).landmarks
    best: tuple[float, int, Frame] | None = None
    seen = 0
    for batch, images in batches(frames, batch_size, device):
        distance = pose_distance(model.predict(images).landmarks, own)
        place = int(distance.argmin())
        nearest = float(distance[place])
        if best is None or nearest < best[0]:
            best = nearest, seen + place, batch[place]
        seen += len(batch)
    if best is None:
        raise ValueError("the driving video has no frames. Give another one.")
    return best[1:]


def moved(
    model: Any,
    source: Frame,
    frames: Iterable[Frame],
    initial: Frame | None,
    batch_size: int,
    adapt_scale: bool = False,
) -> Iterator[tuple[Frame, Frame]]:
    """Yield each driving frame with the source in its pose, both (H, W, 3) uint8."""
    device = next(model.parameters()).device
    stills = [source] if initial is None else [source, initial]
    pair = [next(batches([still], 1, device))[1][0] for still in stills]
    move = model.animator(*pair, adapt_scale=adapt_scale)
    for batch, images in batches(frames, batch_size, device):
        pixels = move(images).clamp(0, 1).mul(255).round().byte()
        yield from zip(batch, pixels.permute(0, 2, 3, 1).cpu().numpy())


def add_sound(silent: Path, driving: Path, frames: int) -> str | None:
    """Copy the driving video's sound into the result; return the reason if that fails."""
    program = shutil.which("ffmpeg")
    if program is None:
        return f"the sound of {driving}, if any, is left out: ffmpeg is not on the PATH"
    try:
        with replacing(silent) as whole:
            # absolute: FFmpeg sees a protocol in a name with a colon
            ours, theirs, result = (path.absolute() for path in (silent, driving, whole))
            words: list[Any] = [program, "-nostdin", "-y", "-loglevel", "error", "-i", ours]
            words += ["-i", theirs, "-map", "0:v:0", "-map", "1:a?", "-c", "copy", result]
            subprocess.run(words, check=True, capture_output=True, text=True, errors="replace")
            check_video(whole, frames, silent)
    except (subprocess.CalledProcessError, OSError) as error:
        reason = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[-1]
        return f"the sound of {driving} is left out; ffmpeg: {reason}"
    return None
