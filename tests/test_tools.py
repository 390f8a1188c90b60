"""The commands a user types, end to end on a tiny config: what they print, write and refuse."""

from __future__ import annotations

import csv
import json
import os
import re
import runpy
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from components.data.video import write_video
from registry import checkpoint, load_config
from registry.job import load_pipeline
from tests.runs import CONFIG, ROOT, environment, on_terminal, train_command, write_config

TOOLS = sorted((ROOT / "tools").glob("*.py"))
ITERATIONS = 6
# of the puppets, whose poses are the prior
LIMBS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
NAMES = ["pelvis", "neck", "head_top"]
NAMES += [f"{side}_{part}" for part in LIMBS for side in ("left", "right")]

# the run of tests/runs.py, whose bottleneck starts from a regressor of its own config
CHAINED = CONFIG.replace(
    "iterations=16,", f'iterations={ITERATIONS}, init=dict(bottleneck="tiny_regressor"),'
)
REGRESSOR = '''"""Tiny regressor."""
image_size = 32
edges = ((0, 1), (1, 2), (1, 3), (1, 4), (0, 9), (0, 10))
model = dict(
    type="pipelines/pose_autoencoder",
    rasterizer=dict(type="rasterizers/skeleton", edges=edges, image_size=image_size),
    bottleneck=dict(
        type="bottlenecks/skeleton_regressor",
        encoder=dict(type="encoders/stem", takes="pose_image", width=2, norm="instance",
                     out_channels=15)),
)
losses = dict(points=dict(type="losses/prior_points"))
data = dict(prior=dict(type="datasets/puppets", split="prior", image_size=image_size, clips=3))
train = dict(iterations=2, batch_size=4, lr=1e-2)
'''


def command(tool, *words):
    return [sys.executable, str(ROOT / "tools" / f"{tool}.py"), *map(str, words)]


def call(*words):
    """Run a command; its output is no terminal."""
    return subprocess.run(words, env=environment(), capture_output=True, text=True)


