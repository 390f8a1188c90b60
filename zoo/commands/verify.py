"""Check every byte of an entry."""

from __future__ import annotations

import argparse
from typing import Any

from zoo.answer import REF, Answer
from zoo.errors import FAILED, OK


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what follows the command."""
    parser.add_argument("ref", metavar="REF", help=REF)
    parser.add_argument("--deep", action="store_true", help="also check what it computes")
    parser.add_argument("--against", choices=("manifest", "hub"), default="manifest")


def run(ref: str, **options: Any) -> Answer:
    """Answer the command."""
    from zoo.verifying import verify

    report = verify(ref, **options)
    lines = [f"{name} differs by {value:.3g}" for name, value in report.differences.items()]
    lines += [f"problem: {problem}" for problem in report.problems]
    if report.ok:
        lines.append(f"{ref}: {report.checked} files are intact, digest {report.digest}")
    return Answer(report, lines, OK if report.ok else FAILED)
