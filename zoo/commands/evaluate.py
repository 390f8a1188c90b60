"""Score a model beside its baselines.

REF alone is scored on the test data of its own config; with --data on those of
another config. A config with --checkpoint REF must be of the same model.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from zoo.answer import REF, Answer, notice


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what follows the command."""
    parser.add_argument("ref", metavar="REF", help=f"{REF}; or a config, with --checkpoint")
    parser.add_argument("--checkpoint", metavar="REF", help="the model, if REF is a config")
    parser.add_argument(
        "--data", metavar="FILE", help="use the data of this config (a file or a name) instead"
    )
    parser.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument(
        "--json",
        nargs="?",
        const=True,
        metavar="FILE",
        help="print one JSON document, or write it to FILE (for publish --metrics)",
    )


def run(ref: str, checkpoint: str | None, data: str | None, cfg_options: Sequence[str]) -> Answer:
    """Answer the command."""
    from registry.config import parse_options

    notice("importing torch ...", passing=True)
    from registry.evaluation import table
    from zoo.scoring import score

    config, model = (ref, checkpoint) if checkpoint else (None, ref)
    rows = score(model, config, data=data, options=parse_options(cfg_options))
    return Answer(rows, table(rows).splitlines())
