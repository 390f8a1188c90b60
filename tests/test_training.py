"""Training from Python: what it reports, draws and sums up, and what a refused resume leaves."""

from __future__ import annotations

import json
import math
import shlex
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import registry
from components.data.video import write_video
from components.drawing import curve
from components.hooks.summary import left_out
from components.losses.perceptual import Perceptual
from registry import ConfigError, checkpoint, load_config
from registry.contract import Outputs
from registry.runner import Interrupted, Loop, resume_command, run, train
from registry.trainee import Trainee
from tests.runs import CONFIG, ROOT, write_config

# what is reported


class Grey(torch.nn.Module):
    """A pipeline that renders one grey."""

    def __init__(self, value):
        super().__init__()
        self.value = torch.nn.Parameter(torch.tensor(value))

    def forward(self, batch):
        return Outputs(render=self.value.expand_as(batch.target))


class Divided(torch.nn.Module):
    undivided = torch.tensor(7.0)

    def forward(self, outputs, batch):
        return outputs.render.mean()


def test_pixel_error_and_undivided_errors_are_shown_and_not_minimised():
    """Half of the picture is 0.1 off, the other half 0.3: 0.2 on average."""
    trainee = Trainee(Grey(0.6), {"a": Divided()}, [])
    image = torch.full((2, 4, 4, 3), round(0.5 * 255), dtype=torch.uint8)
    image[:, :2] = round(0.3 * 255)
    found = trainee(target=image)
    assert set(found) == {"loss_a", "pixel_error", "undivided_a"}
    assert not found["pixel_error"].requires_grad
    total, shown = trainee.parse_losses(found)
    assert total.item() == pytest.approx(0.6)
    assert shown["pixel_error"] == pytest.approx(0.2, abs=0.002)  # of 8-bit colours
    assert shown["undivided_a"] == 7
    assert shown["loss"] == total


def test_perceptual_reports_its_error_before_it_is_divided():
    """Colours 0.1, then 0.2 off: errors 0.04 and 0.16 in [-1, 1], running mean 0.04 and 0.0412."""
    loss = Perceptual(weights="random", width=2, taps=("input",), input_range="signed", weight=10.0)
    target = torch.full((1, 3, 8, 8), 0.5)
    values = []
    for off, error in ((0.1, 0.04), (0.2, 0.16)):
        batch = SimpleNamespace(target=target, weight=None)
        values.append(loss(Outputs(render=target + off), batch).item())
        assert loss.undivided.item() == pytest.approx(error, rel=1e-4)
    assert values == pytest.approx([10.0, 10 * 0.16 / 0.0412], rel=1e-4)
    fixed = Perceptual(weights="random", width=2, taps=("input",), tap_weights=(1.0,))
    fixed(Outputs(render=target), SimpleNamespace(target=target, weight=None))
    assert fixed.undivided is None  # nothing is divided


# the picture


def test_a_curve_stands_where_the_logarithm_says():
    """From 1 to 100 over 200 iterations: at iteration 100 it is at 10, half-way up."""
    points = [(0, 1.0), (200, 100.0)]
    picture = curve({"pixel error": points, "negative": [(1, -1.0), (2, math.nan)]}, "run", [50])
    assert picture.shape == (520, 960, 3)
    red = (picture[..., 0] > 120) & (picture[..., 1] < 60) & (picture[..., 2] < 60)
    box = red[40:471, 80:721]
    rows, columns = box.nonzero()
    middle = rows[columns == 320].mean()
    assert middle == pytest.approx(215, abs=2)
    # 0.05 decades are left free below and above
    assert rows[columns <= 2].mean() == pytest.approx(430 * 2.05 / 2.1, abs=3)
    assert rows[columns >= 638].mean() == pytest.approx(430 * 0.05 / 2.1, abs=3)
    assert red[:, 728:].any()  # its name and last value at its end
    dashes = (picture[60:450, 80 + 160] == 150).all(axis=-1)
    assert 0.4 < dashes.mean() < 0.8  # the mark at iteration 50


@pytest.mark.parametrize("lines", [{}, {"one": [(50, 0.2)]}, {"zero": [(1, 0.0), (2, 0.0)]}])
def test_a_curve_of_little_is_a_picture(lines):
    assert curve(lines, "run").shape == (520, 960, 3)


# a run


