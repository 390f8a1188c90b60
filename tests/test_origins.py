"""The configs that a run starts from: which options reach them, and that ``train`` trains them."""

from __future__ import annotations

import json

import pytest
import torch

from registry import ConfigError, checkpoint, load_config
from registry.runner import train
from tests.runs import ROOT, write_config

REGRESSOR = '''"""Tiny regressor."""
image_size = 32
points = 15

model = dict(
    type="pipelines/pose_autoencoder",
    rasterizer=dict(type="rasterizers/skeleton", edges=((0, 1), (1, 2)), image_size=image_size),
    bottleneck=dict(
        type="bottlenecks/skeleton_regressor",
        encoder=dict(type="encoders/stem", takes="pose_image", width=2, out_channels=points)),
)
losses = dict(points=dict(type="losses/prior_points"))
data = dict(prior=dict(type="datasets/puppets", split="prior", image_size=image_size, clips=3))
train = dict(iterations=2, batch_size=2, lr=1e-3)
'''
RUN = REGRESSOR.replace("lr=1e-3", 'lr=1e-2, init=dict(bottleneck="regressor")')
PAIRS = [
    # of a run, its origin: the option, and its places there
    ("keypointgan_puppets", "model.rasterizer.squared", True, "model.rasterizer.squared"),
    ("keypointgan_puppets", "model.bottleneck.encoder.width", 4, "model.bottleneck.encoder.width"),
    ("keypointgan_puppets", "data.prior.seed", 5, "data.prior.seed"),
    ("keypointgan_puppets", "data.prior_size", 50, "data.prior_size"),
    ("keypointgan_puppets", "train.seed", 5, "train.seed"),
    ("keypointgan_puppets", "train.iterations", 5, None),
    ("keypointgan_puppets", "train.batch_size", 5, None),
    ("keypointgan_puppets", "losses.points.weight", 5.0, None),
    ("keypointgan_puppets", "data.train.seed", 5, None),
    ("keypointgan_puppets", "model.encoder.width", 4, None),
    ("keypointgan_puppets", "model.bottleneck_apart", False, None),
    ("forecast_puppets", "model.image_pipeline.decoder.hidden", 8, "model.decoder.hidden"),
    ("forecast_puppets", "model.image_pipeline.encoder.first", 8, "model.encoder.first"),
    ("forecast_puppets", "model.predictor.width", 8, None),
    ("forecast_puppets", "model.seen", 8, None),
    ("factorized_puppets_binary", "model.decoder.hidden", 8, "model.decoder.hidden"),
]


def leaves(node: object, place: str = "") -> dict:
    if not isinstance(node, dict):
        return {place[1:]: node}
    return {k: v for key, inner in node.items() for k, v in leaves(inner, f"{place}.{key}").items()}


@pytest.mark.parametrize(("name", "key", "value", "place"), PAIRS)
def test_an_option_reaches_exactly_its_places(name, key, value, place):
    path = ROOT / f"configs/{name}.py"
    plain, changed = (leaves(load_config(path, options)) for options in ({}, {key: value}))
    (origin,) = load_config(path)["origins"]
    wanted = {key: value} if place is None else {key: value, f"origins.{origin}.{place}": value}
    if key == "train.iterations":  # the schedule is stretched with it: 1650 of 2400 is 3 of 5
        wanted["train.lr_factors"] = [[3, 1.0], [5, 0.02]]
    assert changed == {**plain, **wanted}
    assert changed != plain


def test_a_plain_number_reaches_the_origin_where_it_has_it():
    path = ROOT / "configs/keypointgan_puppets.py"
    cfg = load_config(path, {"regressor_width": 4, "critic_width": 8})
    (origin,) = cfg["origins"].values()
    assert origin["model"]["bottleneck"]["encoder"]["width"] == 4
    assert "critic_width" not in origin


def error_of(path, options):
    with pytest.raises(ConfigError) as caught:
        load_config(path, options)
    return str(caught.value)


def test_an_option_that_the_origin_refuses(tmp_path):
    write_config(tmp_path, "regressor.py", REGRESSOR.replace("encoders/stem", "encoders/imm"))
    path = write_config(tmp_path, "run.py", RUN)
    assert error_of(path, {"model.bottleneck.encoder.norm": "batch"}) == (
        "train.init: regressor, which is trained first: --cfg-options: there is no key "
        "'model.bottleneck.encoder.norm'. Known: num_landmarks, type, width."
    )


