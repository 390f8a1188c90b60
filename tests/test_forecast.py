"""Video prediction: landmark states, predictors, the pipeline, its cache and its baselines."""

from __future__ import annotations

import io
import json
import math
import os
import runpy
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from components.data.state_cache import load_states, save_states
from components.data.states import StateClips
from components.ops.states import constant_velocity, from_states, to_states
from registry import ConfigError, build, load_config
from registry.contract import Batch, Outputs
from registry.evaluation import evaluate, table
from registry.job import Job, load_pipeline
from registry.loading import Cache, Draws, collate, frames_of, to_batch
from registry.runner import prepare, train
from tests.runs import ROOT, train_command, write_config

ORIGIN = '''"""Tiny factorized model."""
image_size = 32
num_landmarks = 3
model = dict(
    type="pipelines/reconstruction",
    encoder=dict(type="encoders/unet", num_landmarks=num_landmarks, first=2, widths=(8, 8, 4)),
    bottleneck=dict(type="bottlenecks/gaussian"),
    rasterizer=dict(type="rasterizers/gaussian", image_size=image_size),
    appearance_encoder=dict(type="encoders/part_appearance", num_landmarks=num_landmarks,
                            features=8, out_channels=5, widths=(4,)),
    decoder=dict(type="decoders/spade", num_landmarks=num_landmarks, appearance_channels=5,
                 width=2, hidden=4),
)
losses = dict(
    perceptual=dict(type="losses/perceptual", weights="random", width=4, taps=("input", "conv1_2")))
data = dict(train=dict(type="datasets/puppets", image_size=image_size, clips=2, frames_per_clip=8))
train = dict(iterations=2, batch_size=2, lr=1e-3)
'''
CLIPS = """dict(type="datasets/clips", length={length}, frame_dataset=dict(
    type="datasets/puppets", split="{split}", clips=3, frames_per_clip=7, image_size=image_size))"""
MODEL = ORIGIN[ORIGIN.index("model = ") + len("model = ") : ORIGIN.index("losses")].rstrip()
FORECAST = f'''"""Tiny forecast."""
image_size = 32
num_landmarks = 3
model = dict(
    type="pipelines/forecast",
    image_pipeline={MODEL},
    predictor=dict(type="predictors/lstm", num_landmarks=num_landmarks, width=8, depth=2),
    seen=3, steps=2,
)
losses = dict(state=dict(type="losses/state"))
data = dict(
    train={CLIPS.format(length=5, split="train")},
    test={CLIPS.format(length=6, split="test")},
)
train = dict(init=dict(image_pipeline="origin:pipeline"), iterations=4, batch_size=2, lr=1e-2,
             log_every=2, panels_every=1, checkpoint_every=2)
evaluate = dict(metrics=dict(
    psnr=dict(type="metrics/psnr"), state=dict(type="metrics/state_error")), batch_size=2)
'''


def read(folder: Path, text: str = FORECAST) -> dict:
    return load_config(write_config(folder, "forecast.py", text))


def tiny(folder: Path, seed: int = 0) -> tuple[dict, torch.nn.Module]:
    """The config without its origin, and its pipeline."""
    cfg = read(folder)
    cfg["train"]["init"] = {}
    torch.manual_seed(seed)
    return cfg, build(cfg["model"], "model", "pipelines")


def clips_of(cfg: dict, split: str = "train"):
    return build(cfg["data"][split], split, "datasets")


def predictor(name: str, **sizes: int) -> torch.nn.Module:
    torch.manual_seed(0)
    return build(dict(type=f"predictors/{name}", **sizes), "predictor", "predictors")


def some_states(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, 5, generator=torch.Generator().manual_seed(1))


# states