@pytest.fixture(scope="module")
def video_run(tmp_path_factory):
    """A run on a video without labels, by the path of its config, in another thread."""
    folder = tmp_path_factory.mktemp("video")
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(6)]
    write_video(folder / "mouse.mp4", frames, fps=10)
    text = (ROOT / "configs/factorized_video.py").read_text()
    for old, new in (
        ("data/video/train", f"{folder}/mouse.mp4"), ("width = 16", "width = 4"),
        ("image_size = 64", "image_size = 32"), ("iterations=1100", "iterations=4"),
        ("batch_size=8", "batch_size=2"),
        ("lr_factors=((750, 1.0), (1100, 0.02)), panels_every=250", "log_every=2, panels_every=2"),
    ):  # fmt: skip
        assert old in text
        text = text.replace(old, new)
    config = write_config(folder, "mice.py", text)
    found = []

    def work():
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            found.append(run(str(config)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return folder, found[0]


def test_a_run_without_labels_says_what_it_works_on_and_what_is_left_out(video_run):
    folder, job = video_run
    work = folder / "work_dirs/mice"
    assert job.work_dir == Path("work_dirs/mice")
    log = [line.partition(" ")[2] for line in (work / "log.txt").read_text().splitlines()]
    assert "M trained parameters on " in log[0]
    assert "MB of memory" in log[0] or "GB of GPU memory" in log[0]
    assert log[1] == "data.train: 1 clip, 6 frames, 64 x 48 to 32 x 32, stretched"
    assert log[2:4] == ["iterations 0 to 4, 2 items each", "learning rate 0.001"]
    assert "curve in work_dirs/mice/curve.png, every 2 iterations a panel" in log[4]
    assert log[5].startswith("perceptual: divided by its own running mean")
    assert log[6] == (
        "left out: no scores: there is no data/video/test and no data/video/test.csv (data.test)"
    )
    assert [line.split(" ")[0] for line in log[7:]] == ["[2/4]", "[4/4]"]


def test_a_run_without_labels_ends_with_pictures_and_the_next_commands(video_run):
    folder, job = video_run
    work = folder / "work_dirs/mice"
    with Image.open(work / "training_frames.gif") as animation:
        assert animation.n_frames == 6
    assert not (work / "held_out.gif").exists()  # they are frames of training
    assert not (work / "metrics.json").exists()
    lines = job.summary.splitlines()
    assert lines[0].startswith("work_dirs/mice: 4 iterations done, ")
    assert job.rows == []
    (error,) = [line for line in lines if line.startswith("pixel error (mean |render - target|")]
    records = [json.loads(line) for line in (work / "scalars.jsonl").read_text().splitlines()]
    first, last = (record["pixel_error"] for record in records)
    assert error.endswith(f": {first:.4g} at first, {last:.4g} in the end")
    for name in ("curve.png", "training_frames.gif", "panels/0000004.png"):
        assert [line for line in lines if line.startswith(f"  work_dirs/mice/{name}: ")]
    assert lines[lines.index("next:") + 1 :] == [
        "  keypoint-zoo predict work_dirs/mice YOUR_VIDEO --out results/",
        "  keypoint-zoo animate work_dirs/mice PICTURE YOUR_VIDEO --out animation.mp4",
        "  keypoint-zoo publish work_dirs/mice --license YOUR_LICENSE --dry-run",
    ]


def test_twice_in_one_process_with_scores_printed(tmp_path, capsys):
    cfg = load_config(write_config(tmp_path), {"train.iterations": 2})
    for name in ("a", "b"):
        job = registry.train(cfg, tmp_path / name)
        out = capsys.readouterr().out
        assert out == f"{job.summary}\n"
        (row,) = job.rows
        assert json.loads((tmp_path / name / "metrics.json").read_text()) == [row]
        assert f"{row['value']:.3f}" in out
        assert (tmp_path / name / "held_out.gif").is_file()
        assert (tmp_path / name / "curve.png").is_file()
    a, b = (checkpoint.load(tmp_path / name / "last.pth")["model"] for name in ("a", "b"))
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_a_resolved_config_needs_a_folder(tmp_path):
    with pytest.raises(ConfigError, match="a resolved config has no name"):
        registry.train(load_config(write_config(tmp_path)))


# resuming


def test_an_interrupted_run_has_its_curve_and_says_how_to_go_on(tmp_path, monkeypatch):
    cfg = load_config(write_config(tmp_path))
    monkeypatch.setattr(Loop, "_stop_asked", lambda loop: loop.iter == 5)
    with pytest.raises(Interrupted) as caught:
        run(cfg, tmp_path / "work")
    last = tmp_path / "work/last.pth"
    assert caught.value.checkpoint == last
    assert str(caught.value) == (
        f"Stopped; {last} is complete. To resume, repeat the call with resume='auto'."
    )
    assert (tmp_path / "work/curve.png").is_file()
    assert checkpoint.load(last)["iteration"] == 5


def test_the_resume_command_survives_a_shell():
    value = "data.train={'type': 'datasets/frames', 'root': 'my $mice'}"
    command = resume_command("my configs/a.py", "runs/a b", "--amp", options=[value])
    words = subprocess.run(
        ["sh", "-c", f"printf '%s\\n' {command}"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert words == shlex.split(command)
    assert words[:4] == ["keypoint-zoo", "train", "my configs/a.py", "--work-dir"]
    assert words[4:] == ["runs/a b", "--amp", "--resume", "--cfg-options", value]


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_refused_resume_changes_nothing(tmp_path):
    config, work = write_config(tmp_path), tmp_path / "work"
    train(load_config(config, {"train.iterations": 3}), work)
    before = contents(work)
    for options, message in (
        (
            {"train.iterations": 2},
            "is at iteration 3, beyond train.iterations=2. Raise train.iterations.",
        ),
        ({"train.seed": 7}, "was trained with a different train.seed"),
        ({"train.iterations": 9, "train.groups": {"x": {}}}, "'x' must be one of the groups"),
    ):
        with pytest.raises(ConfigError, match=message):
            train(load_config(config, options), work, resume="auto")
        assert contents(work) == before


def test_more_iterations_are_kept_in_the_config_and_said(tmp_path):
    config, work = write_config(tmp_path), tmp_path / "work"
    train(load_config(config, {"train.iterations": 4}), work)
    train(load_config(config, {"train.iterations": 8}), work, resume="auto")
    saved = json.loads((work / "config.json").read_text())["train"]
    assert (saved["iterations"], saved["lr_factors"]) == (8, [[2, 1.0], [8, 0.1]])
    log = (work / "log.txt").read_text()
    # at iteration 4 of 8 a third of the way from 1 to 0.1; the run of 4 ended there
    assert (
        "train.lr_factors was [[1, 1.0], [4, 0.1]] up to iteration 4; from there on the "
        "learning rate is multiplied by 0.7 instead of 0.1"
    ) in log
    # and the run of 8 goes on from its own config.json without a word
    train(load_config(work / "config.json"), work, resume="auto")
    assert (work / "log.txt").read_text().count("train.lr_factors was") == 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [[4, 1.0], [16, 0.1]]),
        ({"train.iterations": 8}, [[2, 1.0], [8, 0.1]]),
        ({"train.iterations": 160}, [[40, 1.0], [160, 0.1]]),
        ({"train.iterations": 8, "train.lr_factors": [[1, 0.5]]}, [[1, 0.5]]),
    ],
)
def test_the_learning_rate_goes_along_with_the_number_of_iterations(tmp_path, options, expected):
    assert load_config(write_config(tmp_path), options)["train"]["lr_factors"] == expected


def test_a_rate_that_is_not_lowered_in_time_is_said(tmp_path):
    text = CONFIG.replace("((4, 1.0), (16, 0.1))", "((4, 1.0), (32, 0.5))")
    train(load_config(write_config(tmp_path, text=text.replace("=16,", "=2,"))), tmp_path / "work")
    assert (
        "learning rate 0.001 times 1 at iteration 4, 0.5 at iteration 32 (train.lr_factors): at "
        "the end of the run, which comes before, times 1\n"
    ) in (tmp_path / "work/log.txt").read_text()


@pytest.mark.parametrize(
    ("scored", "notes", "expected"),
    [
        (True, [], []),
        (True, ["no regression: x"], ["left out: no regression: x"]),
        (False, [], ["left out: no scores: the config has no evaluate section"]),
    ],
)
def test_what_is_left_out_is_said(scored, notes, expected):
    assert left_out(SimpleNamespace(scored=scored, left_out=notes)) == expected
