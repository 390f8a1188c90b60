#!/usr/bin/env python
"""Turn an official checkpoint into weights for one of our configs.

``tools/convert.py fomm vox-cpk.pth.tar configs/fomm_vox.py --out fomm_vox.pth`` writes what the
other tools take as --checkpoint.
"""

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from registry import ConfigError, load_config

SOURCES = ("fomm", "monkeynet")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", choices=SOURCES, help="whose official code wrote the file")
    parser.add_argument("file", help="the official checkpoint")
    parser.add_argument("config", help="the config of the same model")
    parser.add_argument("--out", required=True, metavar="FILE")
    args = parser.parse_args()
    try:
        convert(args.source, args.file, load_config(args.config), Path(args.out))
    except (ConfigError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def convert(source: str, file: str, cfg: dict, out: Path) -> None:
    """Write the weights of an official checkpoint, once they fit the model of the config."""
    from registry import checkpoint
    from registry.job import build_model

    if out.exists() and out.samefile(file):
        raise ConfigError(f"'{out}' is the input. Give another --out.")
    found = import_module(f"zoo.convert.{source}").load(file)
    pipeline = build_model(cfg, to_fill=True)
    own = pipeline.state_dict()
    # a critic takes no part in evaluation: it may be on one side only
    critic = "image_critic."
    if not any(key.startswith(critic) for key in own):
        found = {key: value for key, value in found.items() if not key.startswith(critic)}
    elif not any(key.startswith(critic) for key in found):
        found |= {key: value for key, value in own.items() if key.startswith(critic)}
        print(f"{file} has no critic: it is left untrained.", file=sys.stderr)
    weights = {f"pipeline.{key}": value for key, value in found.items()}
    checkpoint.load_part(pipeline, {"model": weights}, "pipeline", file)
    state = {"iteration": 0, "config": json.dumps(cfg), "model": weights}
    checkpoint.save(state, out)
    print(f"{out}: {sum(value.numel() for value in found.values()):,} numbers", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
