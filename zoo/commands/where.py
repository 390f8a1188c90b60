"""Find the code of an equation, section, figure or table of a paper.

``keypoint-zoo where keypointgan 2`` finds equation 2. It reads the ``Source:``
lines of all docstrings, such as ``Source: keypointgan eq 2; imm sec 3``.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from registry.docs import sources
from zoo.answer import Answer

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("eq", "sec", "fig", "table")
ENTRY = re.compile(rf"([a-z]\w*) ({'|'.join(KINDS)}) (\w+(?:\.\w+)*)")


class Place(NamedTuple):
    """A part of a paper, and the code that follows it."""

    paper: str
    kind: str
    number: str
    code: str  # file:line name

    def order(self) -> tuple[Any, ...]:
        """Return a sort key: equations first, and 2 before 10 before F.1."""
        parts = self.number.split(".")
        return KINDS.index(self.kind), [(not p.isdigit(), p.rjust(9)) for p in parts], self.code


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what follows the command."""
    parser.add_argument("paper", metavar="PAPER", help="keypointgan, factorized, fomm ...")
    parser.add_argument(
        "place",
        metavar="PLACE",
        nargs="*",
        help="2 or eq 2, fig 20, table 1, sec 5 (also 5.1 ...); default: all",
    )


def run(paper: str, place: Sequence[str]) -> Answer:
    """Answer the command."""
    known = places(ROOT)
    found = sorted((p for p in known if p.paper == paper), key=Place.order)
    if not found:
        papers = sorted({place.paper for place in known})
        raise ValueError(f"there is no paper '{paper}'. Known: {', '.join(papers)}.")
    chosen = found
    if place:
        kind, number = ["eq", *place][-2:]
        chosen = [p for p in found if p.kind == kind and f"{p.number}.".startswith(f"{number}.")]
    if not chosen:
        there = ", ".join(dict.fromkeys(f"{p.kind} {p.number}" for p in found))
        raise ValueError(f"no docstring names {paper} {' '.join(place)}. Known: {there}.")
    lines = [f"{place.kind} {place.number:<4} {place.code}" for place in chosen]
    return Answer([place._asdict() for place in chosen], lines)


def places(root: Path) -> list[Place]:
    """Return every well-formed entry of every ``Source:`` line below components/ and registry/."""
    files = sorted([*root.glob("components/**/*.py"), *root.glob("registry/**/*.py")])
    return [
        Place(match[1], match[2], match[3], f"{file.relative_to(root).as_posix()}:{line} {name}")
        for entry, file, line, name in sources(*files)
        if (match := ENTRY.fullmatch(entry))
    ]
