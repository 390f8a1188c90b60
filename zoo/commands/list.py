"""List the entries of the zoo; patterns and filters select some."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from zoo.answer import Answer, notice, score_of, table


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what follows the command."""
    parser.add_argument("pattern", nargs="*", metavar="PATTERN", help="of names: 'fomm-*'")
    for name in ("exclude", "task", "dataset", "license", "architecture"):
        of = "names to leave out" if name == "exclude" else f"the {name}"
        text = f"a pattern of {of}; may be repeated"
        parser.add_argument(f"--{name}", action="append", metavar="PATTERN", help=text)
    parser.add_argument("--metric", help="only entries with such a result: 'regression<=5'")
    text = "ask the Hub instead of the index"
    parser.add_argument(
        "--hub", action="store_const", dest="source", const="hub", default="index", help=text
    )
    text = "only entries that load without network"
    parser.add_argument("--cached", action="store_true", default=None, help=text)


def run(pattern: Sequence[str], exclude: Sequence[str] | None, **filters: Any) -> Answer:
    """Answer the command."""
    from zoo.listing import list_entries

    found = list_entries(pattern or "*", exclude=exclude or (), **filters)
    if not found:
        notice("no entry matches")
        return Answer([], ())
    rows: list[Sequence[str]] = [("name", "task", "dataset", "weights", "licence", "result")]
    for entry in found:
        first = [f"{row['protocol']} {score_of(row)}" for row in entry.results[:1]]
        own = (entry.name, entry.task, entry.dataset, entry.weights, entry.license or "")
        rows.append((*own, *(first or [""])))
    return Answer(found, table(rows))
