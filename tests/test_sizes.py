"""One image size: that of data sets and of what draws; two that differ are refused."""

from pathlib import Path

import pytest

from registry import load_config
from registry.build import build_model
from registry.errors import ConfigError
from registry.job import Job
from registry.sizes import image_size
from zoo import describe

CONFIGS = Path(__file__).parents[1] / "configs"


def config(**places):
    """As a resolved config is: a rasterizer and two data sets, of 64 unless said otherwise."""
    size = {"drawn": 64, "train": 64, "test": 64, **places}
    return {
        "image_size": 64,  # decides nothing any more
        "model": {"rasterizer": {"type": "rasterizers/gaussian", "image_size": size["drawn"]}},
        "data": {
            "train": {"type": "datasets/standin", "image_size": size["train"]},
            "val": None,
            "test": {
                "type": "datasets/clips",
                "frame_dataset": {"type": "datasets/puppets", "image_size": size["test"]},
            },
        },
    }


def test_it_is_what_the_places_say_not_the_number_at_the_top():
    assert image_size(config()) == 64
    assert image_size(config(drawn=128, train=128, test=128)) == 128


@pytest.mark.parametrize(
    ("places", "first", "second"),
    [
        ({"drawn": 128}, "model.rasterizer.image_size is 128", "data.train.image_size is 64"),
        ({"train": 32}, "model.rasterizer.image_size is 64", "data.train.image_size is 32"),
        ({"test": 96}, "model.rasterizer.image_size is 64", "data.test.frame_dataset.image_size"),
    ],
)
def test_two_sizes_are_refused_with_both_places_and_a_fix(places, first, second):
    with pytest.raises(ConfigError, match="Set image_size=") as caught:
        image_size(config(**places))
    assert first in str(caught.value)
    assert second in str(caught.value)


def test_defaults_count_and_the_prior_which_gives_poses_alone_does_not():
    cfg = config(drawn=128, train=128, test=128)
    cfg["data"]["train"] = {"type": "datasets/bbc_pose"}  # 128 by default
    cfg["data"]["prior"] = {"type": "datasets/puppets", "image_size": 8}
    assert image_size(cfg) == 128
    cfg["model"]["rasterizer"]["image_size"] = 64
    with pytest.raises(ConfigError, match=r"data\.train\.image_size is 128"):
        image_size(cfg)
    assert image_size({"model": {"type": "pipelines/x"}, "data": {}}) is None


def test_a_package_takes_the_size_of_the_places():
    path = CONFIGS / "factorized_puppets.py"
    places = ("model.rasterizer", "data.train", "data.val", "data.fit", "data.test")
    cfg = load_config(path, {f"{place}.image_size": 128 for place in places})
    assert cfg["image_size"] == 64
    assert image_size(cfg) == 128

    preprocess, keypoints = describe.images_and_keypoints(build_model(cfg, to_fill=True), cfg)
    assert preprocess["image_size"] == 128
    assert keypoints["count"] == cfg["num_landmarks"]


def test_a_run_of_two_sizes_does_not_start(tmp_path):
    cfg = load_config(CONFIGS / "imm_puppets.py", {"data.train.image_size": 32})
    with pytest.raises(ConfigError, match=r"data\.train\.image_size is 32"):
        Job(cfg, tmp_path)