def test_state_is_the_mean_and_the_cholesky_factor():
    random = torch.Generator().manual_seed(0)
    half = torch.randn(4, 3, 2, 2, generator=random)
    cov = half @ half.mT + 0.01 * torch.eye(2)
    xy = torch.randn(4, 3, 2, generator=random)
    states = to_states(xy, cov)
    factor = torch.linalg.cholesky(cov)
    assert torch.equal(states[..., :2], xy)
    wanted = torch.stack((factor[..., 0, 0], factor[..., 1, 0], factor[..., 1, 1]), dim=-1)
    torch.testing.assert_close(states[..., 2:], wanted)
    again = from_states(states)
    assert torch.equal(again[0], xy)
    torch.testing.assert_close(again[1], cov + 1e-6 * torch.eye(2))


def test_state_of_a_covariance_by_hand():
    # L = [[2, 0], [1, 3]]: L L^T = [[4, 2], [2, 10]]
    cov = torch.tensor([[[4.0, 2.0], [2.0, 10.0]]])
    assert to_states(torch.zeros(1, 2), cov).tolist() == [[0, 0, 2, 1, 3]]


def test_nearly_singular_covariances_have_finite_states():
    cov = torch.tensor([[[1e-6, 1e-6], [1e-6, 1e-6]], [[0.25, 0.25], [0.25, 0.25]]])
    states = to_states(torch.zeros(2, 2), cov)
    assert states.isfinite().all()
    torch.testing.assert_close(from_states(states)[1], cov, atol=3e-6, rtol=0)


def test_covariance_is_positive_definite_whatever_was_predicted():
    states = 3 * torch.randn(500, 5, generator=torch.Generator().manual_seed(2))
    states[:100, 2:] = 0
    states[100:200, 2] = 0
    states[200:300, 3:] *= -1
    eigenvalues = torch.linalg.eigvalsh(from_states(states.double())[1])
    assert eigenvalues.min() > 0.99e-6


# predictors


def test_constant_velocity_by_hand():
    path = torch.tensor([0.0, 1.0, 3.0])[None, :, None, None].expand(1, 3, 1, 5)
    found = constant_velocity(path, 3)[0, :, 0, 0]
    # 2 and 3 follow 0 and 1, whose last changes are 0 and 1; then on from 3 by 2
    assert found.tolist() == [0, 2, 5, 7, 9]


def test_published_lstm_has_the_published_size():
    found = predictor("lstm", num_landmarks=40)
    assert sum(p.numel() for p in found.parameters()) == 1_777_864


def test_gru_has_the_size_of_its_layers():
    # 3 gates of 1024 for 50 inputs, 1024 memories and two biases; linear back to 50
    found = predictor("gru", num_landmarks=10)
    wanted = 3 * 1024 * (50 + 1024 + 2) + 50 * (1024 + 1)
    assert sum(p.numel() for p in found.parameters()) == wanted


@pytest.mark.parametrize("name", ["lstm", "gru"])
@pytest.mark.parametrize(("seen", "steps"), [(1, 3), (4, 0), (4, 1), (3, 5)])
def test_there_is_one_prediction_for_every_step_but_the_first(name, seen, steps):
    found = predictor(name, num_landmarks=2, width=4)(some_states(3, seen, 2), steps)
    assert found.shape == (3, seen - 1 + steps, 2, 5)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_a_prediction_under_true_states_does_not_look_ahead(name):
    model, states = predictor(name, num_landmarks=2, width=4), some_states(3, 5, 2)
    full = model(states, 0)
    for t in range(1, 5):
        torch.testing.assert_close(model(states[:, :t], 1)[:, -1], full[:, t - 1])


def test_lstm_free_running_is_feeding_it_its_own_predictions():
    model, states = predictor("lstm", num_landmarks=2, width=4, depth=2), some_states(3, 4, 2)
    ahead = model(states, 3)
    for _ in range(3):
        states = torch.cat((states, model(states, 1)[:, -1:]), dim=1)
    torch.testing.assert_close(ahead[:, -3:], states[:, -3:])


