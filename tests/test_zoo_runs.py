"""Runs are models: their folder, their checkpoints, and how they differ from packages."""

from __future__ import annotations

import copy
import json
import sys

import numpy as np
import pytest
import torch

import zoo
from registry import ConfigError, checkpoint, load_config
from registry.build import build_model
from registry.evaluation import evaluate
from tests.runs import write_config
from zoo import saving
from zoo.errors import NotAPackageError, WeightsMismatchError
from zoo.refs import is_run
from zoo.scoring import score


@pytest.fixture(scope="module")
def cfg(tmp_path_factory):
    return load_config(write_config(tmp_path_factory.mktemp("cfg")))


@pytest.fixture(scope="module")
def pipelines(cfg):
    """The trained network, its average, and the best one: three that differ."""
    made = []
    for seed in range(3):
        torch.manual_seed(seed)
        pipeline = build_model(cfg, to_fill=True).eval()
        made.append(pipeline.to(memory_format=torch.channels_last))  # as they are loaded
    return made


@pytest.fixture(scope="module")
def run(cfg, pipelines, tmp_path_factory):
    """A run's folder as training leaves it: last.pth keeps the averaged weights, too."""
    folder = tmp_path_factory.mktemp("runs") / "tiny_run"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(cfg))
    last, average, best = (one.state_dict() for one in pipelines)
    text = {"iteration": 16, "config": json.dumps(cfg)}
    named = [{f"pipeline.{k}": v for k, v in state.items()} for state in (last, best)]
    checkpoint.save({**text, "model": named[0], "ema": average}, folder / "last.pth")
    checkpoint.save({**text, "model": named[1]}, folder / "best.pth")
    return folder


def landmarks(model):
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return model.predict(images).landmarks.xy


def test_every_form_gives_the_weights_that_count(run, pipelines, monkeypatch):
    _, average, best = map(landmarks, pipelines)
    monkeypatch.chdir(run.parent)
    for ref in (run, str(run), f"dir:{run}", "tiny_run", run / "last.pth", "tiny_run/last.pth"):
        assert torch.equal(landmarks(zoo.load(ref)), average), ref
    assert torch.equal(landmarks(zoo.load(run / "best.pth")), best)


