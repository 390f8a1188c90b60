"""Package a finished run and publish it on the Hub.

Writes WORK_DIR/package, says what goes where, and sends it as one commit to a
repository that is private unless --public is given. Without OWNER/NAME or with
--dry-run nothing is sent. With --half or --best the model is scored again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from zoo.answer import Answer, notice, size_of, table


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what follows the command."""
    parser.add_argument("work_dir", metavar="WORK_DIR", type=Path, help="folder of a run")
    parser.add_argument("repo", metavar="OWNER/NAME", nargs="?", help="created if missing")
    parser.add_argument("--license", required=True, help="of the weights: apache-2.0, other ...")
    parser.add_argument("--license-text", metavar="FILE", type=Path, help="the text of the licence")
    parser.add_argument("--name", help="of the entry; default: that of the folder")
    parser.add_argument("--out", metavar="DIR", help="the package; default: WORK_DIR/package")
    parser.add_argument("--best", action="store_true", help="best.pth instead of last.pth")
    parser.add_argument("--half", action="store_true", help="store numbers as float16")
    parser.add_argument(
        "--metrics", metavar="FILE", help="scores of these weights; default: metrics.json"
    )
    parser.add_argument("--picture", metavar="FILE", help="for the card; made small")
    parser.add_argument("--hardware", help="what it was trained on; default: this machine")
    seen = parser.add_mutually_exclusive_group()
    seen.add_argument("--private", action="store_true", default=None, help="the default")
    seen.add_argument("--public", action="store_false", dest="private", default=None)
    parser.add_argument("--tag", help="tag the commit")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be sent")


def run(
    work_dir: Path,
    repo: str | None,
    license_text: Path | None,
    out: str | None,
    best: bool,
    half: bool,
    private: bool | None,
    tag: str | None,
    dry_run: bool,
    **about: Any,
) -> Answer:
    """Answer the command."""
    from zoo.schema import is_repo_id

    if repo is not None and not is_repo_id(repo):
        raise ValueError(f"'{repo}' is not the name of a Hub repository. Write owner/name.")
    notice("importing torch ...", passing=True)
    import torch

    from zoo.hub import push
    from zoo.publication import package_run
    from zoo.sources import info

    folder = package_run(
        work_dir,
        out or work_dir / "package",
        license_text=license_text.read_text(encoding="utf-8") if license_text else None,
        checkpoint_name="best.pth" if best else "last.pth",
        dtype=torch.float16 if half else None,
        repo_id=repo,
        overwrite=True,
        **about,
    )
    files = info(folder).files
    lines = table([(file, size_of(size)) for file, size in files.items()])
    lines.append(f"{folder} is complete and loads")
    document = {"package": folder, "files": files}
    if repo is None:
        return Answer(document, lines)
    done = push(folder, repo, private=private, tag=tag, dry_run=dry_run, announce=notice)
    lines.append(f"{done.url}: nothing was sent" if dry_run else done.url)
    return Answer({**document, "push": done}, lines)
