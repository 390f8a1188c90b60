"""``--data``: the data of one file, the method of another."""

from __future__ import annotations

import json

import pytest

from registry import ConfigError, load_config

MINE = """
image_size = 32
small = 3
data = dict(
    train=dict(
        type="datasets/frames", root="my/clips", image_size=image_size, pair_range=(1, small)),
    fit=dict(type="datasets/frames", root="my/labelled", image_size=image_size,
             annotations="my/labelled.csv", labelled_only=True, pair="same"),
    test=dict(type="datasets/frames", root="my/test", image_size=image_size,
              annotations="my/test.csv", labelled_only=True, pair="same"),
)
evaluate = dict(metrics=dict(mine=dict(type="metrics/regression", normaliser="pixels")))
"""


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def frames(root, size, **more):
    return {"type": "datasets/frames", "root": root, "image_size": size, **more}


LABELLED = {"labelled_only": True, "pair": "same"}


def test_data_and_protocol_come_from_the_file_all_else_from_the_method(mine):
    plain, cfg = load_config("factorized_puppets"), load_config("factorized_puppets", data=mine)
    assert cfg["data"] == {
        "train": frames("my/clips", 64, pair_range=[1, 3]),  # 64: the size of the method
        "fit": frames("my/labelled", 64, annotations="my/labelled.csv", **LABELLED),
        "test": frames("my/test", 64, annotations="my/test.csv", **LABELLED),
        "transforms": plain["data"]["transforms"],
    }
    assert cfg["evaluate"] == {
        "metrics": {"mine": {"type": "metrics/regression", "normaliser": "pixels"}}
    }
    others = set(plain) - {"data", "evaluate"}
    assert {key: cfg[key] for key in others} == {key: plain[key] for key in others}
    assert set(cfg) == set(plain)


def test_options_come_last(mine):
    options = {"image_size": 128, "small": 5, "data.train.root": "other", "evaluate": {}}
    cfg = load_config("factorized_puppets", options, data=mine)
    assert cfg["data"]["train"] == frames("other", 128, pair_range=[1, 5])
    assert cfg["data"]["test"]["image_size"] == 128
    assert cfg["image_size"] == 128
    assert cfg["evaluate"] == {}


def test_without_evaluate_the_protocol_of_the_method_stays(mine):
    mine.write_text(MINE.partition("evaluate =")[0])
    cfg = load_config("factorized_puppets", data=mine)
    assert cfg["evaluate"] == load_config("factorized_puppets")["evaluate"]


def test_transforms_of_a_file_that_holds_data_alone(mine):
    own = '    transforms=[dict(type="transforms/color_jitter", hue=0.5)],\n)\nevaluate'
    mine.write_text(MINE.replace(")\nevaluate", own))
    jitter = {"type": "transforms/color_jitter", "hue": 0.5}
    assert load_config("factorized_puppets", data=mine)["data"]["transforms"] == [jitter]


def test_the_data_of_another_method():
    first, other = load_config("factorized_puppets"), load_config("keypointgan_h36m")
    cfg = load_config("factorized_puppets", data="keypointgan_h36m")
    assert cfg["data"]["train"] == {**other["data"]["train"], "image_size": 64}
    assert cfg["data"]["test"] == {**other["data"]["test"], "image_size": 64}
    assert cfg["data"]["transforms"] == first["data"]["transforms"]
    assert "prior" not in cfg["data"]  # nothing in the method learns from it
    assert (cfg["model"], cfg["train"]) == (first["model"], first["train"])


