"""Find landmarks in images, folders and videos."""

from __future__ import annotations

import argparse
from typing import Any

from zoo.answer import REF, Answer, notice
from zoo.errors import OK, PARTIAL


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what follows the command."""
    parser.add_argument("ref", metavar="REF", help=REF)
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="image, folder of images, or video"
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder for drawings and CSV files"
    )
    parser.add_argument("--batch-size", type=int, default=16, metavar="N")


def run(**options: Any) -> Answer:
    """Answer the command."""
    notice("importing torch ...", passing=True)
    from zoo.prediction import predict

    done = []
    for one in predict(**options):
        notice(f"{one.table}: {one.frames} frames, {one.landmarks} landmarks")
        done.append(one)
    partial = any(one.frames < one.stated for one in done)
    return Answer(done, (), PARTIAL if partial else OK)