def test_lstm_is_the_network_of_the_paper():
    # the same arithmetic from torch's cells: input [state, change], output the next change
    model, states = predictor("lstm", num_landmarks=2, width=4, depth=1), some_states(2, 3, 2)
    cell = torch.nn.LSTMCell(20, 4)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    cell.load_state_dict({name: getattr(model.lstm, f"{name}_l0") for name in names})
    flat, last, memory = states.flatten(2), states.flatten(2)[:, 0], None
    for t in range(3):
        memory = cell(torch.cat((flat[:, t], flat[:, t] - last), dim=1), memory)
        last = flat[:, t]
    wanted = last + model.linear(memory[0])
    torch.testing.assert_close(model(states, 1)[:, -1].flatten(1), wanted)


def test_gru_is_fed_nothing_after_what_it_saw():
    model, states = predictor("gru", num_landmarks=2, width=4), some_states(3, 4, 2)
    zeros = torch.cat((states, torch.zeros(3, 2, 2, 5)), dim=1)
    assert torch.equal(model(states, 3), model(zeros, 1))
    assert model(10 * states, 3)[..., :2].abs().max() < 1


def circles(count: int, length: int, seed: int) -> torch.Tensor:
    """Points on circles of one speed, each from its own angle."""
    rng = np.random.default_rng(seed)
    angle = 0.5 * np.arange(length)[None, :] + rng.uniform(0, 2 * np.pi, (count, 1))
    xy = 0.8 * np.stack((np.cos(angle), np.sin(angle)), axis=-1)
    factor = np.broadcast_to([0.1, 0.0, 0.1], (*angle.shape, 3))
    states = np.concatenate((xy, factor), axis=-1)[:, :, None]
    return torch.from_numpy(states.astype(np.float32))


