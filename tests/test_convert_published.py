"""Checkpoints of the published widths fit our configs: every name and every shape."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open

from registry import build, load_config
from tests.golden_file import GOLDEN
from tests.runs import ROOT
from zoo import describe, index
from zoo.convert import SOURCES, factorized, fomm, keypointgan


def states_of(name: str) -> dict[str, dict[str, torch.Tensor]]:
    """Return the official state dicts of a golden file, without their numbers."""
    states: dict[str, dict[str, torch.Tensor]] = {}
    for path in GOLDEN.glob(f"{name}_published_width.*safetensors"):
        with safe_open(path, "pt") as file:
            shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118
            made = json.loads(file.metadata()["generated_weights"])
        shapes |= {f"weights/{key}": recipe["shape"] for key, recipe in made.items()}
        for key, shape in shapes.items():
            if key.startswith("weights/"):
                _, network, entry = key.split("/")
                states.setdefault(network, {})[entry] = torch.empty(shape, device="meta")
    states.pop("vgg", None)  # of the loss
    return states


@pytest.mark.parametrize(
    ("config", "converter"),
    [("fomm_vox", fomm), ("factorized_bbc", factorized), ("keypointgan_h36m", keypointgan)],
)
def test_published_widths_fit(config, converter):
    cfg = load_config(ROOT / f"configs/{config}.py")
    with torch.device("meta"):
        model = build(describe.inference(cfg["model"]))
    found = converter.convert(states_of(config.split("_")[0]))
    critics = ("prior.", "image_critic.")
    shapes = {key: value.shape for key, value in found.items() if not key.startswith(critics)}
    assert len(shapes) > 150
    assert shapes == {key: value.shape for key, value in model.state_dict().items()}


def test_every_converter_that_entries_name_exists():
    named = {entry.converter for entry in index.entries().values() if entry.converter}
    assert named == set(SOURCES) - {"colorization-vgg16"}
