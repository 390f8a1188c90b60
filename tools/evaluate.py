#!/usr/bin/env python
"""Score a checkpoint beside its baselines.

``tools/evaluate.py CONFIG --checkpoint work_dirs/X/last.pth``
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from registry import ConfigError, load_config
from registry.config import parse_options


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="a .py config or the config.json of a run")
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--json", help="also write the rows to this file")
    parser.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    try:
        cfg = load_config(args.config, parse_options(args.cfg_options))
    except ConfigError as error:
        return fail(error)
    # after the arguments: these import torch
    from registry.contract import MissingFieldError
    from registry.evaluation import evaluate, table, write_metrics
    from registry.job import load_pipeline

    try:
        pipeline = load_pipeline(cfg, args.checkpoint)
        rows = evaluate(pipeline, cfg, selection=Path(args.checkpoint).stem)
        print(table(rows))
        if args.json:
            write_metrics(rows, Path(args.json))
    except (ConfigError, MissingFieldError, OSError, ValueError) as error:
        return fail(error)
    return 0


def fail(error: Exception) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
