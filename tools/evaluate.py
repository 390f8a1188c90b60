#!/usr/bin/env python
"""Score a checkpoint, or a finished model, on the data of a config, beside what needs no learning.

``tools/evaluate.py CONFIG --checkpoint work_dirs/X/last.pth``
``tools/evaluate.py CONFIG --checkpoint factorized-puppets``
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from registry import ConfigError, load_config
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
    try:
        cfg = load_config(args.config, parse_options(args.cfg_options))
    except ConfigError as error:
        return fail(error)
    # after the arguments: these import torch
    from registry.contract import MissingFieldError
    from registry.evaluation import evaluate, table, write_metrics

    try:
        pipeline, selection = trained(cfg, args.checkpoint)
        rows = evaluate(pipeline, cfg, selection=selection)
        print(table(rows))
        if args.json:
            write_metrics(rows, Path(args.json))
    except (ZooError, MissingFieldError, OSError, ValueError) as error:
        return fail(error)
    return 0


def trained(cfg: dict, ref: str) -> tuple[object, str]:
    """Return the pipeline of a checkpoint or of an entry of the zoo, and how it was chosen."""
    from registry.job import load_pipeline
    from zoo.model import architecture_of, open_model

    if Path(ref).suffix == ".pth":
        return load_pipeline(cfg, ref), Path(ref).stem
    pipeline = open_model(ref)
    own = pipeline.package.config["architecture"] if pipeline.package else None
    if own != json.loads(json.dumps(architecture_of(cfg))):
        raise ConfigError(
            f"{ref} is not the model of this config, which the untrained baseline is made from."
        )
    return pipeline, ref


def fail(error: Exception) -> int:
    print(f"error: {error}", file=sys.stderr)
    return getattr(error, "exit_code", 2)


if __name__ == "__main__":
    sys.exit(main())
