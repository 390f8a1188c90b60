#!/usr/bin/env python
"""Package a finished run and publish it on the Hub.

``tools/publish.py work_dirs/factorized_puppets me/factorized-puppets --license apache-2.0``

writes WORK_DIR/package, tells what goes where, and sends it as one commit into a repository that
is private unless --public is given. Without OWNER/NAME nothing is sent; with --dry-run the Hub is
only asked. With --half or --best the model is scored anew.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from zoo.errors import ZooError


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work_dir", metavar="WORK_DIR", type=Path, help="folder of a run")
    parser.add_argument("repo", metavar="OWNER/NAME", nargs="?", help="made if there is none")
    parser.add_argument("--license", required=True, help="of the weights: apache-2.0, other ...")
    parser.add_argument("--license-text", metavar="FILE", type=Path, help="the licence itself")
    parser.add_argument("--name", help="of the entry; default: that of the folder")
    parser.add_argument("--out", metavar="DIR", help="the package; default: WORK_DIR/package")
    parser.add_argument("--best", action="store_true", help="best.pth instead of last.pth")
    parser.add_argument("--half", action="store_true", help="store numbers as float16")
    parser.add_argument(
        "--metrics", metavar="FILE", help="scores of just these weights; default: metrics.json"
    )
    parser.add_argument("--picture", metavar="FILE", help="for the card, on which it stays small")
    parser.add_argument("--hardware", help="what it was trained on; default: this machine")
    seen = parser.add_mutually_exclusive_group()
    seen.add_argument("--private", action="store_true", default=None, help="the default")
    seen.add_argument("--public", action="store_false", dest="private", default=None)
    parser.add_argument("--tag", help="name the commit")
    parser.add_argument("--dry-run", action="store_true", help="only tell what would be sent")
    args = parser.parse_intermixed_args()  # OWNER/NAME also after options
    # after the arguments: these import torch
    import torch

    from zoo.hub import push
    from zoo.package import open_package
    from zoo.publication import package_run
    from zoo.refs import is_repo_id

    try:
        if args.repo is not None and not is_repo_id(args.repo):
            raise ValueError(f"'{args.repo}' is no repository of the Hub. Write owner/name.")
        folder = package_run(
            args.work_dir,
            args.out or args.work_dir / "package",
            license=args.license,
            license_text=args.license_text.read_text() if args.license_text else None,
            name=args.name,
            checkpoint_name="best.pth" if args.best else "last.pth",
            dtype=torch.float16 if args.half else None,
            metrics=args.metrics,
            picture=args.picture,
            hardware=args.hardware,
            repo_id=args.repo,
            overwrite=True,
        )
        for file, stated in open_package(folder).manifest["files"].items():
            print(f"{stated['size']:>12,}  {file}")
        print(f"{folder} is complete and loads")
        if args.repo is None:
            return 0
        done = push(
            folder,
            args.repo,
            private=args.private,
            tag=args.tag,
            dry_run=args.dry_run,
            announce=print,
        )
        print(f"{done.url}: nothing was sent" if args.dry_run else done.url)
    except (ZooError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
