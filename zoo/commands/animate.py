"""Move a picture as a video moves.

Both are resized as the model's data were. The result moves relative to the
driving video's first frame, which should show the pose of the picture: shape
and place stay the picture's own. --best-frame starts from the driving frame
most like it instead (its landmarks, wherever and however large), --absolute
copies the driving poses. With ffmpeg on the PATH an .mp4 keeps the driving
video's sound.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from zoo.answer import REF, Answer, notice


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
        "--relative", action="store_true", help="move as the driving frames do; the default"
    )
    mode.add_argument("--absolute", action="store_true", help="copy the driving poses")
    mode.add_argument(
        "--best-frame", action="store_true", help="relative to the frame most like the picture"
    )
    parser.add_argument("--side-by-side", action="store_true", help="picture | driving | result")
    parser.add_argument(
        "--adapt-scale",
        action="store_true",
        help="move as much more as the picture's landmarks spread wider than the video's",
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
        lines.insert(0, f"{driving}: frame {done.best_frame} is the most like {source}")
    return Answer(done, lines)