def inside(tool, *words, monkeypatch, capsys):
    """Run a tool in this process, without the seconds that importing torch takes."""
    monkeypatch.setattr(sys, "argv", [tool, *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(ROOT / "tools" / f"{tool}.py"), run_name="__main__")
    captured = capsys.readouterr()
    return subprocess.CompletedProcess(words, caught.value.code, captured.out, captured.err)


def assert_refused(done, *texts):
    """One line that says everything, and no traceback."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    lines = done.stderr.splitlines()
    (error,) = [line for line in lines if line.startswith("error: ")]
    assert lines[-1] == error
    for text in texts:
        assert str(text) in error
    return error


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One trained run with its regressor: config, work dir, and what the command printed.

    It printed its progress to stderr, which comes first here, and its result to stdout.
    """
    folder = tmp_path_factory.mktemp("tools")
    write_config(folder, "tiny_regressor.py", REGRESSOR)
    config, work = write_config(folder, text=CHAINED), folder / "runs/tiny"
    done = call(*train_command(config, work))
    assert done.returncode == 0, done.stderr
    return config, work, done.stderr + done.stdout


# training


@pytest.mark.parametrize("tool", TOOLS, ids=lambda path: path.stem)
def test_a_tool_is_an_executable_file(tool):
    assert os.access(tool, os.X_OK)
    assert tool.read_text().startswith("#!/usr/bin/env python\n")


def table_of(lines: list[str]) -> list[str]:
    """Return the lines of the table: up to the next empty one."""
    first = next(i for i, line in enumerate(lines) if line.startswith("protocol "))
    return lines[first : next((i for i in range(first, len(lines)) if not lines[i]), None)]


def test_train_prints_plain_lines_and_ends_with_the_table(run):
    _, work, output = run
    assert "\r" not in output
    assert "\x1b" not in output
    lines = output.splitlines()
    for i in range(1, ITERATIONS + 1):
        (line,) = [line for line in lines if line.startswith(f"[{i}/{ITERATIONS}] ")]
        assert re.search(
            r"\] pixel error \d\S*  \d+\.\d{3} s/it  \d:\d\d:\d\d left  "
            r"perceptual \d\S* \(undivided \d\S*\)  adversarial \d",
            line,
        )
    head, row, origin, missing, *winners = table_of(lines)
    assert origin == "direct: predict mean: the mean of data.train"
    assert missing == (
        "direct: nearest frame, ridge pixels, ridge blob, tracking: no annotated frames to learn "
        "from (data.fit)"
    )
    (scores,) = json.loads((work / "metrics.json").read_text())
    better = [name for name, v in scores["baselines"].items() if v and v < scores["value"]]
    assert winners == [
        f"direct: {name.replace('_', ' ')} is better than the trained model here: "
        f"{scores['baselines'][name]:.3f} against {scores['value']:.3f}"
        for name in better
    ]
    for word in ("protocol", "value", "95 % interval", "predict mean", "untrained", "crop"):
        assert word in head
    assert row.startswith("direct    keypoint_error  % of image  ")
    for name in ("predict_mean", "untrained"):
        assert f"{scores['baselines'][name]:.3f}" in row


def test_train_writes_its_folder(run):
    config, work, output = run
    assert json.loads((work / "config.json").read_text())["train"]["iterations"] == ITERATIONS
    assert load_config(work / "config.json")["model"] == load_config(config)["model"]

    records = [json.loads(line) for line in (work / "scalars.jsonl").read_text().splitlines()]
    assert [record["iteration"] for record in records] == list(range(1, ITERATIONS + 1))
    names = ("perceptual", "adversarial", "critic", "redraw", "points")
    for record in records:
        assert set(record) == {
            "iteration", "seconds_per_iteration", "loss", *(f"loss_{name}" for name in names),
            "pixel_error", "undivided_perceptual",
        }  # fmt: skip
        total = sum(record[f"loss_{name}"] for name in names)
        assert record["loss"] == pytest.approx(total, abs=1e-5)  # each is rounded to 6 digits

    log = [line.partition(" ")[2] for line in (work / "log.txt").read_text().splitlines()]
    printed = iter(output.splitlines())
    assert all(line in printed for line in log)  # all of it, in this order
    assert log[0] == "train.init: training tiny_regressor first"
    assert [line.split("]")[0] for line in log[-ITERATIONS:]] == [
        f"[{i}/{ITERATIONS}" for i in range(1, ITERATIONS + 1)
    ]

    (panel,) = (work / "panels").iterdir()
    assert panel.name == "0000006.png"
    with Image.open(panel) as picture:
        assert picture.size == (6 * 160, 24 + 6 * 160)  # titles, 6 rows of 6, 32 pixels 5 times
        assert picture.convert("RGB").getextrema() != ((0, 0),) * 3
    with Image.open(work / "curve.png") as picture:
        assert picture.size == (960, 520)
    with Image.open(work / "held_out.gif") as animation:
        assert animation.size == (3 * 256, 256)  # the last picture, landmarks, it in their pose
        assert animation.n_frames > 1

    state = checkpoint.load(work / "last.pth")
    assert state["iteration"] == ITERATIONS
    assert json.loads(state["config"]) == json.loads((work / "config.json").read_text())
    assert not list(work.rglob(".*"))  # nothing half written


def test_metrics_have_the_agreed_schema(run):
    _, work, _ = run
    (row,) = json.loads((work / "metrics.json").read_text())
    agreed = {"protocol", "metric", "unit", "value", "interval", "n", "baselines", "crop"}
    assert agreed <= set(row)
    competitors = ("nearest_frame", "ridge_pixels", "ridge_blob", "tracking")
    assert set(row["baselines"]) == {"predict_mean", *competitors, "untrained"}
    assert all(row["baselines"][name] is None for name in competitors)
    assert set(row["baseline_notes"]) == {"predict_mean", *competitors}
    assert (row["protocol"], row["metric"], row["unit"]) == (
        "direct", "keypoint_error", "% of image"
    )  # fmt: skip
    assert (row["n"], row["crop"], row["selection"]) == (8, "none", "last")
    low, high = row["interval"]
    assert 0 < low <= row["value"] <= high < 100
    assert row["baseline_notes"]["predict_mean"] == "the mean of data.train"


def test_the_origin_comes_first(run):
    _, work, output = run
    lines = output.splitlines()
    assert lines[0] == "train.init: training tiny_regressor first"
    origin = work.parent / "tiny_regressor"
    assert lines[1:3] == ["reading the data ...", "building the model ..."]
    assert lines[3].startswith(f"{origin}: ")
    assert checkpoint.load(origin / "last.pth")["iteration"] == 2


def test_resuming_a_finished_run_does_nothing(run):
    config, work, output = run
    kept = [work / "scalars.jsonl", work / "metrics.json", work.parent / "tiny_regressor/last.pth"]
    before = [path.read_bytes() for path in kept]
    written = kept[-1].stat().st_mtime_ns
    weights = checkpoint.load(work / "last.pth")["model"]
    done = call(*train_command(config, work, "--resume"))
    assert done.returncode == 0, done.stderr
    assert table_of(done.stdout.splitlines()) == table_of(output.splitlines())
    assert "train.init: training" not in done.stderr
    assert f"[{ITERATIONS}/" not in done.stderr
    assert [path.read_bytes() for path in kept] == before
    assert kept[-1].stat().st_mtime_ns == written
    after = checkpoint.load(work / "last.pth")["model"]
    assert all(torch.equal(after[key], weights[key]) for key in weights)


def test_a_terminal_shows_one_bar_and_the_part_starts_from_its_origin(run):
    config, work, _ = run
    other, columns = work.with_name("still"), 80
    options = ("train.lr=0", "train.iterations=2", "train.evaluate_every=2", "evaluate.max_items=2")
    val = "data.val={'type': 'datasets/puppets', 'split': 'test', 'clips': 1, 'image_size': 32}"
    words = train_command(config, other, "--cfg-options", *options, val)
    code, shown = on_terminal(words, columns)
    assert code == 0, shown
    assert "train.init: training" not in shown  # trained once is enough
    states = [state.strip() for state in shown.split("\r")]
    bars = [state for state in states if state.startswith("training: ")]
    assert re.match(r"training: \| +\| 0/2 it, \? s/it, 00:00, \? left$", bars[0])
    last = r"training: pixel error 0\.\d+ \|█+\| 2/2 it, \S+ s/it, \d\d:\d\d, 00:00 left"
    assert re.match(last, bars[-1])
    assert all(len(bar.split("\n")[0]) < columns for bar in bars)
    (validation,) = [state for state in states if "validation at 2: direct " in state]
    assert "\n" not in validation  # it stands alone: the bar goes on below
    assert any(state.startswith("evaluating on data.val: |") for state in states)
    assert any("evaluating on data.test: |█" in state for state in states)
    assert "predict mean" in shown
    log = (other / "log.txt").read_text()
    assert "points" in log.splitlines()[-2]  # whole lines there
    assert "\x1b" not in log

    # a rate of 0 leaves the weights that the run started from
    origin = checkpoint.load(work.parent / "tiny_regressor/last.pth")["model"]
    reached = checkpoint.load(other / "last.pth")["model"]
    names = [name for name in origin if name.startswith("pipeline.bottleneck.")]
    assert names
    assert all(torch.equal(reached[name], origin[name]) for name in names)
    assert checkpoint.load(other / "best.pth")["iteration"] == 2


def test_an_origin_of_other_settings_is_refused(run, tmp_path, monkeypatch, capsys):
    _, work, _ = run
    write_config(tmp_path, "tiny_regressor.py", REGRESSOR.replace("1e-2", "2e-2"))
    config = write_config(tmp_path, text=CHAINED)
    words = train_command(config, work.with_name("new"))[2:]
    done = inside("train", *words, monkeypatch=monkeypatch, capsys=capsys)
    origin = work.parent / "tiny_regressor"
    assert assert_refused(done) == (
        f"error: train.init: {origin} was trained with a different train.lr. Move that folder "
        f"away, or use a --work-dir in another folder."
    )
    assert not work.with_name("new").exists()


PLUGIN = """
import torch
from registry import LOSSES

@LOSSES.register_module("losses/mine/broken")
class Broken(torch.nn.Module):
    calls = 0
    def forward(self, outputs, batch):
        self.calls += 1
        return outputs.render.mean() * (float("nan") if self.calls == 5 else 0.0)
"""


def test_a_loss_that_is_not_finite(tmp_path):
    (tmp_path / "my_broken_loss.py").write_text(PLUGIN)
    points = 'points=dict(type="losses/prior_points"),'
    broken = 'broken=dict(type="losses/mine/broken"),'
    text = CONFIG.replace(points, f"{points} {broken}") + 'plugins = ["my_broken_loss"]\n'
    config, work = write_config(tmp_path, text=text), tmp_path / "work"
    env = {**environment(), "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(train_command(config, work), env=env, capture_output=True, text=True)
    assert_refused(done, "loss_broken is not finite. The last checkpoint is from before this step")
    assert "[4/16]" in done.stderr
    assert "[5/16]" not in done.stderr
    state = checkpoint.load(work / "last.pth")
    assert state["iteration"] == 3
    assert all(v.isfinite().all() for v in state["model"].values())
    load_pipeline(load_config(write_config(tmp_path, "same.py")), work / "last.pth")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_training_image_that_cannot_be_read(tmp_path, workers, monkeypatch, capsys):
    (tmp_path / "photos").mkdir()
    bad = tmp_path / "photos/a.jpg"
    bad.write_bytes(b"no image")
    data = {"type": "datasets/frames", "root": str(bad.parent), "image_size": 32, "pair": "same"}
    words = train_command(write_config(tmp_path), tmp_path / "work", "--cfg-options")[2:]
    options = (f"data.train={data!r}", f"data.workers={workers}")
    done = inside("train", *words, *options, monkeypatch=monkeypatch, capsys=capsys)
    assert assert_refused(done) == (
        f"error: '{bad}' cannot be decoded as an image. Copy or download it again, or move it away."
    )


def test_a_missing_training_folder(tmp_path):
    data = {"type": "datasets/frames", "root": str(tmp_path / "x"), "image_size": 32}
    words = train_command(write_config(tmp_path), tmp_path / "work", "--cfg-options")
    done = call(*words, f"data.train={data!r}")
    assert_refused(done, "data.train", f"no folder '{tmp_path / 'x'}'")


# evaluation


def test_evaluate_repeats_the_figures_of_the_run(run, tmp_path):
    _, work, output = run
    written = tmp_path / "rows.json"
    words = (work / "config.json", "--checkpoint", work / "last.pth", "--json", written)
    done = call(*command("evaluate", *words))
    assert done.returncode == 0, done.stderr
    assert table_of(done.stdout.splitlines()) == table_of(output.splitlines())
    (row,), (same,) = (json.loads(p.read_text()) for p in (written, work / "metrics.json"))
    assert row.keys() == same.keys()
    baselines = row.pop("baselines"), same.pop("baselines")
    given = [{k: v for k, v in each.items() if v is not None} for each in baselines]
    assert given[0] == pytest.approx(given[1], rel=1e-5)
    assert baselines[0].keys() == baselines[1].keys()
    for key in ("value", "interval"):
        assert row[key] == pytest.approx(same[key], rel=1e-5)
    for key in row.keys() - {"value", "interval"}:
        assert row[key] == same[key]


# prediction


def picture(seed, width, height):
    """Return smooth random colours: a photo of that size."""
    rng = np.random.default_rng(seed)
    return cv2.resize(rng.integers(0, 256, (5, 7, 3), np.uint8), (width, height))


def by_hand(work, frame):
    """Return the landmarks of one frame in its own pixels."""
    pipeline = load_pipeline(load_config(work / "config.json"), work / "last.pth").cpu()
    height, width = frame.shape[:2]
    small = cv2.resize(frame, (32, 32), interpolation=cv2.INTER_AREA)
    tensor = torch.tensor(small / 255.0, dtype=torch.float32).permute(2, 0, 1)[None]
    x, y = pipeline.predict(tensor).landmarks.xy[0].double().numpy().T
    return np.stack([(x + 1) * width / 2 - 0.5, (y + 1) * height / 2 - 0.5], axis=1)


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def assert_row(row, work, file, frame):
    height, width = frame.shape[:2]
    assert (row["file"], int(row["width"]), int(row["height"])) == (file, width, height)
    found = [[float(row[f"{name}_{a}"]) for a in "xy"] for name in NAMES]
    assert np.min(found) >= -0.5
    assert (np.max(found, axis=0) <= (width - 0.5, height - 0.5)).all()
    assert np.abs(found - by_hand(work, frame)).max() < 0.01
    return np.array(found)


def frames_of_video(path):
    capture, frames = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        frames.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
    return frames


def test_predict_on_an_image_a_folder_and_a_video(run, tmp_path):
    _, work, _ = run
    out, photos = tmp_path / "out", tmp_path / "photos"
    photos.mkdir()
    image, two, ten = picture(0, 80, 48), picture(1, 64, 96), picture(2, 40, 40)
    for path, pixels in (
        (tmp_path / "one.png", image), (photos / "f10.png", ten), (photos / "f2.bmp", two)
    ):  # fmt: skip
        assert cv2.imwrite(str(path), pixels[..., ::-1])
    (photos / "notes.txt").write_text("no image")
    write_video(tmp_path / "clip.mp4", [picture(seed, 64, 48) for seed in range(5)], fps=10)
    inputs = (tmp_path / "one.png", photos, tmp_path / "clip.mp4")
    words = (work / "last.pth", *inputs, "--out", out)
    done = call(*command("predict", *words, "--batch-size", 2))
    assert done.returncode == 0, done.stderr
    assert "\r" not in done.stderr
    assert f"{out}/clip_landmarks.csv: 5 frames, 15 landmarks" in done.stderr.splitlines()

    (row,) = rows_of(out / "one_landmarks.csv")
    points = assert_row(row, work, "one.png", image)
    drawn = cv2.imread(str(out / "one_landmarks.png"))[..., ::-1]
    assert drawn.shape == image.shape
    changed = (drawn != image).any(axis=2)
    for x, y in np.round(points).astype(int).clip(0, (79, 47)):
        assert changed[y, x]  # a dot is there
    assert not changed.all()

    rows = rows_of(out / "photos_landmarks.csv")  # 2 before 10
    assert len(rows) == 2
    assert_row(rows[0], work, "f2.bmp", two)
    assert_row(rows[1], work, "f10.png", ten)
    assert cv2.imread(str(out / "photos_landmarks/f2_landmarks.png")).shape == two.shape
    assert cv2.imread(str(out / "photos_landmarks/f10_landmarks.png")).shape == ten.shape
    assert sorted(path.name for path in (out / "photos_landmarks").iterdir()) == [
        "f10_landmarks.png",
        "f2_landmarks.png",
    ]

    frames = frames_of_video(tmp_path / "clip.mp4")
    rows = rows_of(out / "clip_landmarks.csv")
    assert len(rows) == len(frames) == 5
    for i, (row, frame) in enumerate(zip(rows, frames)):
        assert_row(row, work, f"clip/{i:06d}", frame)
    overlaid = frames_of_video(out / "clip_landmarks.mp4")
    assert [frame.shape for frame in overlaid] == [(48, 64, 3)] * 5
    capture = cv2.VideoCapture(str(out / "clip_landmarks.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(10)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.png", "there is no input '{}'. Give an image, a folder of images, or a video."),
        ("empty.mp4", "'{}' is empty (0 bytes). Copy or download it again, or move it away."),
        (
            "bad.png",
            "'{}' cannot be decoded as an image. Copy or download it again, or move it away.",
        ),
        ("nothing", "the folder '{}' has no images. Give images or a video."),
    ],
)
def test_predict_on_what_is_no_picture(run, tmp_path, name, text, monkeypatch, capsys):
    _, work, _ = run
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "bad.png").write_bytes(b"no image")
    (tmp_path / "nothing").mkdir()
    words = (work, tmp_path / name, "--out", tmp_path / "out")
    done = inside("predict", *words, monkeypatch=monkeypatch, capsys=capsys)
    assert assert_refused(done) == f"error: {text.format(tmp_path / name)}"
    assert not list((tmp_path / "out").glob("*"))


