"""registry.build: trees of parts from trees of dicts, and the exact text of each error."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from components.encoders.stem import Stem
from registry import BOTTLENECKS, ENCODERS, ROLES, ConfigError, build, load_config
from registry.build import build_model
from registry.errors import did_you_mean

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(path.name for path in (ROOT / "configs").glob("*.py"))
STEM = dict(type="encoders/stem", takes="pose_image", out_channels=3, width=2)


def error_of(cfg, path="model", role=None):
    with pytest.raises(ConfigError) as caught:
        build(cfg, path, role)
    return str(caught.value)


def test_children_are_built_first_and_numbers_stay():
    regressor = build({"type": "bottlenecks/skeleton_regressor", "encoder": STEM})
    assert isinstance(regressor.encoder, Stem)
    assert regressor.encoder.out_channels == 3
    assert regressor(torch.zeros(2, 1, 16, 16)).xy.shape == (2, 3, 2)


def test_lists_tuples_and_plain_dicts_are_built_entry_by_entry():
    built = build({"a": [STEM, 1], "b": (STEM, "x"), "c": {"d": None}})
    assert isinstance(built["a"][0], Stem)
    assert built["a"][1] == 1
    assert isinstance(built["b"], tuple)
    assert isinstance(built["b"][0], Stem)
    assert built["b"][1] == "x"
    assert built["c"] == {"d": None}


def test_building_does_not_change_the_config():
    cfg = {"type": "bottlenecks/skeleton_regressor", "encoder": dict(STEM)}
    before = json.dumps(cfg)
    build(cfg)
    assert json.dumps(cfg) == before


def test_a_registry_builds_as_users_of_mmengine_expect():
    assert isinstance(ENCODERS.build(STEM), Stem)
    with pytest.raises(ConfigError) as caught:
        BOTTLENECKS.build(STEM)
    assert str(caught.value) == (
        "bottleneck: must be one of bottlenecks, but 'encoders/stem' is one of encoders."
    )


def test_components_work_without_the_registry():
    assert isinstance(Stem(width=2, out_channels=3), nn.Module)


def test_unknown_name():
    encoder = {"type": "encoders/stemm"}
    bottleneck = {"type": "bottlenecks/skeleton_regressor", "encoder": encoder}
    parts = {"rasterizer": nn.Identity(), "bottleneck": bottleneck}
    assert error_of({"type": "pipelines/pose_autoencoder", **parts}) == (
        "model.bottleneck.encoder: there is no encoder 'encoders/stemm'. "
        "Did you mean 'encoders/stem'?"
    )


def test_unknown_name_without_a_near_one_lists_what_is_there():
    known = ROLES["rasterizers"].names()
    more = ", ..." if len(known) > 12 else ""
    assert error_of({"type": "rasterizers/zzz"}) == (
        f"model: there is no rasterizer 'rasterizers/zzz'. Known: {', '.join(known[:12])}{more}."
    )


def test_unknown_role():
    assert error_of({"type": "encoder/stem"}) == (
        "model: unknown role 'encoder' in 'encoder/stem'. Did you mean 'encoders'?"
    )


def test_misspelt_argument():
    assert error_of({"type": "encoders/stem", "widht": 2}, "model.encoder") == (
        "model.encoder: encoders/stem has no argument 'widht'. Did you mean 'width'?"
    )


def test_misspelt_argument_is_found_before_anything_is_built():
    # the encoder inside would fail too, but later
    cfg = {"type": "bottlenecks/skeleton_regressor", "encoder": {"type": "no/such"}, "gird": 1}
    assert error_of(cfg) == (
        "model: bottlenecks/skeleton_regressor has no argument 'gird'. Did you mean 'grid'?"
    )


def test_missing_arguments():
    assert error_of({"type": "rasterizers/skeleton"}, "model.rasterizer") == (
        "model.rasterizer: rasterizers/skeleton needs 'edges', 'image_size'."
    )


def test_wrong_role_in_a_slot():
    cfg = {
        "type": "bottlenecks/skeleton_regressor",
        "encoder": {"type": "rasterizers/skeleton", "edges": [[0, 1]], "image_size": 8},
    }
    assert error_of(cfg) == (
        "model.encoder: must be one of encoders, but 'rasterizers/skeleton' is one of rasterizers."
    )
    assert error_of(STEM, "model", "pipelines") == (
        "model: must be one of pipelines, but 'encoders/stem' is one of encoders."
    )
    assert error_of([STEM], "data.transforms", "transforms") == (
        "data.transforms[0]: must be one of transforms, but 'encoders/stem' is one of encoders."
    )


def test_wrong_role_of_a_registry():
    with pytest.raises(ConfigError) as caught:
        ENCODERS.get("rasterizers/skeleton")
    assert str(caught.value) == "'rasterizers/skeleton' is one of rasterizers, not of encoders."


@pytest.mark.parametrize(
    "name", ["os.getcwd", "torch.nn.Linear", "components.encoders.stem.Stem", Stem, 3, None]
)
def test_import_paths_are_never_called(name):
    assert error_of({"type": name}, "model.encoder", "encoders") == (
        f"model.encoder: type {name!r} is not a registered name. Names look like 'encoders/...'; "
        "import paths are not accepted."
    )


@pytest.mark.parametrize("name", ["encoders/os.getcwd", "encoders/../losses/redraw", "encoders/"])
def test_a_role_before_an_import_path_does_not_help(name):
    assert error_of({"type": name}).startswith(f"model: there is no encoder '{name}'.")


def test_failing_constructor_names_its_place():
    assert error_of({"type": "rasterizers/skeleton", "edges": [], "image_size": 8}, "model.r") == (
        "model.r: rasterizers/skeleton: ValueError: edges is empty; set at least one limb, for "
        "example edges=((0, 1),)."
    )


def test_a_constructor_s_own_config_error_gets_the_place_too():
    cfg = {"type": "losses/perceptual", "weights": "no/such.pth"}
    assert error_of({"perceptual": cfg}, "losses", "losses") == (
        "losses.perceptual: losses/perceptual: no VGG19 weights at 'no/such.pth'. Set "
        "weights= to 'torchvision' or the path of a downloaded vgg19 .pth, .safetensors or "
        "imagenet-vgg-verydeep-19.mat."
    )


def test_suggestions():
    assert did_you_mean("widht", ["width", "depth"]) == " Did you mean 'width'?"
    assert did_you_mean("zzz", ["width", "depth"]) == " Known: depth, width."
    assert did_you_mean("zzz", []) == ""
    assert did_you_mean("losses/citric", ["losses/redraw", "losses/critic"]) == (
        " Did you mean 'losses/critic'?"
    )
    assert did_you_mean("losses/zzz", ["losses/redraw"]) == " Known: losses/redraw."
    many = [f"a{i:02d}" for i in range(13)]
    assert did_you_mean("zzz", many) == f" Known: {', '.join(many[:12])}, ...."


@pytest.mark.parametrize("name", CONFIGS)
def test_the_saved_json_alone_builds_the_same_model(name, tmp_path):
    cfg = load_config(ROOT / "configs" / name)
    (tmp_path / "config.json").write_text(json.dumps(cfg))
    again = load_config(tmp_path / "config.json")
    assert again == cfg
    with torch.device("meta"):
        model, twin = build_model(cfg), build_model(again)
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    assert {key: value.shape for key, value in twin.state_dict().items()} == shapes
    assert shapes


def test_an_argument_of_few_words_takes_only_those():
    """A misspelt choice must not build another network."""
    cfg = dict(type="encoders/stem", norm="bacth")
    with pytest.raises(ConfigError) as caught:
        build(cfg, "model.encoder")
    assert str(caught.value) == (
        "model.encoder.norm of encoders/stem must be one of 'batch', 'instance', 'none', not "
        "'bacth'. "
        "Did you mean 'batch'?"
    )
