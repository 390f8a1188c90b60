"""Precompute what training would otherwise compute repeatedly.

flow: the optical flow from every frame of a config's data.train to its
partners, for datasets/flow_pairs. It continues where an earlier call stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from zoo.answer import Answer, notice


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what follows the command."""
    names = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    one = names.add_parser("flow", help="optical flow, for a config with datasets/flow_pairs")
    one.add_argument("config", metavar="CONFIG", help="name of a shipped config, or a file")
    one.add_argument(
        "--estimator",
        choices=("dis", "raft_small", "raft_large"),
        default="dis",
        help="dense inverse search, or RAFT: that of losses/flow_agreement if it has weights",
    )
    one.add_argument("--weights", help="for RAFT: torchvision (downloads once), or a file")
    one.add_argument("--out", metavar="DIR", help="default: data.train.flow of the config")
    one.add_argument("--device", help="for RAFT; default: cuda if available, else cpu")
    one.add_argument("--data", metavar="FILE", help="use the data of this config")
    one.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE")


def run(
    name: str, config: str, data: str | None, cfg_options: Sequence[str], **options: Any
) -> Answer:
    """Answer the command."""
    from components.data.flow_cache import prepare_flow
    from registry.config import load_config, parse_options

    cfg = load_config(config, parse_options(cfg_options), data=data)
    try:
        folder, clips = prepare_flow(cfg, **options, say=notice)
    except KeyboardInterrupt:
        said = "interrupted; complete clips are kept. Run the same command again to continue."
        raise KeyboardInterrupt(said) from None
    return Answer(
        {"folder": folder, "clips": clips},
        [f"{folder}: the optical flow of {clips} clips is complete"],
    )
