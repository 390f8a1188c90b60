"""Official checkpoints become ours: tools/convert.py and zoo/convert."""

from __future__ import annotations

import json
import runpy
import sys
from functools import cache
from pathlib import Path

import pytest
import torch

from registry import checkpoint, load_config
from registry.contract import Batch
from registry.errors import ConfigError
from registry.job import load_pipeline
from tests.golden_file import Golden
from tests.runs import ROOT
from tests.test_golden_fomm import model_of, states
from zoo.convert import fomm

NAME = "fomm_forward"
main = cache(lambda: runpy.run_path(str(ROOT / "tools/convert.py"), run_name="convert")["main"])


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden(NAME)


@pytest.fixture
def official(golden) -> dict:
    """The contents of an official checkpoint: networks, optimizers, a number."""
    return {
        **states(golden),
        "optimizer_generator": {"state": {0: {"step": 3}}, "param_groups": [{"lr": 2e-4}]},
        "epoch": 99,
    }


def write_config(path: Path, **changes: object) -> Path:
    model = {**model_of(NAME), **changes}
    model = {key: value for key, value in model.items() if value is not None}
    rest = {
        "losses": {},
        "data": {"test": {"type": "datasets/standin", "image_size": 64, "num_keypoints": 5}},
        "train": {"iterations": 1, "batch_size": 1, "lr": 1e-3},
    }
    path.write_text(json.dumps({"image_size": 64, "num_landmarks": 5, "model": model, **rest}))
    return path


def convert(monkeypatch, file: Path, config: Path, out: Path) -> int:
    monkeypatch.setattr(
        sys, "argv", ["convert.py", "fomm", str(file), str(config), "--out", str(out)]
    )
    return main()()


def test_a_converted_checkpoint_predicts_what_the_official_code_does(
    golden, official, tmp_path, monkeypatch
):
    config = write_config(tmp_path / "config.json")
    torch.save(official, tmp_path / "cpk.pth.tar")
    assert convert(monkeypatch, tmp_path / "cpk.pth.tar", config, tmp_path / "ours.pth") == 0
    pipeline = load_pipeline(load_config(config), tmp_path / "ours.pth").cpu()
    out = pipeline.infer(Batch(source=golden.image("source"), driving=golden.image("driving")))
    golden.check("prediction", out.render)
    assert not list(tmp_path.glob(".*.tmp"))


def test_the_oldest_format_without_batch_counts(official, tmp_path, monkeypatch):
    old = {
        name: {key: value for key, value in state.items() if not key.endswith("tracked")}
        for name, state in official.items()
        if name in fomm.RULES
    }
    torch.save(old, tmp_path / "cpk", _use_new_zipfile_serialization=False)
    config = write_config(tmp_path / "config.json")
    assert convert(monkeypatch, tmp_path / "cpk", config, tmp_path / "ours.pth") == 0
    found = checkpoint.weights(checkpoint.load(tmp_path / "ours.pth"))
    assert found["decoder.norm.num_batches_tracked"] == 0
    assert torch.equal(found["decoder.first.weight"], old["generator"]["first.conv.weight"])


def test_a_critic_may_be_on_one_side_only(official, tmp_path, monkeypatch, capsys):
    torch.save(official, tmp_path / "cpk")
    config = write_config(tmp_path / "config.json", image_critic=None)
    assert convert(monkeypatch, tmp_path / "cpk", config, tmp_path / "ours.pth") == 0
    found = checkpoint.weights(checkpoint.load(tmp_path / "ours.pth"))
    assert not [key for key in found if key.startswith("image_critic")]
    del official["discriminator"]
    torch.save(official, tmp_path / "cpk")
    config = write_config(tmp_path / "config.json")
    assert convert(monkeypatch, tmp_path / "cpk", config, tmp_path / "ours.pth") == 0
    assert "has no critic: it is left untrained" in capsys.readouterr().err
    found = checkpoint.weights(checkpoint.load(tmp_path / "ours.pth"))
    assert found["image_critic.last.weight"].shape == (1, 32, 1, 1)


class Code:
    """What a file must not bring along."""

    def __reduce__(self):
        return print, ("code in a file ran",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, "no file '{file}'. Give the official checkpoint, a .pth.tar."),
        (lambda f: {**f, "epoch": Code()}, "code in a file is not run: "),
        (lambda f: {"state_dict": {}}, "has no 'kp_detector'; it holds state_dict. An official"),
        (lambda f: [1], "has no 'kp_detector'; it holds no networks. An official checkpoint holds"),
        (
            lambda f: {**f, "generator": {"conv.weight": torch.zeros(1)}},
            "generator: unexpected 'conv.weight'. This is a checkpoint of another model.",
        ),
        (
            lambda f: {**f, "generator": {**f["generator"], "final.weight": torch.zeros(3, 4)}},
            "{file}: the weights do not fit the model: decoder.last.weight is (3, 4), "
            "needs (3, 8, 7, 7).",
        ),
        (
            lambda f: {
                **f,
                "kp_detector": {k: v for k, v in f["kp_detector"].items() if k[:3] != "kp."},
            },
            "the weights do not fit the model: encoder.head.weight is (20, 11, 7, 7), needs (25, ",
        ),
    ],
)
def test_files_that_do_not_fit(change, message, official, tmp_path, monkeypatch, capsys):
    file = tmp_path / "cpk.pth.tar"
    if change is not None:
        torch.save(change(official), file)
    config = write_config(tmp_path / "config.json")
    assert convert(monkeypatch, file, config, tmp_path / "ours.pth") == 2
    found = capsys.readouterr()
    assert message.format(file=file) in found.err
    assert "ran" not in found.out
    assert not (tmp_path / "ours.pth").exists()


def test_a_network_that_is_missing_is_named(official):
    del official["generator"]
    with pytest.raises(ConfigError, match="no 'generator' among kp_detector, discriminator"):
        fomm.convert(official)
