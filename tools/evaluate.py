#!/usr/bin/env python
"""Score a checkpoint, or a finished model, on the data of a config, beside what needs no learning.

``tools/evaluate.py CONFIG --checkpoint work_dirs/X/last.pth``
``tools/evaluate.py CONFIG --checkpoint factorized-puppets``
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from registry.config import parse_options
from zoo.errors import ZooError


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="a .py config or the config.json of a run")
    parser.add_argument(
        "--checkpoint", required=True, help=".pth file, or an entry of the zoo, hf:..., dir:..."
    )
    parser.add_argument("--json", help="also write the rows to this file")
    parser.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    # after the arguments: these import torch
    import torch

    from registry.contract import MissingFieldError
    from registry.evaluation import table, write_metrics
    from zoo.scoring import score

    try:
        options, device = parse_options(args.cfg_options), "cpu"
        if torch.cuda.is_available():
            device = "cuda"
        rows, _ = score(args.checkpoint, args.config, options=options, device=device)
        print(table(rows))
        if args.json:
            write_metrics(rows, Path(args.json))
    except (ZooError, MissingFieldError, OSError, ValueError) as error:
        return fail(error)
    return 0


def fail(error: Exception) -> int:
    print(f"error: {error}", file=sys.stderr)
    return getattr(error, "exit_code", 2)


if __name__ == "__main__":
    sys.exit(main())
