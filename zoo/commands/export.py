"""Write a model to a file that works without this library."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from zoo.answer import REF, Answer


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what follows the command."""
    parser.add_argument("ref", metavar="REF", help=REF)
    parser.add_argument("--format", required=True, choices=("onnx", "torch_export", "torchscript"))
    parser.add_argument("--out", required=True, metavar="FILE", help=".onnx, .pt2 or .pt")
    parser.add_argument("--part", choices=("detector", "renderer"), default="detector")
    parser.add_argument("--images", nargs="+", metavar="FILE", help="compare on these images too")


def run(ref: str, out: str, format: Any, images: Sequence[str], **options: Any) -> Answer:
    """Answer the command."""
    from components.data.video import read_image
    from zoo.exporting import export
    from zoo.model import load

    model, batch = load(ref), None
    if images:
        if getattr(model, "preprocess", None) is None:
            raise ValueError(f"{ref} does not take images. Leave out --images.")
        batch = model.preprocess([read_image(file) for file in images]).images
    done = export(model, out, format, images=batch, **options)
    apart = ", ".join(f"{name} {value:.2g}" for name, value in done.differences.items())
    line = f"{done.path}: {', '.join(done.inputs)} -> {', '.join(done.outputs)}"
    return Answer(done, [line, f"maximum difference from the model: {apart}"])