def test_lstm_learns_a_circular_motion_that_constant_velocity_leaves():
    model = predictor("lstm", num_landmarks=1, width=16, depth=1)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    states, unseen = circles(64, 7, seed=0), circles(64, 7, seed=1)
    for _ in range(100):
        loss = (model(states[:, :3], 4) - states[:, 1:]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        errors = [
            (f(unseen[:, :3], 4) - unseen[:, 1:])[:, -4:].square().mean()
            for f in (model, constant_velocity)
        ]
    assert errors[0] < errors[1] / 4


# data sets of clips


def test_clips_are_consecutive_frames_of_one_clip(tmp_path):
    import cv2

    for clip, count in (("a", 5), ("b", 2), ("c", 4)):
        (tmp_path / clip).mkdir()
        for t in range(count):
            grey = np.full((8, 8, 3), 100 * (clip == "c") + 10 * t, np.uint8)
            cv2.imwrite(str(tmp_path / clip / f"{t}.png"), grey)
    frames = dict(type="datasets/frames", root=str(tmp_path), image_size=16)
    clips = build(dict(type="datasets/clips", frame_dataset=frames, length=3), "d", "datasets")
    assert len(clips) == 2  # b is too short
    starts = set()
    for seed in range(20):
        for index, (name, base) in enumerate((("a", 0), ("c", 100))):
            item = clips.sample(index, np.random.default_rng(seed))
            clip, start = item["name"].split("/")
            starts.add((clip, int(start)))
            assert clip == name
            shown = item["frames"][:, 8, 8, 0] - base
            assert shown.tolist() == [10 * (int(start) + t) for t in range(3)]
    assert starts == {("a", 0), ("a", 1), ("a", 2), ("c", 0), ("c", 1)}
    half = dict(frames, half="second")
    second = build(dict(type="datasets/clips", frame_dataset=half, length=2), "d", "datasets")
    item = second.sample(0, np.random.default_rng(0))
    assert item["frames"][:, 8, 8, 0].tolist() == [30, 40]


def test_frames_of_puppet_clips_are_those_of_the_puppets(tmp_path):
    clips = clips_of(read(tmp_path), "test")
    item = clips.sample(1, np.random.default_rng(3))
    name, start = item["name"].rsplit("/", 1)
    assert name == "test/00001"
    for t, frame in enumerate(item["frames"]):
        pair = clips.frame_dataset.sample(7 + int(start) + t, np.random.default_rng(0))
        assert pair["name"] == f"test/00001/{int(start) + t:03d}"
        np.testing.assert_array_equal(frame, pair["target"])


def test_clips_that_are_all_too_short_are_refused():
    still = dict(type="datasets/standin", image_size=16, num_keypoints=2, length=5)
    with pytest.raises(ConfigError, match="no clip has 6 frames; the longest has 5"):
        build(dict(type="datasets/clips", frame_dataset=still, length=6), "d", "datasets")


def test_a_batch_of_clips_has_frames_in_the_unit_range(tmp_path):
    arrays = next(iter(frames_of(clips_of(read(tmp_path)), range(2), 2)))
    batch = to_batch(arrays, torch.device("cpu"))
    assert batch.frames.shape == (2, 5, 3, 32, 32)
    assert batch.driving is None
    wanted = arrays["frames"][1, 4, 20, 7].float() / 255
    assert torch.equal(batch.frames[1, 4, :, 20, 7], wanted)


# the pipeline


def test_training_leaves_the_image_pipeline_alone(tmp_path):
    cfg, pipeline = tiny(tmp_path)
    pipeline.train()
    assert pipeline.predictor.training
    assert not any(module.training for module in pipeline.image_pipeline.modules())
    before = {k: v.clone() for k, v in pipeline.image_pipeline.state_dict().items()}
    predictor_before = {k: v.clone() for k, v in pipeline.predictor.state_dict().items()}
    groups = pipeline.parameter_groups()
    assert groups.keys() == {"predictor"}
    optimizer = torch.optim.Adam([p for p in pipeline.parameters() if p.requires_grad], 1e-2)
    loss = build(cfg["losses"], "losses", "losses")["state"]
    draws = Draws(clips_of(cfg), None, None, seed=0)
    for i in range(3):
        batch = to_batch(collate([draws[2 * i], draws[2 * i + 1]]), torch.device("cpu"))
        optimizer.zero_grad()
        loss(pipeline(batch), batch).backward()
        optimizer.step()
    after = pipeline.image_pipeline.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    trained = pipeline.predictor.state_dict()
    assert not any(torch.equal(predictor_before[k], trained[k]) for k in trained)


def test_loss_compares_every_prediction_with_the_state_it_is_of(tmp_path):
    cfg, pipeline = tiny(tmp_path)
    states = some_states(2, 6, 3)
    outputs = pipeline(Batch(states=states))
    assert torch.equal(outputs.true_states, states[:, 1:5])  # 2 to 3 seen, 4 and 5 ahead
    assert torch.equal(outputs.states, pipeline.predictor(states[:, :3], 2))
    loss = build(cfg["losses"], "losses", "losses")["state"]
    still = Outputs(states=torch.zeros(1, 2, 1, 5), true_states=torch.full((1, 2, 1, 5), 0.5))
    assert loss(still, Batch()).item() == 0.25


def test_a_clip_too_short_is_refused(tmp_path):
    _, pipeline = tiny(tmp_path)
    with pytest.raises(ValueError, match="clips of 4 frames are too short for seen=3 and steps=2"):
        pipeline(Batch(states=some_states(2, 4, 3)))
    with pytest.raises(ValueError, match="nothing is left to predict in clips of 3 frames"):
        pipeline.infer(Batch(frames=torch.rand(1, 3, 3, 32, 32)))


def test_landmarks_without_covariance_are_refused(tmp_path):
    _, pipeline = tiny(tmp_path)
    gaussian = pipeline.image_pipeline.bottleneck.forward
    from dataclasses import replace

    pipeline.image_pipeline.bottleneck.forward = lambda x: replace(gaussian(x), cov=None)
    pipeline.image_pipeline.predict = lambda images: Outputs(
        landmarks=pipeline.image_pipeline.bottleneck(pipeline.image_pipeline.encoder(images).maps)
    )
    with pytest.raises(ValueError, match="its bottleneck must be bottlenecks/gaussian"):
        pipeline.read(torch.rand(1, 2, 3, 32, 32))


def test_forecast_draws_the_last_seen_frame_in_the_predicted_states(tmp_path):
    _, pipeline = tiny(tmp_path)
    pipeline.eval()
    frames = torch.rand(2, 6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = pipeline.infer(Batch(frames=frames))
    image = pipeline.image_pipeline
    landmarks = [image.predict(frames[:, t]).landmarks for t in range(6)]
    states = torch.stack([to_states(points.xy, points.cov) for points in landmarks], dim=1)
    torch.testing.assert_close(found.true_states, states[:, 3:])
    torch.testing.assert_close(found.states, pipeline.predictor(states[:, :3], 3)[:, 2:])
    xy, cov = from_states(found.states[:, 1])
    drawn = image.rasterizer(type(landmarks[0])(xy=xy, cov=cov))
    wanted = image.compose(frames[:, 2], drawn).render.clamp(0, 1)
    torch.testing.assert_close(found.frames[:, 1], wanted)
    torch.testing.assert_close(pipeline.forecast(frames[:, :3], 3), found.frames)
    points = pipeline.predict(frames[:, 0]).landmarks.xy
    assert torch.equal(points, landmarks[0].xy)


def test_given_frames_may_be_fewer_than_in_training(tmp_path):
    cfg = read(tmp_path)
    pipeline = build({**cfg["model"], "given": 1, "steps": 0}, "model", "pipelines").eval()
    assert pipeline(Batch(states=some_states(2, 3, 3))).states.shape == (2, 2, 3, 5)
    assert pipeline.infer(Batch(frames=torch.rand(2, 6, 3, 32, 32))).frames.shape[1] == 5


def test_baselines_by_hand(tmp_path):
    cfg, pipeline = tiny(tmp_path)
    other = build(cfg["model"], "model", "pipelines").eval()
    players = pipeline.eval().baselines(other)
    assert list(players) == ["copy_last", "constant_velocity", "untrained"]
    batch = Batch(frames=torch.rand(2, 5, 3, 32, 32))
    found = {name: play(batch) for name, play in players.items()}
    true = pipeline.infer(batch).true_states
    assert all(torch.equal(outputs.true_states, true) for outputs in found.values())
    states = pipeline.read(batch.frames)
    assert torch.equal(found["copy_last"].frames, batch.frames[:, [2, 2]])
    assert torch.equal(found["copy_last"].states, states[:, [2, 2]])
    change = states[:, 2] - states[:, 1]
    wanted = torch.stack((states[:, 2] + change, states[:, 2] + 2 * change), dim=1)
    torch.testing.assert_close(found["constant_velocity"].states, wanted)
    # an untrained predictor, but the same eyes
    assert other.image_pipeline is pipeline.image_pipeline
    assert not torch.equal(found["untrained"].states, pipeline.infer(batch).states)


# cached states


class Counting:
    """A data set of clips that counts the frames it shows."""

    def __init__(self, clips):
        self.clips, self.length, self.shown = clips.clips, clips.length, 0
        self.source = clips.frame_dataset
        self.frame_dataset = self

    def image(self, number):
        self.shown += 1
        return self.source.image(number)


def test_cached_states_are_those_of_the_frames_and_are_read_once(tmp_path):
    cfg, pipeline = tiny(tmp_path)
    clips, folder, said = clips_of(cfg), tmp_path / "run", []
    counting = Counting(clips)

    def prepared(source="puppets"):
        cache = Cache(folder, source, 0, lambda *words: said.append(words))
        return pipeline.prepare(counting, cache)

    cached = prepared()
    assert counting.shown == 21
    assert said == [("landmarks of 16/21 frames", 16 / 21), ("landmarks of 21/21 frames", 1.0)]
    assert len(cached) == len(clips) == 3
    for index in range(3):
        direct, states = (d.sample(index, np.random.default_rng(5)) for d in (clips, cached))
        assert direct["name"] == states["name"]
        arrays = collate([direct])
        wanted = pipeline.read(to_batch(arrays, torch.device("cpu")).frames)[0]
        assert states["states"].dtype == np.float32
        torch.testing.assert_close(torch.from_numpy(states["states"]), wanted, atol=1e-4, rtol=1e-3)

    again = prepared()
    assert counting.shown == 21
    np.testing.assert_array_equal(again.clips[2][1], cached.clips[2][1])
    prepared("other puppets")
    assert counting.shown == 42
    with torch.no_grad():
        next(pipeline.image_pipeline.parameters()).add_(0.1)
    changed = prepared("other puppets")
    assert counting.shown == 63
    assert not np.array_equal(changed.clips[2][1], cached.clips[2][1])
    with torch.no_grad():
        next(pipeline.predictor.parameters()).add_(0.1)
    prepared("other puppets")  # the predictor reads no image
    assert counting.shown == 63


def test_a_broken_or_missing_file_of_states_is_no_states(tmp_path):
    file, states = tmp_path / "states.safetensors", np.ones((4, 2, 5), np.float32)
    assert load_states(file, "a") is None
    save_states(file, states, "a")
    np.testing.assert_array_equal(load_states(file, "a"), states)
    assert load_states(file, "b") is None
    file.write_bytes(file.read_bytes()[:-20])
    assert load_states(file, "a") is None


def test_an_interrupted_write_leaves_the_old_states(tmp_path, monkeypatch):
    file, states = tmp_path / "states.safetensors", np.ones((4, 2, 5), np.float32)
    save_states(file, states, "old")

    def half(path, content):
        with open(path, "wb") as out:
            out.write(content[: len(content) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(KeyboardInterrupt):
        save_states(file, 2 * states, "new")
    np.testing.assert_array_equal(load_states(file, "old"), states)
    assert os.listdir(tmp_path) == ["states.safetensors"]


def test_windows_of_states_depend_on_their_draw_alone():
    states = np.arange(9, dtype=np.float32)[:, None, None] * np.ones((1, 2, 5), np.float32)
    clips = StateClips(states, [("a", 5), ("b/c", 4)], length=3)
    starts = set()
    for draw in range(30):
        item = Draws(clips, None, None, seed=0)[draw]
        again = Draws(clips, None, None, seed=0)[draw]
        np.testing.assert_array_equal(item["states"], again["states"])
        first = item["states"][:, 0, 0]
        assert np.diff(first).tolist() == [1, 1]
        name, start = item["name"].rsplit("/", 1)
        assert first[0] == int(start) + (5 if name == "b/c" else 0)
        starts.add(item["name"])
        item["states"][:] = -1  # a copy: the next epoch is as this one
    assert starts == {"a/000000", "a/000001", "a/000002", "b/c/000000", "b/c/000001"}


# runs


def call(python: str, *words: object) -> str:
    """Run a tool in this process, without the seconds that importing torch takes."""
    said, out = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(said), redirect_stdout(out):
        patch.setattr(sys, "argv", list(map(str, words)))
        with pytest.raises(SystemExit) as caught:
            runpy.run_path(str(words[0]), run_name="__main__")
    assert caught.value.code == 0, said.getvalue()
    return said.getvalue() + out.getvalue()  # progress, then the answer


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of tools/train.py on the tiny config, which trains its origin first."""
    folder = tmp_path_factory.mktemp("forecast")
    write_config(folder, "origin.py", ORIGIN)
    config = write_config(folder, "forecast.py", FORECAST)
    return folder, call(*train_command(config, folder / "runs/forecast"))


def test_training_starts_with_the_image_model_and_its_states(run):
    folder, out = run
    assert out.index("train.init: training origin first") < out.index("landmarks of 21/21 frames")
    assert "held_out.gif" in out
    cfg = json.loads((folder / "runs/forecast/config.json").read_text())
    pipeline = load_pipeline(cfg, folder / "runs/forecast/last.pth")
    first = json.loads((folder / "runs/origin/config.json").read_text())
    origin = load_pipeline(first, folder / "runs/origin/last.pth").state_dict()
    own = pipeline.image_pipeline.state_dict()
    assert own.keys() == origin.keys()
    assert all(torch.equal(own[key], origin[key]) for key in own)
    states = load_file(folder / "runs/forecast/states.safetensors")["states"]
    assert states.shape == (21, 3, 5)
    assert not (folder / "runs/forecast/panels").exists()


def test_every_row_has_all_baselines(run):
    folder, out = run
    rows = json.loads((folder / "runs/forecast/metrics.json").read_text())
    names = {"copy_last", "constant_velocity", "untrained"}
    assert [row["protocol"] for row in rows] == ["psnr", "state"]
    for row in rows:
        assert set(row["baselines"]) == set(row["baseline_extra"]) == names
        assert all(math.isfinite(value) for value in row["baselines"].values())
        assert all(extra.keys() == row["extra"].keys() for extra in row["baseline_extra"].values())
    header = next(line for line in out.splitlines() if line.startswith("protocol"))
    for word in ("copy last", "constant velocity", "untrained"):
        assert word in header
    assert "predict mean" not in out


def test_animation_shows_truth_and_forecast_side_by_side(run):
    from PIL import Image

    folder, _ = run
    with Image.open(folder / "runs/forecast/held_out.gif") as gif:
        assert gif.n_frames == 3 * 6  # three test clips
        assert gif.size == (2 * (160 + 6), 160 + 6)
        gif.seek(2)
        seen = np.asarray(gif.convert("RGB")).astype(int)
        gif.seek(3)
        ahead = np.asarray(gif.convert("RGB")).astype(int)
    assert abs(seen[:, :166] - seen[:, 166:]).max() == 0  # what was seen is shown as it was
    edge = ahead[1, 250]
    assert edge[0] > edge[1] + 100  # red: predicted
    assert abs(ahead[3:-3, 3:163] - ahead[3:-3, 169:-3]).max() > 0


def test_resumed_run_uses_the_same_states_and_ends_with_the_same_weights(run, tmp_path):
    folder, _ = run
    cfg = json.loads((folder / "runs/forecast/config.json").read_text())
    whole = torch.load(folder / "runs/forecast/last.pth", weights_only=True)["model"]
    (tmp_path / "origin").symlink_to(folder / "runs/origin")
    half = json.loads(json.dumps(cfg))
    half["train"]["iterations"] = 2
    work_dir = tmp_path / "forecast"
    train(half, work_dir)
    before = (work_dir / "states.safetensors").stat().st_mtime_ns
    job = train(cfg, work_dir, resume="auto")
    assert (work_dir / "states.safetensors").stat().st_mtime_ns == before
    state = job.trainee.state_dict()
    assert state.keys() == whole.keys()
    assert all(torch.equal(state[key], whole[key]) for key in whole)


def test_a_resumed_run_without_its_states_reads_them_with_its_own_weights(run, tmp_path):
    folder, _ = run
    cfg = json.loads((folder / "runs/forecast/config.json").read_text())
    job = Job(cfg, tmp_path, resume=folder / "runs/forecast/last.pth")

    class Silent:
        def say(self, *words):
            pass

    job.progress = Silent()
    prepare(job, 0, 1)
    wanted = load_file(folder / "runs/forecast/states.safetensors")["states"]
    found = load_file(tmp_path / "states.safetensors")["states"]
    np.testing.assert_array_equal(found, wanted)


def test_evaluation_without_the_run_gives_the_same_rows(run):
    folder, out = run
    cfg = json.loads((folder / "runs/forecast/config.json").read_text())
    pipeline = load_pipeline(cfg, folder / "runs/forecast/last.pth")
    rows = json.loads(json.dumps(evaluate(pipeline, cfg, selection="last")))
    assert rows == json.loads((folder / "runs/forecast/metrics.json").read_text())
    assert table(rows) in out


def test_landmarks_of_a_photo_come_from_the_image_model(run, tmp_path):
    import cv2

    folder, _ = run
    cv2.imwrite(str(tmp_path / "photo.png"), np.full((40, 40, 3), 90, np.uint8))
    tool = (sys.executable, ROOT / "tools/predict.py", folder / "runs/forecast")
    call(*tool, "--out", tmp_path / "out", tmp_path / "photo.png")
    assert (tmp_path / "out/photo_landmarks.csv").is_file()