def test_a_number_of_a_shared_part_that_the_origin_does_not_have(tmp_path):
    other = REGRESSOR.replace("points = ", "landmarks = ").replace("=points", "=landmarks")
    write_config(tmp_path, "regressor.py", other)
    path = write_config(tmp_path, "run.py", RUN)
    assert error_of(path, {"points": 4}) == (
        "--cfg-options: model.bottleneck.encoder.out_channels is 4, but in regressor, which "
        "train.init names, model.bottleneck.encoder.out_channels is 15. Give both the same value."
    )


def test_two_parts_of_one_origin_change_together():
    path, width = ROOT / "configs/keypointgan_h36m.py", "encoder.width"
    both = {f"model.bottleneck.{width}": 8, f"model.reference_bottleneck.{width}": 8}
    (origin,) = load_config(path, both)["origins"].values()
    assert origin["model"]["bottleneck"]["encoder"]["width"] == 8
    assert error_of(path, {f"model.bottleneck.{width}": 8}) == (
        "--cfg-options: model.reference_bottleneck.encoder.width is 32, but in "
        "keypointgan_h36m_regressor, which train.init names, model.bottleneck.encoder.width is 8. "
        "Give both the same value."
    )


@pytest.fixture
def chain(tmp_path):
    """Three configs, each starting from the one before it."""
    write_config(tmp_path, "regressor.py", REGRESSOR)
    write_config(tmp_path, "second.py", RUN)
    return write_config(tmp_path, "third.py", RUN.replace('"regressor"', '"second"'))


def test_options_reach_the_origin_of_an_origin(chain):
    cfg = load_config(chain, {"model.rasterizer.squared": True, "image_size": 16})
    for _ in range(3):
        assert cfg["model"]["rasterizer"]["squared"] is True
        assert cfg["model"]["rasterizer"]["image_size"] == 16
        (cfg,) = cfg.get("origins", {"": None}).values()
    assert cfg is None


def test_a_saved_config_knows_its_origins(chain, tmp_path):
    saved = tmp_path / "elsewhere/config.json"
    saved.parent.mkdir()
    saved.write_text(json.dumps(load_config(chain)))
    options = {"model.rasterizer.squared": True, "train.iterations": 3}
    assert load_config(saved) == load_config(chain)
    assert load_config(saved, options) == load_config(chain, options)


def test_training_from_python_trains_the_origins_with_the_same_skeleton(chain, tmp_path, capsys):
    options = {"model.rasterizer.squared": True, "train.lr": 0.0}
    train(load_config(chain, options), tmp_path / "runs/third")
    said = [line for line in capsys.readouterr().err.splitlines() if "train.init: training" in line]
    names = ("second", "regressor")
    assert said == [f"train.init: training {name} first" for name in names]
    folders = [tmp_path / "runs" / name for name in (*names, "third")]
    saved = [json.loads((folder / "config.json").read_text()) for folder in folders]
    assert [cfg["model"]["rasterizer"]["squared"] for cfg in saved] == [True] * 3
    assert [cfg["train"]["lr"] for cfg in saved] == [1e-2, 1e-3, 0.0]
    second, _, third = (checkpoint.load(folder / "last.pth")["model"] for folder in folders)
    weights = [key for key in second if key.endswith("weight")]
    assert weights
    assert all(torch.equal(third[key], second[key]) for key in weights)  # a rate of 0 leaves them

    # trained once is enough, also for the next run, if it asks for the same
    again = tmp_path / "runs/again"
    train(load_config(chain, options), again)
    assert "train.init: training" not in capsys.readouterr().out
    with pytest.raises(ConfigError) as caught:
        train(load_config(chain), tmp_path / "runs/other")
    assert str(caught.value) == (
        f"train.init: {folders[0]} was trained with a different model. Move that folder away, "
        f"or use a --work-dir in another folder."
    )


@pytest.mark.parametrize("key", ["data.train.root", "data.train.frame_dataset.root"])
def test_the_folder_of_the_recordings_is_that_of_the_origin_too(key):
    cfg = load_config("forecast_kth", {key: "my/kth"})
    (origin,) = cfg["origins"].values()
    assert cfg["data"]["train"]["frame_dataset"]["root"] == "my/kth"
    assert origin["data"]["train"]["root"] == "my/kth"
    assert origin["data"]["test"]["root"] == cfg["data"]["test"]["frame_dataset"]["root"]


def test_an_option_of_the_data_set_inside_another():
    cfg = load_config("fomm_video", {"data.test.root": "x", "data.test.fit": "pad"})
    assert (
        cfg["data"]["test"]["frame_dataset"] | {"root": "x", "fit": "pad"}
        == (cfg["data"]["test"]["frame_dataset"])
    )
    assert error_of("fomm_video", {"data.test.rooot": "x"}) == (
        "--cfg-options: there is no key 'data.test.rooot'. Known: frame_dataset, type."
    )
