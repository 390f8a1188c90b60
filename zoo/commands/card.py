"""Generate a package's card; nothing is sent."""

from __future__ import annotations

import argparse
from typing import Any

from zoo.answer import Answer


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what follows the command."""
    parser.add_argument("folder", metavar="DIR", help="the package")
    parser.add_argument(
        "--write", action="store_true", help="write it into the package, keeping edited notes"
    )


def run(folder: str, write: bool) -> Answer:
    """Answer the command."""
    from zoo import card, package, schema
    from zoo.folder import write_folder

    found = package.open_package(folder.removeprefix("dir:"), weights=write, edited="README.md")
    old = (found.root / "README.md").read_text("utf-8", "replace")
    text = card.render(
        found.config,
        found.evaluation,
        license=schema.licence_of(old) or "",
        repo_id=card.repository_of(old),
        human=card.human_part(old),
        pictures=sorted(file for file in found.manifest["files"] if file.startswith("assets/")),
        folder=found.root,
    )
    if write:
        files: dict[str, Any] = {path: found.root / path for path in found.manifest["files"]}
        write_folder(found.root, {**files, "README.md": text.encode()}, overwrite=True)
    return Answer({"card": text}, text.splitlines())