def test_a_prior_stays_unless_the_file_has_one(mine):
    plain = load_config("keypointgan_puppets")
    cfg = load_config("keypointgan_puppets", data=mine)
    assert cfg["data"]["prior"] == plain["data"]["prior"]
    ((name, before),) = plain["origins"].items()
    assert cfg["origins"][name]["data"] == {"prior": before["data"]["prior"]}

    mine.write_text(
        MINE.replace(
            "    test=",
            '    prior=dict(type="datasets/poses", source="p.csv"'
            ', format="csv"),\n    prior_size=7,\n    test=',
        )
    )
    cfg = load_config("keypointgan_puppets", {"data.prior.size": [128, 128]}, data=mine)
    poses = {"type": "datasets/poses", "source": "p.csv", "format": "csv", "size": [128, 128]}
    for data in (cfg["data"], cfg["origins"][name]["data"]):
        assert (data["prior"], data["prior_size"]) == (poses, 7)


def test_what_a_method_makes_of_frames_stays_around_the_frames_of_the_file(mine):
    plain, cfg = (load_config("forecast_puppets", data=data) for data in (None, mine))
    inner = frames("my/clips", 64, pair_range=[1, 3])
    assert cfg["data"]["train"] == {**plain["data"]["train"], "frame_dataset": inner}
    assert cfg["data"]["test"]["type"] == "datasets/clips"
    assert cfg["data"]["test"]["frame_dataset"]["root"] == "my/test"
    # the image model behind it learns from the same frames, and is not scored
    (origin,) = cfg["origins"].values()
    assert origin["data"]["train"] == inner
    assert "test" not in origin["data"]
    assert "evaluate" not in origin
    # and the other way round
    cfg = load_config("factorized_puppets", data="forecast_kth")
    inner = load_config("forecast_kth")["data"]["train"]["frame_dataset"]
    assert cfg["data"]["train"] == {**inner, "image_size": 64}


def test_a_saved_config_gives_data_as_they_are(mine, tmp_path):
    saved = tmp_path / "config.json"
    saved.write_text(json.dumps(load_config("imm_puppets", {"image_size": 128}, data=mine)))
    cfg = load_config("factorized_puppets", data=saved)
    assert cfg["data"]["train"]["image_size"] == 128


def test_plugins_of_the_file_are_loaded_too(mine, tmp_path, monkeypatch):
    (tmp_path / "mine_plugin_of_data.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    mine.write_text(MINE + 'plugins = ["mine_plugin_of_data"]\n')
    assert load_config("factorized_puppets", data=mine)["plugins"] == ["mine_plugin_of_data"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_size = 64\n", "--data: {path} has no section 'data'."),
        (
            MINE + "evalute = dict()\n",
            "{path}: unknown section 'evalute'. Did you mean 'evaluate'?",
        ),
        (
            MINE + "train = dict(iterations=5)\n",
            "--data: {path}: 'train' would be ignored: a file without 'model' provides only "
            "'data' and 'evaluate'. Remove it, and change other settings with --cfg-options.",
        ),
        (
            MINE + "imagesize = 3\n",
            "--data: {path}: 'imagesize' is assigned but never used. Remove it.",
        ),
        (
            "import os\n" + MINE,
            "{path}: a config must be self-contained. Remove its imports and _base_.",
        ),
        (
            MINE.replace("fit=", "fitt="),
            "data: the section 'data' has no argument 'fitt'. Did you mean 'fit'?",
        ),
    ],
)
def test_files_that_are_refused(mine, text, message):
    mine.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config("factorized_puppets", data=mine)
    assert str(caught.value) == message.format(path=mine)


def test_a_method_that_learns_from_a_prior_alone(mine):
    plain = load_config("keypointgan_puppets_regressor")
    cfg = load_config("keypointgan_puppets_regressor", data=mine)
    assert "train" not in cfg["data"]
    assert cfg["data"]["prior"] == plain["data"]["prior"]


def test_a_file_to_evaluate_on(mine):
    mine.write_text('data = dict(test=dict(type="datasets/puppets", split="test", image_size=64))')
    cfg = load_config("factorized_puppets", data=mine)
    assert cfg["data"].keys() == {"test", "transforms"}


def test_a_wrong_name():
    with pytest.raises(ConfigError) as caught:
        load_config("factorized_puppets", data="imm_pupets")
    assert str(caught.value) == "there is no config 'imm_pupets'. Did you mean 'imm_puppets'?"
