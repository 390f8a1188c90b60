"""A loader process that is killed, and memory that runs out: one line that says what to do."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest
import torch

from registry import checkpoint, load_config
from registry.config import section
from registry.errors import RunError, run_error
from registry.job import Job
from registry.loading import Datasets, Loader, train_loader
from registry.runner import train
from tests.test_damage_checkpoints import CONFIG
from zoo import cli

OPTIONS = {"train.iterations": 6, "train.checkpoint_every": 2, "data.workers": 1}


def at_iteration_4(monkeypatch, act) -> None:
    real = Job.set_lr

    def set_lr(self, optimizer, iteration):
        real(self, optimizer, iteration)
        if iteration == 3:
            act()

    monkeypatch.setattr(Job, "set_lr", set_lr)


def refused(tmp_path) -> str:
    """Train until it fails; the last checkpoint is whole and named."""
    with pytest.raises(RunError) as caught:
        train(load_config(CONFIG, OPTIONS), tmp_path / "work")
    text, last = str(caught.value), tmp_path / "work/last.pth"
    assert text.startswith("iteration 4: ")
    assert text.endswith(f"{last} is complete up to iteration 2; --resume continues it.")
    assert "\n" not in text
    assert checkpoint.load(last)["iteration"] == 2
    return text


def test_a_loader_process_that_is_killed(tmp_path, monkeypatch):
    """As the kernel does when memory runs out; the processes are those of a real loader."""
    started = []
    real = Loader.__iter__

    def iterate(self):
        made = real(self)
        started.extend(made._workers)
        return made

    def kill():
        os.kill(started[-1].pid, signal.SIGKILL)
        while True:  # until the loader's signal handler raises
            time.sleep(0.01)

    monkeypatch.setattr(Loader, "__iter__", iterate)
    at_iteration_4(monkeypatch, kill)
    text = refused(tmp_path)
    assert "a loader process ended unexpectedly, as when memory runs out (DataLoader" in text
    assert "Lower data.workers or batch_size" in text
    assert not any(process.is_alive() for process in started)


def allocate() -> None:
    torch.empty(1 << 58, dtype=torch.uint8)  # 256 PB


@pytest.mark.parametrize("act", [allocate, lambda: np.empty(1 << 58, np.uint8)])
def test_memory_that_runs_out_in_a_step(act, tmp_path, monkeypatch):
    at_iteration_4(monkeypatch, act)
    text = refused(tmp_path)
    assert "memory ran out (" in text
    assert "Lower batch_size" in text


def raise_(error):
    raise error


CUDA = "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.15 GiB"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError(CUDA),
        MemoryError(),
        MemoryError("Caught MemoryError in DataLoader worker process 0.\n  File\nMemoryError"),
        RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible "),
    ],
)
def test_a_command_whose_memory_runs_out(error, monkeypatch, capsys):
    monkeypatch.setattr("zoo.commands.list.run", lambda **_: raise_(error))
    assert cli.main(["list"]) == 1
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert told.err.startswith("error: ")
    assert "batch_size" in told.err


def test_a_bug_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr("zoo.commands.list.run", lambda **_: raise_(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(["list"])
    assert run_error(TypeError("out of memory")) is None


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="Windows")
def test_loader_processes_hold_ctrl_c_back_from_the_start(tmp_path):
    """Ctrl-C in a terminal goes to all of them; each would print its own traceback."""
    cfg = load_config(CONFIG, {"data.workers": 1})
    loader = train_loader(
        Datasets(section(cfg, "data")), iterations=2, batch_size=2, seed=0, rank=0, ranks=1
    )
    batches = iter(loader)
    next(batches)
    (worker,) = batches._workers
    status = f"/proc/{worker.pid}/status"
    if os.path.exists(status):
        with open(status) as file:
            blocked = next(line for line in file if line.startswith("SigBlk"))
        assert int(blocked.split()[1], 16) & (1 << (signal.SIGINT - 1))
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    del batches
    loader.close()
    assert not worker.is_alive()
