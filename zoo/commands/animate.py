"""Animate a picture with the motion of a video.

Both are resized like the model's training data. The picture moves relative to
the driving video's first frame, which should show the same pose; its shape and
place are kept. --best-frame starts from the driving frame whose landmarks are
closest to the picture's instead, at any place and scale. --absolute copies the
driving poses. With ffmpeg on the PATH, an .mp4 keeps the driving video's sound.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from zoo.answer import REF, Answer, notice
from zoo.errors import OK, PARTIAL


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what follows the command."""
    parser.add_argument("ref", metavar="REF", help=REF)
    parser.add_argument("source", metavar="SOURCE_IMAGE", type=Path)
    parser.add_argument(
        "driving", metavar="DRIVING_VIDEO", type=Path, help="video, GIF or folder of images"
    )
    parser.add_argument("--out", required=True, metavar="FILE", type=Path, help=".mp4 or .gif")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--relative", action="store_true", help="move like the driving frames (default)"
    )
    mode.add_argument("--absolute", action="store_true", help="copy the driving poses")
    mode.add_argument(
        "--best-frame", action="store_true", help="relative to the frame closest to the picture"
    )
    parser.add_argument(
        "--side-by-side", action="store_true", help="show picture | driving frame | result"
    )
    parser.add_argument(
        "--adapt-scale",
        action="store_true",
        help="scale the motion if the picture's landmarks spread wider than the video's",
    )
    parser.add_argument("--batch-size", type=int, default=8, metavar="N")


def run(relative: bool, **options: Any) -> Answer:
    """Answer the command."""
    notice("importing torch ...", passing=True)
    from zoo.animation import animate

    try:
        done = animate(**options)
    except KeyboardInterrupt:
        out = options["out"]
        raise KeyboardInterrupt(f"interrupted; {out} was not written") from None
    lines = [f"{done.out}: {done.frames} frames", *done.notes]
    if done.best_frame is not None:
        driving, source = options["driving"], options["source"]
        lines.insert(0, f"{driving}: frame {done.best_frame} is closest to {source}")
    return Answer(done, lines, PARTIAL if done.frames < done.stated else OK)