def test_predict_never_replaces_an_input_or_a_result(run, tmp_path, monkeypatch, capsys):
    _, work, _ = run
    for name in ("a.png", "a_landmarks.png", "b/a.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(tmp_path / name), picture(3, 32, 32))
    before = (tmp_path / "a_landmarks.png").read_bytes()
    model = (work, "--out")
    for out, inputs, clash in (
        (tmp_path, ("a.png", "a_landmarks.png"), tmp_path / "a_landmarks.png"),
        (tmp_path / "out", ("a.png", "b/a.jpg"), tmp_path / "out/a_landmarks.png"),
    ):
        words = (*model, out, *(tmp_path / name for name in inputs))
        done = inside("predict", *words, monkeypatch=monkeypatch, capsys=capsys)
        assert_refused(done, f"'{clash}' is an input, or the result of another one.")
    assert (tmp_path / "a_landmarks.png").read_bytes() == before


def test_predict_needs_a_model_of_images(run, tmp_path, monkeypatch, capsys):
    _, work, _ = run
    origin = work.parent / "tiny_regressor"
    words = (origin, tmp_path, "--out", tmp_path)
    done = inside("predict", *words, monkeypatch=monkeypatch, capsys=capsys)
    assert_refused(done, f"{origin} does not find landmarks in images")


def test_a_run_is_not_overwritten(run, monkeypatch, capsys):
    config, work, _ = run
    before = (work / "last.pth").read_bytes()
    done = inside("train", *train_command(config, work)[2:], monkeypatch=monkeypatch, capsys=capsys)
    assert assert_refused(done) == (
        f"error: {work} already holds a run. Add --resume (in Python: resume='auto') to "
        f"continue it, give another --work-dir, or move it away."
    )
    assert (work / "last.pth").read_bytes() == before
