#!/usr/bin/env python
"""Move a picture as a video moves.

``tools/animate.py work_dirs/fomm_vox face.png talking.mp4 --out result.mp4``

REF is an entry of the zoo (``fomm-puppets``, ``hf:owner/name``), or the path of a package, of a
run's folder or of a checkpoint (.pth). Both inputs are resized as the model's data were. The result moves relative to the driving video's first frame,
which should show the pose of the picture: shape and place stay the picture's own.
``--best-frame`` starts from the driving frame most like it instead (its landmarks, wherever and
however large), ``--absolute`` copies the driving poses. With ffmpeg on the PATH an .mp4 keeps the
driving video's sound.
"""

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from registry import ConfigError
from zoo.errors import ZooError

# only a terminal shows progress in place, and other lines come below it
NEXT_LINE = "\n" if sys.stderr.isatty() else ""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ref", metavar="REF", help="an entry of the zoo, or a path")
    parser.add_argument("source", metavar="SOURCE_IMAGE", type=Path)
    parser.add_argument(
        "driving", metavar="DRIVING_VIDEO", type=Path, help="video, GIF or folder of images"
    )
    parser.add_argument("--out", required=True, metavar="FILE", type=Path, help=".mp4 or .gif")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--relative", action="store_true", help="move as the driving frames do; the default"
    )
    mode.add_argument("--absolute", action="store_true", help="copy the driving poses")
    parser.add_argument(
        "--best-frame", action="store_true", help="relative to the frame most like the picture"
    )
    parser.add_argument("--side-by-side", action="store_true", help="picture | driving | result")
    parser.add_argument(
        "--adapt-scale",
        action="store_true",
        help="move as much more as the picture's landmarks spread wider than the video's",
    )
    parser.add_argument("--batch-size", type=int, default=8)
    args = parser.parse_args()
    if args.batch_size < 1:
        parser.error("--batch-size must be at least 1")
    if args.absolute and args.best_frame:
        parser.error("--best-frame chooses where relative motion starts; leave out --absolute")
    try:
        check_paths(args.source, args.driving, args.out)
        import torch

        from zoo.model import load

        pipeline = load(args.ref, device="cuda" if torch.cuda.is_available() else "cpu")
        if not hasattr(pipeline, "animator") or pipeline.preprocess is None:
            raise ConfigError(f"{args.ref}: not a model that moves images of an image_size.")
        animate(pipeline, args)
    except KeyboardInterrupt:
        print(f"{NEXT_LINE}interrupted; {args.out} was not written", file=sys.stderr)
        return 130
    except (ZooError, OSError, ValueError) as error:
        print(f"{NEXT_LINE}error: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 2)
    return 0


def check_paths(source: Path, driving: Path, out: Path) -> None:
    """Refuse what cannot work before anything is loaded; an input is never replaced."""
    if out.suffix.lower() not in (".mp4", ".gif"):
        raise ValueError(f"--out '{out}' must end in .mp4 or .gif.")
    for path in (source, driving):
        if not path.exists():
            raise FileNotFoundError(f"no input '{path}'. Give an image and a video.")
        if out.exists() and out.samefile(path):
            raise ValueError(f"'{out}' is an input. Give another --out.")


def animate(pipeline: object, args: argparse.Namespace) -> None:
    """Write the result; frames are read, moved and written one batch at a time."""
    import numpy as np

    from components.data.fit import fit_image
    from components.data.video import (
        VideoReader,
        frames_of,
        is_image,
        read_image,
        replacing,
        write_gif,
        write_video,
    )

    taken = pipeline.preprocess

    def fitted(frame: np.ndarray) -> np.ndarray:
        return fit_image(frame, taken.image_size, taken.fit, taken.crop)[0]

    source = fitted(read_image(args.source))
    if args.driving.is_dir():
        fps, total = 25.0, sum(map(is_image, args.driving.iterdir()))
    elif is_image(args.driving):
        fps, total = 25.0, 1
    else:
        reader = VideoReader(args.driving)
        fps, total = reader.fps, reader.stated_length
    initial = None
    if args.best_frame:
        frames = watched(
            map(fitted, frames_of(args.driving)), total, "comparing poses", args.batch_size
        )
        number, initial = best_frame(pipeline, source, frames, args.batch_size)
        print(f"{args.driving}: frame {number} is the most like {args.source}", file=sys.stderr)
    elif not args.absolute:
        initial = fitted(next(frames_of(args.driving)))

    driving = map(fitted, frames_of(args.driving))
    pairs = moved(pipeline, source, driving, initial, args.batch_size, args.adapt_scale)
    if args.side_by_side:
        pictures = (np.concatenate((source, *pair), axis=1) for pair in pairs)
    else:
        pictures = (picture for _, picture in pairs)
    pictures = watched(pictures, total, str(args.out), args.batch_size)
    if args.out.suffix.lower() == ".gif":
        write_gif(args.out, pictures, fps)
        return
    with replacing(args.out) as silent:
        write_video(silent, pictures, fps)
        silent_kind = is_image(args.driving) or args.driving.suffix.lower() == ".gif"
        if args.driving.is_file() and not silent_kind:
            add_sound(silent, args.driving)


def batches(frames: Iterable, size: int, device: object) -> Iterator:
    """Yield the frames of a batch, and the batch in [0, 1] (T, 3, H, W)."""
    import numpy as np
    import torch

    frames = iter(frames)
    while batch := list(islice(frames, size)):
        images = torch.from_numpy(np.stack(batch)).to(device)
        yield batch, images.permute(0, 3, 1, 2).float() / 255


def best_frame(pipeline: object, source: object, frames: Iterable, batch_size: int) -> tuple:
    """Return number and pixels of the frame with the landmarks most like the source's."""
    from components.steps.transfer import pose_distance

    device = next(pipeline.parameters()).device
    ((_, image),) = batches([source], 1, device)
    own, best, seen = pipeline.predict(image).landmarks, None, 0
    for batch, images in batches(frames, batch_size, device):
        distance = pose_distance(pipeline.predict(images).landmarks, own)
        least, place = (value.item() for value in distance.min(dim=0))
        if best is None or least < best[0]:
            best = least, seen + place, batch[place]
        seen += len(batch)
    return best[1:]


def moved(
    pipeline: object,
    source: object,
    frames: Iterable,
    initial: object,
    batch_size: int,
    adapt_scale: bool = False,
) -> Iterator:
    """Yield each driving frame with the source moved like it, both (H, W, 3) uint8."""
    device = next(pipeline.parameters()).device
    stills = [source] if initial is None else [source, initial]
    images = [next(batches([still], 1, device))[1][0] for still in stills]
    move = pipeline.animator(*images, adapt_scale=adapt_scale)
    for batch, images in batches(frames, batch_size, device):
        pixels = move(images).clamp(0, 1).mul(255).round().byte()
        yield from zip(batch, pixels.permute(0, 2, 3, 1).cpu().numpy())


def watched(frames: Iterable, total: int, what: str, size: int) -> Iterator:
    """Pass frames on, which come in batches, and show progress and the time left after each batch.

    In place on a terminal; elsewhere a line, at most one in ten seconds.
    """
    terminal = sys.stderr.isatty()
    start, ends = ("\r\x1b[K", "") if terminal else ("", "\n")
    since = shown = time.monotonic()
    done = 0
    for done, frame in enumerate(frames, 1):
        yield frame
        now = time.monotonic()
        if done % size == 0 and now - shown >= (0.2 if terminal else 10):
            shown, left = now, max(total - done, 0) * (now - since) / done
            rest = f" of {total}, {timedelta(seconds=round(left))} left" if total >= done else ""
            print(f"{start}{what}: {done}{rest}", end=ends, file=sys.stderr, flush=True)
    print(f"{start}{what}: {done} frames", file=sys.stderr)


def add_sound(silent: Path, driving: Path) -> None:
    """Put the driving video's sound, not encoded again, into the result; say if that fails."""
    from registry.atomic import replacing

    program = shutil.which("ffmpeg")
    if program is None:
        print(
            f"no ffmpeg on the PATH: the sound of {driving}, if any, is left out", file=sys.stderr
        )
        return
    words = [program, "-nostdin", "-y", "-loglevel", "error", "-i", silent, "-i", driving]
    try:
        with replacing(silent) as whole:
            words += ["-map", "0:v:0", "-map", "1:a?", "-c", "copy", whole]
            subprocess.run(words, check=True, capture_output=True, text=True)
    except (subprocess.CalledProcessError, OSError) as error:
        reason = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[-1]
        print(f"the sound of {driving} is left out; ffmpeg: {reason}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
