"""Data sets that not everybody has: what is left out is said, what was asked for is required."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from components.data.video import write_video
from registry import ConfigError, load_config
from registry.config import Data, section
from registry.evaluation import applicable, build_metrics, evaluate, table
from registry.job import Job
from registry.loading import Datasets
from registry.runner import train
from tests.runs import ROOT, write_config

CONFIG = '''"""Tiny pipeline on one's own clips."""
image_size = 32
model = dict(
    type="pipelines/reconstruction",
    encoder=dict(type="encoders/stem", width=2, out_channels=3),
    bottleneck=dict(type="bottlenecks/gaussian", covariance="fixed"),
    rasterizer=dict(type="rasterizers/gaussian", image_size=image_size),
    appearance_encoder=dict(type="encoders/stem", width=2, out_channels=4),
    decoder=dict(
        type="decoders/conditional", width=2, appearance_channels=4,
        pose_encoder=dict(type="encoders/stem", width=2, out_channels=4)),
)
losses = dict(pixel=dict(type="losses/pixel"))
data = dict(
    train=dict(type="datasets/frames", root="data/video/train", image_size=image_size),
    fit=dict(type="datasets/frames", root="data/video/labelled", image_size=image_size,
             annotations="data/video/labelled.csv", labelled_only=True, pair="same"),
    test=dict(type="datasets/frames", root="data/video/test", image_size=image_size,
              annotations="data/video/test.csv", labelled_only=True, pair="same"),
    optional=("fit", "test"),
)
train = dict(iterations=1, batch_size=2, lr=1e-3)
evaluate = dict(metrics=dict(
    regression=dict(type="metrics/regression"),
    l1=dict(type="metrics/l1")))
'''
NO_TEST = "no scores: there is no data/video/test and no data/video/test.csv (data.test)"
NO_FIT = "no regression: there is no data/video/labelled and no data/video/labelled.csv (data.fit)"


def clip(folder, frames=3):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(frames):
        cv2.imwrite(str(folder / f"{i}.png"), rng.integers(0, 255, (32, 32, 3), np.uint8))


def labels(file, frames=3):
    rows = [f"{i}.png,{3 + i},{4 + 2 * i},{9 - i},{7 + i * i}" for i in range(frames)]
    file.write_text("\n".join(["file,x0,y0,x1,y1", *rows]) + "\n")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clip(tmp_path / "data/video/train/a")
    write_config(tmp_path, "mine.py", CONFIG)
    return tmp_path


def job(here, **options):
    return Job(load_config("mine.py", {k.replace("__", "."): v for k, v in options.items()}), here)


def test_without_labels_nothing_is_scored_and_it_is_said(here):
    run = job(here)
    assert run.left_out == [NO_TEST]
    assert not run.scored
    assert run.score() == []
    with pytest.raises(ConfigError) as caught:
        evaluate(run.trainee.pipeline, run.cfg, "last")
    assert str(caught.value) == f"nothing to evaluate: {NO_TEST}."


def test_without_fit_the_metrics_that_need_it_are_left_out(here):
    clip(here / "data/video/test/b")
    labels(here / "data/video/test.csv")
    run = job(here)
    assert run.left_out == [NO_FIT]
    (row,) = rows = run.score()
    assert (row["protocol"], row["left_out"]) == ("l1", [NO_FIT])
    assert table(rows).splitlines()[-1] == NO_FIT


def test_with_labels_all_is_scored(here):
    for name in ("labelled", "test"):
        clip(here / f"data/video/{name}/b")
        labels(here / f"data/video/{name}.csv")
    run = job(here)
    assert (run.left_out, run.scored) == ([], True)
    rows = run.score()
    assert [row["protocol"] for row in rows] == ["regression", "l1"]
    assert not any("left_out" in row for row in rows)


def test_half_of_a_labelled_set_is_a_mistake(here):
    clip(here / "data/video/test/b")  # without its table
    with pytest.raises(ConfigError, match=r"data.test: .*data/video/test.csv"):
        job(here)


@pytest.mark.parametrize(
    "options",
    [
        {"data__test__root": "data/vidoe/test"},
        {"data__fit__annotations": "my/labels.csv", "data__test": None},
    ],
)
def test_what_an_option_names_must_be_there(here, options):
    cfg = load_config("mine.py", {k.replace("__", "."): v for k, v in options.items()})
    wanted = next(iter(options)).split("__")[1]
    assert wanted not in cfg["data"]["optional"]
    with pytest.raises(ConfigError, match=rf"data.{wanted}: "):
        Datasets(Data(**cfg["data"]))(wanted)


def test_what_a_data_file_names_must_be_there(here):
    write_config(here, "other.py", CONFIG.replace('    optional=("fit", "test"),\n', ""))
    cfg = load_config("mine.py", data="other.py")
    with pytest.raises(ConfigError, match=r"data\.test: "):
        Job(cfg, here)


def test_no_data_set_in_the_config(here):
    run = job(here, data__test=None)
    assert run.left_out == ["no scores: the config has no data.test"]
    assert job(here, evaluate={}).left_out == []  # nothing was to be scored


def test_only_labels_are_optional(here):
    with pytest.raises(
        ConfigError, match=r"data.optional\[0\] must be one of 'fit', 'test', not 'train'.$"
    ):
        load_config("mine.py", {"data.optional": ["train"]})


def test_training_without_labels_draws_the_frames_of_training(here):
    run = train(load_config("mine.py", {"train.panels_every": 1}), here / "run")
    assert run.score() == []
    assert list((here / "run").rglob("*.png"))
    assert not (here / "run/metrics.json").exists()


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs").glob("*_video.py")), ids=lambda p: p.stem
)
def test_every_video_config_starts_from_one_clip_alone(path, tmp_path, monkeypatch):
    """One option, one file: that is read, by the origin too, and labels are not needed."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (24, 32, 3), np.uint8) for _ in range(34)]
    write_video(tmp_path / "clip.mp4", frames, fps=10)
    cfg = load_config(path.stem, {"data.train.root": "clip.mp4"})
    origins = [c for c in cfg.get("origins", {}).values() if c["data"].get("train")]
    for one in (cfg, *origins):
        datasets = Datasets(section(one, "data"))
        assert len(datasets("train")) in (1, 34)  # clips, or frames
        sample = datasets("train").sample(0, rng)
        image = sample.get("target", sample.get("frames"))
        assert image.shape[-3:-1] == (one["image_size"],) * 2
        metrics, notes = applicable(build_metrics(one), datasets)
        assert metrics == {}
        assert notes == [f"no scores: {datasets.absence('test')}"]
        assert "data/video/test" in notes[0]
