"""Publish a package on the Hub as one commit."""

from __future__ import annotations

import argparse
from typing import Any

from zoo.answer import Answer, notice, size_of, table


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what follows the command."""
    parser.add_argument("folder", metavar="DIR", help="the package")
    parser.add_argument("repo", metavar="OWNER/NAME", help="created if missing")
    seen = parser.add_mutually_exclusive_group()
    text = "the default for a new repository"
    seen.add_argument("--private", action="store_true", default=None, help=text)
    text = "visible to everyone"
    seen.add_argument("--public", action="store_false", dest="private", default=None, help=text)
    parser.add_argument("--tag", help="tag the commit")
    parser.add_argument("--branch", help="instead of main")
    parser.add_argument(
        "--pr", action="store_true", dest="create_pr", help="open a pull request instead"
    )
    parser.add_argument("--message", help="first line of the commit")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be sent")


def run(folder: str, repo: str, dry_run: bool, **options: Any) -> Answer:
    """Answer the command."""
    from zoo.hub import push

    repo_id = repo.removeprefix("hf:")
    done = push(folder, repo_id, dry_run=dry_run, announce=notice, **options)
    lines = table([(file, size_of(size)) for file, size in done.files.items()])
    said = "would be published" if dry_run else "published"
    state = said if done.changed else "already up to date; nothing to send"
    return Answer(done, [*lines, f"{done.url} ({done.visibility}): {state}"])
