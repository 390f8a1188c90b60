"""Complete, tiny, valid packages, written without torch."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

from zoo_packages import config, evaluation

from zoo.folder import write_folder
from zoo.schema import pretty

CARD = """---
license: {license}
library_name: keypoint-zoo
pipeline_tag: keypoint-detection
tags:
- keypoint-zoo
datasets:
- puppets
---
# {name}
"""


def safetensors(tensors: dict[str, list[float]], **metadata: str) -> bytes:
    """Write float32 vectors in the format's own bytes: length, header, data."""
    header: dict[str, object] = {"__metadata__": {"format": "pt", **metadata}}
    data = b""
    for key, values in tensors.items():
        piece = struct.pack(f"<{len(values)}f", *values)
        offsets = [len(data), len(data) + len(piece)]
        header[key] = {"dtype": "F32", "shape": [len(values)], "data_offsets": offsets}
        data += piece
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def package_files(
    name: str = "demo",
    *,
    value: float = 0.0,
    size: int = 8,
    pictures: tuple[str, ...] = (),
    license: str = "apache-2.0",
) -> dict[str, bytes]:
    """Return the files of a package whose ``size`` weights are all ``value``."""
    described = config(name=name)
    weights = described["weights"]["model.safetensors"]
    weights["tensors"], weights["parameters"] = 1, size
    text = pretty(described)
    made_for = hashlib.sha256(text).hexdigest()
    files = {
        "README.md": CARD.format(name=name, license=license).encode(),
        "config.json": text,
        "model.safetensors": safetensors({"w": [value] * size}, config_sha256=made_for),
        "evaluation.json": pretty(evaluation({"value": value})),
        "golden.safetensors": safetensors({"output.landmarks": [value]}, tolerance="0"),
    }
    return files | {f"assets/{picture}": b"\x89PNG" + picture.encode() for picture in pictures}


def make_package(folder: Path, **what) -> Path:
    """Write the package of :func:`package_files`."""
    write_folder(folder, package_files(**what))
    return folder
