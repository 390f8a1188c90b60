"""Find what is broken or left over in the zoo, cache or a folder."""

from __future__ import annotations

import argparse

from zoo.answer import Answer
from zoo.errors import FAILED, OK


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what follows the command."""
    text = "also look for what killed commands left below it"
    parser.add_argument("below", metavar="DIR", nargs="?", help=text)
    parser.add_argument("--fix", action="store_true", help="remove what is left over")


def run(below: str | None, fix: bool) -> Answer:
    """Answer the command."""
    from zoo.sources import doctor

    found = doctor(below, fix=fix)
    left = doctor(below) if fix and found else found
    lines = [line if line in left else f"{line} (removed)" for line in found]
    answer = {"findings": found, "left": left}
    return Answer(answer, lines or ["nothing is broken or left over"], FAILED if left else OK)
