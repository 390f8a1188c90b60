"""registry.config: literal files, plain numbers that change every place, strict overrides."""

import json

import pytest

from registry import ConfigError, load_config
from registry.config import (
    Data,
    Evaluate,
    Train,
    config_name,
    parse_options,
    section,
    validate,
)
from tests.runs import ROOT

SMALL = """
image_size = 16
edges = ((0, 1), (1, 2))
model = dict(
    type="pipelines/pose_autoencoder",
    rasterizer=dict(type="rasterizers/skeleton", edges=edges, image_size=image_size),
    bottleneck=dict(
        type="bottlenecks/skeleton_regressor",
        encoder=dict(
            type="encoders/stem", takes="pose_image", out_channels=3, width=image_size // 8
        ),
    ),
)
losses = dict(points=dict(type="losses/prior_points"))
data = dict(
    prior=dict(type="datasets/standin", image_size=image_size, num_keypoints=3, edges=edges),
    transforms=(dict(type="transforms/color_jitter", hue=0.1),),
)
train = dict(iterations=2, batch_size=2, lr=1e-3, lr_factors=((1, 1.0), (2, 0.5)))
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "small.py"
    path.write_text(SMALL)
    return path


def error_of(path, options=None):
    with pytest.raises(ConfigError) as caught:
        load_config(path, options)
    return str(caught.value)


def test_a_plain_number_changes_every_place_that_uses_it(config):
    cfg = load_config(config, {"image_size": 32})
    assert cfg["image_size"] == 32
    assert cfg["model"]["rasterizer"]["image_size"] == 32
    assert cfg["data"]["prior"]["image_size"] == 32
    assert cfg["model"]["bottleneck"]["encoder"]["width"] == 4  # 32 // 8
    assert "16" not in json.dumps(cfg)


def test_a_plain_number_may_be_annotated(config):
    config.write_text(SMALL.replace("image_size = 16", "image_size: int = 16"))
    assert load_config(config)["model"]["rasterizer"]["image_size"] == 16
    assert load_config(config, {"image_size": 32})["model"]["rasterizer"]["image_size"] == 32


def test_the_file_itself_stays_as_it_is(config):
    load_config(config, {"image_size": 32, "train.lr": 1.0})
    assert config.read_text() == SMALL


def place_of(cfg, dotted):
    *parents, last = [int(key) if key.isdigit() else key for key in dotted.split(".")]
    for key in parents:
        cfg = cfg[key]
    return cfg, last


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train.lr", 0.5),
        ("train.seed", 7),  # a default, not in the file
        ("model.rasterizer.sigma", 0.3),  # likewise
        ("model.bottleneck.encoder.norm", "batch"),
        ("data.transforms.0.hue", 0.2),
        ("train.lr_factors.1.0", 9),
        ("train.lr_factors.1", [9, 0.1]),
        ("losses.points", {"type": "losses/redraw"}),
    ],
)
def test_a_dotted_key_changes_one_place(config, key, value):
    wanted = load_config(config)
    node, last = place_of(wanted, key)
    node[last] = value
    assert load_config(config, {key: value}) == wanted


def test_python_and_json_give_the_same_lists(config, tmp_path):
    cfg = load_config(config)
    assert cfg["edges"] == [[0, 1], [1, 2]]
    assert cfg["train"]["lr_factors"] == [[1, 1.0], [2, 0.5]]
    saved = tmp_path / "config.json"
    saved.write_text(json.dumps(cfg))
    assert load_config(saved) == cfg
    options = {"model.rasterizer.edges.0": [1, 1], "train.betas": [0.5, 0.9]}
    assert load_config(saved, options) == load_config(config, options)


def test_a_resolved_config_has_no_plain_numbers(config, tmp_path):
    saved = tmp_path / "config.json"
    saved.write_text(json.dumps(load_config(config)))
    assert error_of(saved, {"image_size": 32}) == (
        f"{saved} is a resolved config, in which 'image_size' has no effect. Override it in "
        "the .py config, or override the full key (such as model.encoder.width)."
    )


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("imagesize", "there is no key 'imagesize' in {path}. Did you mean 'image_size'?"),
        ("train.iteratons", "there is no key 'train.iteratons'. Did you mean 'iterations'?"),
        ("trian.lr", "there is no key 'trian'. Did you mean 'train'?"),
        (
            "model.rasteriser.sigma",
            "there is no key 'model.rasteriser'. Did you mean 'rasterizer'?",
        ),
        (
            "model.rasterizer.sgima",
            "there is no key 'model.rasterizer.sgima'. Did you mean 'sigma'?",
        ),
        ("losses.pionts.weight", "there is no key 'losses.pionts'. Did you mean 'points'?"),
        ("losses.pionts", "there is no key 'losses.pionts'. Did you mean 'points'?"),
        ("data.prior.edgse", "there is no key 'data.prior.edgse'. Did you mean 'edges'?"),
        (
            "data.transforms.1",
            "there is no entry 'data.transforms.1'; 'data.transforms' has 1 entries.",
        ),
        ("data.transforms.1.hue", "there is no key 'data.transforms.1'. Known: 0."),
        ("train.lr.x", "there is no key 'train.lr'. Did you mean 'lr'?"),
        (
            "evaluate.crop",
            "there is no key 'evaluate'. Known: data, edges, image_size, losses, model, train.",
        ),
    ],
)
def test_misspelt_overrides(config, key, text):
    assert error_of(config, {key: 1}) == f"--cfg-options: {text.format(path=config)}"


def test_a_stale_key_after_another_type(config):
    assert error_of(config, {"model.bottleneck.encoder.type": "encoders/image_to_skeleton"}) == (
        "--cfg-options: model.bottleneck.encoder: 'takes' belongs to encoders/stem, not to "
        "encoders/image_to_skeleton. Replace the whole component: "
        "\"model.bottleneck.encoder={'type': 'encoders/image_to_skeleton', ...}\"."
    )


def test_another_type_that_takes_the_same_keys(config):
    cfg = load_config(config, {"losses.points.type": "losses/redraw", "losses.points.weight": 1})
    assert cfg["losses"]["points"] == {"type": "losses/redraw", "weight": 1}


def test_another_type_that_does_not_exist(config):
    assert error_of(config, {"losses.points.type": "losses/redrawn"}) == (
        "losses.points: there is no loss 'losses/redrawn'. Did you mean 'losses/redraw'?"
    )


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("from math import pi", "a config must be self-contained. Remove its imports and _base_."),
        ("import os", "a config must be self-contained. Remove its imports and _base_."),
        ('_base_ = "other.py"', "a config must be self-contained. Remove its imports and _base_."),
        ("trian = dict(lr=1)", "unknown section 'trian'. Did you mean 'train'?"),
        ("evaluate = 5", "the section 'evaluate' must be a dict, not 5."),
        ("x = 1 / 0", "ZeroDivisionError: division by zero"),
        ("x = y", "NameError: name 'y' is not defined"),
        ("x = {1, 2}", "x must not be a set: JSON cannot hold it."),
        ("image_size = 8", "line 21 assigns 'image_size' a second time. Keep one assignment."),
        ("image_size: int = 8", "line 21 assigns 'image_size' a second time. Keep one assignment."),
        ("image_size += 8", "line 21 assigns 'image_size' a second time. Keep one assignment."),
        ("x = y = 1\ny = 2", "line 22 assigns 'y' a second time. Keep one assignment."),
    ],
)
def test_mistakes_in_the_file(config, text, error):
    config.write_text(f"{SMALL}\n{text}\n")
    assert error_of(config) == f"{config}: {error}"


def test_a_syntax_error_names_file_and_line(config):
    config.write_text("image_size = = 3\n")
    assert error_of(config).startswith(f"{config}: SyntaxError: invalid syntax")
    assert "line 1" in error_of(config)


@pytest.mark.parametrize(
    ("train", "error"),
    [
        ({"iterations": 1, "batch_size": 1}, "train: the section 'train' needs 'lr'."),
        (
            {"iterations": 1, "batch_size": 1, "lr": 1, "cilp": 1},
            "train: the section 'train' has no argument 'cilp'. Did you mean 'clip'?",
        ),
    ],
)
def test_the_fixed_sections_are_checked(train, error):
    with pytest.raises(ConfigError) as caught:
        validate({"model": {"type": "x"}, "train": train}, "x.py")
    assert str(caught.value) == error


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("train.iterations", "x", "an integer of at least 1, not 'x'"),
        ("train.iterations", 1.5, "an integer of at least 1, not 1.5"),
        ("train.iterations", True, "an integer of at least 1, not True"),
        ("train.iterations", None, "an integer of at least 1, not None"),
        ("train.lr", "1e-3", "a number, not '1e-3'"),
        ("train.lr", False, "a number, not False"),
        ("train.clip", "none", "a number or none, not 'none'"),
        ("train.amp", 1, "true or false, not 1"),
        ("train.betas", 0.9, "a list of 2, not 0.9"),
        ("train.betas", [0.9], "a list of 2, not [0.9]"),
        ("train.init", 5, "a dict, not 5"),
        ("train.hooks", "hooks/x", "a list, not 'hooks/x'"),
        ("data.train", "photos", "a component, a dict with a 'type' or none, not 'photos'"),
        ("data.prior_size", 2.0, "an integer of at least 1 or none, not 2.0"),
        ("data.transforms", {"type": "a/b"}, "a list, not {'type': 'a/b'}"),
        ("evaluate", {"crop": 3}, ".crop must be a string, not 3"),
        ("evaluate", {"metrics": []}, ".metrics must be a dict, not []"),
        ("train.iterations", 0, "an integer of at least 1, not 0"),
        ("train.batch_size", 0, "an integer of at least 1, not 0"),
        ("data.prior_size", 0, "an integer of at least 1, not 0"),
        ("data.workers", -1, "an integer of at least 0, not -1"),
        ("train.seed", -1, "an integer of at least 0, not -1"),
        ("train.checkpoint_every", -1, "an integer of at least 0, not -1"),
        ("train.lr", -1e-3, "a number of at least 0, not -0.001"),
        ("train.lr", float("nan"), "a number, not nan"),
        ("evaluate", {"batch_size": 0}, ".batch_size must be an integer of at least 1, not 0"),
        ("evaluate", {"max_items": 0}, ".max_items must be an integer of at least 1, not 0"),
    ],
)
def test_values_of_the_fixed_sections_are_checked(config, key, value, text):
    if key == "evaluate":  # the small config has no such section
        config.write_text(f"{SMALL}\nevaluate = {value!r}\n")
        assert error_of(config) == f"evaluate{text}."
    else:
        assert error_of(config, {key: value}) == f"{key} must be {text}."


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("train.lr_factors", [[1, "x"]], "[0][1] must be a number, not 'x'"),
        ("train.init", {"bottleneck": 5}, ".bottleneck must be a string, not 5"),
        ("train.groups", {"prior": 1.0}, ".prior must be a dict, not 1.0"),
        ("train.groups", {"prior": {"lr": "x"}}, ".prior.lr must be a number, not 'x'"),
        (
            "train.groups",
            {"prior": {"betas": [1, 1]}},
            ".prior.betas[0] must be a number of at most 0.999999, not 1",
        ),
        ("losses", {"x": None}, ".x must be a component, a dict with a 'type', not None"),
        ("train.hooks", [{}], "[0] must be a component, a dict with a 'type', not {}"),
        ("data.optional", ["train"], "[0] must be one of 'fit', 'test', not 'train'"),
    ],
)
def test_a_wrong_value_inside_another_is_named(config, key, value, text):
    assert error_of(config, {key: value}).startswith(f"{key}{text}.")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train.lr", 1),
        ("train.lr", 0),
        ("train.clip", None),
        ("train.clip", 1),
        ("train.ema", 0.5),
        ("train.lr_factors", []),
        ("train.groups", {"critic": {"weight_decay": 0.0}}),
        ("train.init", {"bottleneck": "other"}),
        ("data.prior_size", 1),
        ("data.test", None),
        ("data.workers", 0),
        ("train.log_every", 0),
    ],
)
def test_fitting_values_pass(config, key, value):
    cfg = load_config(config, {key: value})
    first, second = key.split(".")
    assert cfg[first][second] == value


@pytest.mark.parametrize("name", ["model", "losses"])
def test_model_and_losses_are_dicts(config, name):
    assert error_of(config, {name: 5}) == f"{config}: the section '{name}' must be a dict, not 5."


def test_a_config_needs_model_and_train(config):
    config.write_text("image_size = 3\n")
    assert error_of(config) == f"{config}: a config needs the sections 'model' and 'train'."


def test_broken_json(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"model": ')
    assert error_of(path) == (
        f"{path}: JSONDecodeError: Expecting value: line 1 column 11 (char 10)"
    )
    path.write_text("[1, 2]")
    assert error_of(path) == f"{path} is not a config: it has no sections."


def test_a_missing_file_suggests_its_neighbour(config):
    wrong = config.with_name("smal.py")
    assert error_of(wrong) == f"there is no config '{wrong}'. Did you mean '{config}'?"
    assert error_of("no_such_folder/x.py") == "there is no config 'no_such_folder/x.py'."


def test_a_missing_local_plugin(config):
    config.write_text(SMALL + 'plugins = ["no_such_module_of_mine"]\n')
    assert error_of(config) == (
        "plugins: cannot import 'no_such_module_of_mine': ModuleNotFoundError: No module named "
        "'no_such_module_of_mine'. Run from the folder that contains it, or add that folder to "
        "PYTHONPATH."
    )


def test_a_local_plugin_is_imported(config, tmp_path, monkeypatch):
    (tmp_path / "my_local_part.py").write_text(
        "from registry import LOSSES\n"
        "@LOSSES.register_module('losses/mine/nothing')\n"
        "class Nothing:\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config.write_text(SMALL + 'plugins = ["my_local_part"]\n')
    assert load_config(config, {"losses.points": {"type": "losses/mine/nothing"}})["plugins"]


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("train.lr=1e-3", "train.lr", 0.001),
        ("train.iterations=10", "train.iterations", 10),
        ("train.amp=true", "train.amp", True),
        ("train.amp=False", "train.amp", False),
        ("train.clip=none", "train.clip", None),
        ("a.type=encoders/stem", "a.type", "encoders/stem"),
        ("a.root=/data/x=y", "a.root", "/data/x=y"),
        ("a.betas=0.5,0.9", "a.betas", [0.5, 0.9]),
        ("a.betas=(0.5, 0.9)", "a.betas", [0.5, 0.9]),
        ("a.betas=[0.5, 0.9]", "a.betas", [0.5, 0.9]),
        ("a.include=S1,S5", "a.include", ["S1", "S5"]),
        ("a.name='1'", "a.name", "1"),
        ("a={'type': 'encoders/stem', 'width': 4}", "a", {"type": "encoders/stem", "width": 4}),
        ("a.empty=", "a.empty", ""),
    ],
)
def test_parse_options(word, key, value):
    parsed = parse_options([word])
    assert parsed == {key: value}
    assert type(parsed[key]) is type(value)


def test_an_option_without_a_value():
    with pytest.raises(ConfigError) as caught:
        parse_options(["train.amp"])
    assert str(caught.value) == "--cfg-options: 'train.amp' must have the form key=value."


def test_sections_have_their_defaults(config):
    cfg = load_config(config)
    assert section(cfg, "train") == Train(**cfg["train"])
    assert section(cfg, "data").workers == Data().workers == 0
    assert section(cfg, "evaluate") == Evaluate()


def test_a_shipped_config_has_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "factorized_video").mkdir()  # what a bare name means does not depend on the folder
    (tmp_path / "factorized_video.py").write_text(SMALL)
    by_name = load_config("factorized_video", {"image_size": 32})
    assert by_name == load_config(ROOT / "configs/factorized_video.py", {"image_size": 32})
    assert by_name["model"]["rasterizer"]["image_size"] == 32
    for path in ("factorized_video.py", "./factorized_video.py"):
        assert load_config(path)["image_size"] == 16
    (origin,) = load_config("keypointgan_puppets")["origins"]
    assert origin == "keypointgan_puppets_regressor"


@pytest.mark.parametrize(
    ("ref", "hint"),
    [
        ("factorized-video", " Did you mean 'factorized_video'?"),
        ("keypointgan_pupets", " Did you mean 'keypointgan_puppets'?"),
        ("smal", " Did you mean 'small.py'?"),
        ("smal.py", " Did you mean 'small.py'?"),
        ("configs/imm_puppets.py", " Did you mean the shipped config 'imm_puppets'?"),
    ],
)
def test_wrong_names(config, monkeypatch, ref, hint):
    monkeypatch.chdir(config.parent)
    assert error_of(ref) == f"there is no config '{ref}'.{hint}"


def test_a_config_beside_the_users_own_may_start_from_a_shipped_one(tmp_path):
    own = tmp_path / "mine.py"
    own.write_text((ROOT / "configs/keypointgan_puppets.py").read_text())
    assert load_config(own) == load_config("keypointgan_puppets")


def test_names_of_runs(tmp_path):
    assert config_name("imm_puppets") == config_name("a/imm_puppets.py") == "imm_puppets"
    assert config_name(tmp_path / "mice" / "config.json") == "mice"
