"""Download an entry and check it."""

from __future__ import annotations

import argparse
from typing import Any

from zoo.answer import REF, Answer, size_of, table


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what follows the command."""
    parser.add_argument("ref", metavar="REF", help=REF)
    parser.add_argument("--revision", help="branch, tag or commit")
    parser.add_argument("--dest", metavar="DIR", help="copy it there")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be fetched")
    parser.add_argument("--force", action="store_true", help="fetch again even if cached")
    text = "use the cache only"
    parser.add_argument("--offline", action="store_true", default=None, help=text)


def run(ref: str, dry_run: bool, **options: Any) -> Answer:
    """Answer the command."""
    from zoo.sources import pull

    found = pull(ref, dry_run=dry_run, **options)
    lines = table([(file, size_of(size)) for file, size in found.files.items()])
    total = size_of(sum(found.files.values()))
    if dry_run:
        commit = f", commit {found.commit}" if found.commit else ""
        return Answer(found, [*lines, f"{total}{commit}; nothing was fetched"])
    return Answer(found, [*lines, f"{total} checked: {found.path}"])
