"""Packages that tests of the zoo share: descriptions by hand, and a tiny one that loads.

Importing this imports no torch.
"""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

CONFIG: dict[str, Any] = {
    "format": "keypoint-zoo",
    "format_version": 1,
    "min_library": "0.1.0",
    "name": "tiny-puppets",
    "task": "keypoint-detection",
    "architecture": {
        "type": "pipelines/reconstruction",
        "version": 1,
        "args": {"encoder": {"type": "encoders/stem", "width": 2}},
    },
    "components": {"encoder": {"type": "encoders/stem", "prefix": "encoder.", "parameters": 1234}},
    "plugins": [],
    "preprocess": {
        "image_size": 32,
        "fit": "stretch",
        "resize": "area then bilinear",
        "antialias": True,
        "color": "RGB",
        "range": [0, 1],
        "mean": None,
        "std": None,
        "layout": "NCHW",
        "frames": 1,
    },
    "keypoints": {
        "count": 3,
        "names": ["kp00", "kp01", "kp02"],
        "semantics": "discovered",
        "groups": {"foreground": [0, 1]},
        "edges": [[0, 1]],
        "flip_pairs": [[1, 2]],
    },
    "coordinates": {
        "frame": "normalised",
        "order": "xy",
        "pixel_centre": "(2i+1)/S-1",
        "align_corners": False,
        "extras": ["cov"],
    },
    "weights": {
        "model.safetensors": {
            "role": "inference",
            "tensors": 10,
            "parameters": 1234,
            "dtype": "float32",
            "flops": 5678,
        }
    },
    "training": {
        "dataset": "puppets",
        "split": "train",
        "steps": 100,
        "seed": 3,
        "hardware": "2 CPU cores",
        "seconds": 540,
        "config": "tiny_puppets",
        "library": "0.1.0",
    },
}

RESULT: dict[str, Any] = {
    "dataset": {"id": "puppets", "name": "Puppets", "split": "test"},
    "task": "keypoint-detection",
    "protocol": "regression",
    "metric": "regression_error",
    "unit": "% of image",
    "higher_is_better": False,
    "definition": "mean distance of the regressed points, 64 annotated frames",
    "value": 3.45,
    "interval": [3.25, 3.69],
    "n": 640,
    "baselines": {"predict_mean": 10.1, "untrained": 10.26},
    "crop": "none",
    "origin": "ours",
    "date": "2026-11-20",
    "library": "0.1.0",
    "command": "tools/evaluate.py tiny-puppets",
}


def config(**changes: Any) -> dict[str, Any]:
    """Return a description of a package, with some keys replaced."""
    return {**copy.deepcopy(CONFIG), **changes}


def evaluation(*results: dict[str, Any]) -> dict[str, Any]:
    """Return an evaluation.json of these results, each given as what differs from RESULT."""
    rows = [{**copy.deepcopy(RESULT), **result} for result in results]
    return {"format_version": 1, "results": rows}


def training_config(landmarks: int = 3) -> dict[str, Any]:
    """Return the resolved config of the smallest model there is."""
    from registry.config import load_config

    sizes = {"image_size": 32, "num_landmarks": landmarks, "width": 1}
    return load_config(ROOT / "configs/imm_puppets.py", sizes)


def tiny_model(cfg: dict[str, Any], seed: int = 0) -> Any:
    """Build it with weights as large as training makes them, so that its landmarks differ."""
    import torch

    from registry.build import build_model

    random = torch.Generator().manual_seed(seed)
    model = build_model(cfg)
    with torch.no_grad():
        for weights in model.parameters():
            weights.normal_(std=0.5, generator=random)
    return model.eval()


def loadable_package(folder: Path, name: str = "tiny", seed: int = 0) -> Path:
    """Save a tiny model; another seed gives other weights."""
    import zoo

    cfg = training_config()
    return zoo.save(tiny_model(cfg, seed), folder, name=name, license="apache-2.0", cfg=cfg)


def seal(folder: Path, **changes: Any) -> Path:
    """Write the manifest that fits the files, by hand, as whoever altered them could."""
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != "manifest.json":
            data = path.read_bytes()
            files[name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    named = json.loads((folder / "manifest.json").read_bytes())["name"]
    manifest = {"format_version": 1, "name": named, "files": files, **changes}
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    (folder / "manifest.json").write_text(text)
    return folder


def read_config(folder: Path) -> dict[str, Any]:
    """Return a package's config.json."""
    return json.loads((folder / "config.json").read_bytes())


def write_config(folder: Path, text: bytes | dict[str, Any]) -> Path:
    """Replace config.json, and tell weights and manifest that it is theirs."""
    data = text if isinstance(text, bytes) else json.dumps(text).encode()
    (folder / "config.json").write_bytes(data)
    header, tensors = read_weights(folder)
    header["__metadata__"]["config_sha256"] = hashlib.sha256(data).hexdigest()
    return write_weights(folder, header, tensors)


def read_weights(folder: Path) -> tuple[dict[str, Any], bytes]:
    """Return header and tensors of model.safetensors, by the letter of its format."""
    data = (folder / "model.safetensors").read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def write_weights(folder: Path, header: bytes | dict[str, Any], tensors: bytes) -> Path:
    """Replace model.safetensors and seal the package."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + tensors)
    return seal(folder)