def test_without_its_last_checkpoint_it_is_the_best(run, pipelines, tmp_path):
    for name in ("config.json", "best.pth"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    assert torch.equal(landmarks(zoo.load(tmp_path)), landmarks(pipelines[2]))
    (tmp_path / "best.pth").unlink()
    with pytest.raises(ConfigError, match=f"no checkpoint '{tmp_path}/last.pth'"):
        zoo.load(tmp_path)
    assert not torch.equal(landmarks(zoo.load(tmp_path, pretrained=False)), landmarks(pipelines[2]))


def test_a_run_and_its_package_are_alike(run, cfg, pipelines, tmp_path):
    saving.save(pipelines[1], tmp_path / "p", name="tiny-run", license="mit", cfg=cfg)
    mine, theirs = zoo.load(run), zoo.load(tmp_path / "p")
    assert (mine.preprocess, mine.keypoints) == (theirs.preprocess, theirs.keypoints)
    assert mine.state_dict().keys() == theirs.state_dict().keys()
    assert mine.prior is None  # a critic: no finished model runs it
    assert all(torch.equal(v, theirs.state_dict()[k]) for k, v in mine.state_dict().items())
    assert mine.package is None
    for key in ("task", "architecture", "weights"):
        assert getattr(mine.entry, key) == getattr(theirs.entry, key)
    assert mine.entry.name == "tiny_run"
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    found = [model.predict(model.preprocess(picture)).landmarks.xy for model in (mine, theirs)]
    assert torch.equal(*found)
    assert list(zoo.load(run, components=("encoder",))) == ["encoder"]
    with pytest.raises(WeightsMismatchError, match=r"do not fit .* of '.*last.pth': .* shapes"):
        zoo.load(run, overrides={"encoder.width": 3})


def test_loading_leaves_the_callers_random_numbers_alone(run):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    zoo.load(run)
    assert torch.equal(torch.rand(3), expected)


def test_what_needs_a_package_says_how_to_make_one(run):
    for ask in (zoo.info, zoo.verify, zoo.pull):
        for ref in (run, run / "last.pth"):
            with pytest.raises(NotAPackageError) as caught:
                ask(ref)
            assert str(caught.value) == (
                f"'{ref}' is a run, not a package. Make a package: keypoint-zoo publish {run} "
                "--license L. Only zoo.load, predict, evaluate, animate and export accept runs."
            )
    with pytest.raises(NotAPackageError, match="is the folder of a training run, not a package"):
        zoo.push(run, "lab/tiny")


def test_a_checkpoint_alone_imports_nothing(run, cfg, tmp_path, monkeypatch):
    (tmp_path / "my_parts.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    state = checkpoint.load(run / "best.pth")
    state["config"] = json.dumps({**cfg, "plugins": ["my_parts"]})
    checkpoint.save(state, tmp_path / "a.pth")
    with pytest.raises(ConfigError, match=r"its config uses the plugin 'my_parts'\. Import it"):
        zoo.load(tmp_path / "a.pth")
    assert "my_parts" not in sys.modules
    del state["config"]
    checkpoint.save(state, tmp_path / "b.pth")
    with pytest.raises(ConfigError, match=r"b\.pth does not hold its config\. Give the folder"):
        zoo.load(tmp_path / "b.pth")
    (tmp_path / "c.pth").write_bytes(b"no checkpoint")
    with pytest.raises(ConfigError, match=r"c\.pth cannot be read safely, so it is not loaded"):
        zoo.load(tmp_path / "c.pth")
    assert is_run(tmp_path / "d.pth")
    with pytest.raises(ConfigError, match=r"no checkpoint '.*d\.pth'"):
        zoo.load(tmp_path / "d.pth")


def test_the_saved_copy_of_a_loaded_model_is_its_own(run):
    model = zoo.load(run)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for value in other.parameters():
            value.add_(0.1)
    assert not torch.equal(landmarks(other), landmarks(model))


def test_a_run_is_scored_by_its_own_config(run, cfg, pipelines, tmp_path):
    expected = evaluate(pipelines[1], cfg, selection="last")
    rows = score(run)
    assert rows[0]["selection"] == "last"
    assert [row["value"] for row in rows] == pytest.approx([row["value"] for row in expected])
    assert rows[0]["of"] == {
        "metric": {"type": "metrics/keypoint_error"},
        "data": {"type": "datasets/puppets", "split": "test"},
    }
    fewer = score(run / "best.pth", options={"evaluate.max_items": 4})
    assert fewer[0]["selection"] == "best"
    assert (rows[0]["n"], fewer[0]["n"]) == (8, 4)
    again = score(run, run / "config.json")
    assert again == rows


def test_a_run_is_scored_on_other_data(run, tmp_path):
    (tmp_path / "mine.py").write_text(
        "image_size = 32\n"
        "data = dict(test=dict(type='datasets/puppets', image_size=image_size, clips=1,\n"
        "                      frames_per_clip=3))\n"
        "evaluate = dict(metrics=dict(mine=dict(type='metrics/keypoint_error')))\n"
    )
    (row,) = score(run, data=tmp_path / "mine.py")
    assert (row["protocol"], row["n"]) == ("mine", 3)
    assert row["of"]["data"] == {"type": "datasets/puppets", "split": None}


def test_the_config_of_another_model_is_refused_by_its_first_difference(run, cfg, tmp_path):
    other = json.loads(json.dumps(cfg))
    other["model"]["decoder"]["width"] = 3
    (tmp_path / "config.json").write_text(json.dumps(other))
    with pytest.raises(ConfigError) as caught:
        score(run, tmp_path / "config.json")
    assert str(caught.value) == (
        f"{run} is not the model of {tmp_path}/config.json: model.decoder.width is 2 in the model "
        "and 3 in the config. Leave the config out to use the model's own, or change that place "
        "with --cfg-options."
    )
    other["model"]["decoder"]["width"] = 2
    other["model"]["prior"]["history"] = 9  # only training has it
    (tmp_path / "config.json").write_text(json.dumps(other))
    assert score(run, tmp_path / "config.json")[0]["n"] == 8


def test_an_entry_is_scored_by_the_config_it_was_trained_with():
    options = {"data.test.clips": 2, "evaluate.max_items": 8, "data.fit.clips": 4}
    rows = score("factorized-puppets", options=options)
    assert rows[0]["selection"] == "factorized-puppets"
    shipped = zoo.info("factorized-puppets").config["training"]["config"]
    protocols = load_config(zoo.index.HERE.parent / "configs" / shipped)["evaluate"]["metrics"]
    assert [row["protocol"] for row in rows] == list(protocols)
