"""A killed and resumed run ends with the weights of an uninterrupted one, to the last bit."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from registry import checkpoint, load_config
from registry.runner import train
from tests.runs import environment, train_command, write_config


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    train(load_config(write_config(folder)), folder / "work")
    return checkpoint.load(folder / "work/last.pth")


def assert_same(a: object, b: object, place: str = "") -> None:
    assert type(a) is type(b), place
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), place
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), place
        for key in a:
            assert_same(a[key], b[key], f"{place}.{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), place
        for i, (x, y) in enumerate(zip(a, b)):
            assert_same(x, y, f"{place}[{i}]")
    else:
        assert a == b, place


def compare(state: dict, reference: dict) -> None:
    for key in ("iteration", "model", "ema", "ema_count", "optimizer", "ranks"):
        assert_same(state[key], reference[key], key)


def wait_for_iteration(process: subprocess.Popen, scalars: Path, iteration: int) -> None:
    """Return once the run has recorded ``iteration``."""
    for _ in range(6000):
        if scalars.is_file() and any(
            json.loads(line)["iteration"] >= iteration for line in scalars.read_text().splitlines()
        ):
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError("the run never got there")


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_after_sigkill_is_exact(tmp_path, uninterrupted, workers):
    config, work = write_config(tmp_path), tmp_path / "work"
    at = random.Random(workers).randrange(4, 14)
    options = ["--cfg-options", f"data.workers={workers}"]
    command = train_command(config, work, *options)
    process = subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    wait_for_iteration(process, work / "scalars.jsonl", at)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    # the last whole checkpoint; no partly written one is left under its name
    assert checkpoint.load(work / "last.pth")["iteration"] % 3 == 0
    train(load_config(config, {"data.workers": workers}), work, resume="auto")
    compare(checkpoint.load(work / "last.pth"), uninterrupted)
    assert not list(work.rglob(".*"))  # neither its claim nor its temporary files
    iterations = [
        json.loads(line)["iteration"] for line in (work / "scalars.jsonl").read_text().splitlines()
    ]
    assert iterations == list(range(1, 17))


def test_interrupt_writes_a_checkpoint_that_resumes_exactly(tmp_path, uninterrupted):
    config, work = write_config(tmp_path), tmp_path / "work"
    process = subprocess.Popen(
        train_command(config, work),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_for_iteration(process, work / "scalars.jsonl", 5)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate()
    assert process.returncode == 130
    assert f"keypoint-zoo train {config} --work-dir {work} --resume" in output
    reached = checkpoint.load(work / "last.pth")["iteration"]
    assert 5 <= reached < 16
    train(load_config(config), work, resume="auto")
    compare(checkpoint.load(work / "last.pth"), uninterrupted)


def test_results_do_not_depend_on_workers(tmp_path, uninterrupted):
    config = write_config(tmp_path)
    train(load_config(config, {"data.workers": 2}), tmp_path / "work")
    compare(checkpoint.load(tmp_path / "work/last.pth"), uninterrupted)


def test_augmentation_differs_between_passes(tmp_path):
    """mmengine repeats its random numbers in every epoch; here no sample sees one twice."""
    from registry.config import section
    from registry.loading import Datasets, train_loader

    cfg = load_config(write_config(tmp_path), {"data.workers": 2})
    loader = train_loader(
        Datasets(section(cfg, "data")), iterations=18, batch_size=4, seed=0, rank=0, ranks=1
    )
    seeds = [int(s) for batch in loader for s in batch["seed"]]
    assert len(seeds) == 72  # three passes over 24 frames
    assert len(set(seeds)) == 72


def test_checkpoint_is_plain_data(uninterrupted):
    """Everything in a checkpoint loads without running code (``weights_only=True``, by load)."""
    assert set(uninterrupted) == {
        "iteration", "config", "model", "ema", "ema_count", "optimizer", "ranks"
    }  # fmt: skip
    assert json.loads(uninterrupted["config"])["image_size"] == 32


def test_resume_with_another_number_of_processes_is_refused(tmp_path, uninterrupted):
    state = dict(uninterrupted, ranks=uninterrupted["ranks"] * 2, iteration=3)
    checkpoint.save(state, tmp_path / "last.pth")
    with pytest.raises(
        Exception, match=r"was written by 2 processes, but this run has 1\. Start the same number"
    ):
        train(load_config(write_config(tmp_path)), tmp_path, resume="auto")


def test_resume_from_weights_alone_is_refused(tmp_path, uninterrupted):
    state = {key: uninterrupted[key] for key in ("iteration", "config", "model")}
    checkpoint.save(state, tmp_path / "best.pth")
    with pytest.raises(Exception, match=r"holds weights only\. Resume from last\.pth"):
        train(load_config(write_config(tmp_path)), tmp_path, resume=tmp_path / "best.pth")


def test_best_checkpoint_survives_a_resume(tmp_path):
    """A resumed run does not take a worse score for the best one."""
    val = {"type": "datasets/puppets", "split": "test", "image_size": 32, "clips": 1}
    options = {"data.val": val, "train.evaluate_every": 2, "train.iterations": 8}
    train(
        load_config(write_config(tmp_path), {**options, "train.iterations": 4}), tmp_path / "work"
    )
    lines = (tmp_path / "work/scalars.jsonl").read_text().splitlines()
    scores = [json.loads(line)["val_direct"] for line in lines if "val_direct" in line]
    assert len(scores) == 2
    before = (tmp_path / "work/best.pth").read_bytes()
    # as if the first part had been perfect: nothing later may replace its checkpoint
    perfect = [line.replace(str(scores[0]), "0.0") for line in lines]
    (tmp_path / "work/scalars.jsonl").write_text("\n".join(perfect) + "\n")
    train(load_config(tmp_path / "tiny.py", options), tmp_path / "work", resume="auto")
    assert (tmp_path / "work/best.pth").read_bytes() == before
