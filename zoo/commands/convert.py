"""Turn an official checkpoint into a package."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from zoo.answer import Answer


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what follows the command."""
    parser.add_argument("source", metavar="SOURCE", help="the official code that wrote the file")
    parser.add_argument("file", metavar="FILE", help="the official checkpoint")
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument("--config", help="config file or zoo entry of the same model")
    parser.add_argument("--license", required=True, help="of the weights: apache-2.0, other ...")
    parser.add_argument("--license-text", metavar="FILE", help="the text of the licence")


def run(source: str, file: str, out: str, license_text: str | None, **options: Any) -> Answer:
    """Answer the command."""
    from zoo.convert import convert

    text = Path(license_text).read_text("utf-8") if license_text else None
    made = convert(source, file, out, license_text=text, **options)
    return Answer({"path": made}, [str(made)])
