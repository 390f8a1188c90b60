"""Distributed runs of two real processes in which one dies, hangs or is stopped (gloo, CPU)."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from registry import checkpoint
from tests.runs import ROOT, environment, train_command

# what process 1 does at the beginning of iteration 3 (BEFORE) or in its forward pass (FORWARD)
PLUGIN = """
import os, signal, sys, time
from pathlib import Path
from registry import HOOKS
from registry.runner import Hook

HERE = Path(__file__).parent


def act(what):
    (HERE / f"reached_{what}").write_text("")
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if what == "error":
        raise TypeError("a bug")
    while what == "loop":
        time.sleep(0.01)


@HOOKS.register_module("hooks/test/mishap")
class Mishap(Hook):
    def __init__(self, *, what, seconds=0.0):
        self.what, self.seconds = what, seconds

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if batch_idx == 2 and runner.rank == 1:
            act(self.what)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if batch_idx == 0 and runner.rank == 0:
            time.sleep(self.seconds)  # a validation
"""

CONFIG = """
model = dict(
    type="pipelines/pose_autoencoder",
    rasterizer=dict(type="rasterizers/skeleton", edges=((0, 1),), image_size=32),
    bottleneck=dict(
        type="bottlenecks/skeleton_regressor",
        encoder=dict(type="encoders/stem", takes="pose_image", width=2, out_channels=15)),
)
losses = dict(points=dict(type="losses/prior_points"))
data = dict(prior=dict(type="datasets/puppets", split="prior", image_size=32, clips=2))
train = dict(
    iterations=5, batch_size=2, lr=1e-3, checkpoint_every=1, log_every=1, timeout=4,
    hooks=[dict(type="hooks/test/mishap", what="none", seconds=0.0)])
plugins = ["mishap_plugin"]
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mishap_plugin.py").write_text(PLUGIN)
    (tmp_path / "tiny.py").write_text(f'"""Tiny."""\n{CONFIG}')
    return tmp_path


def command(folder: Path, *options: str) -> list[str]:
    words = train_command(folder / "tiny.py", folder / "work", "--launcher", "pytorch")
    return [*words, *(["--cfg-options", *options] if options else [])]


def two(folder: Path, *options: str) -> list[subprocess.Popen[str]]:
    """Start two processes directly, without torchrun."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = []
    for rank in "01":
        env = {**environment(), "PYTHONPATH": str(folder), "RANK": rank, "LOCAL_RANK": rank}
        env |= {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        words = command(folder, *options)
        started.append(
            subprocess.Popen(words, env=env, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        )
    return started


def last_line(process: subprocess.Popen[str]) -> str:
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1, said
    assert "Traceback" not in said
    return said.splitlines()[-1]


@pytest.mark.parametrize("what", ["kill", "stop", "loop", "error"])
def test_the_other_process_names_the_one_that_is_lost(what, folder):
    """Not the first one, whose validation takes longer than the timeout of 4 s."""
    seconds = 6.0 if what == "kill" else 0.0
    mishap = f"[{{'type': 'hooks/test/mishap', 'what': '{what}', 'seconds': {seconds}}}]"
    zero, one = two(folder, f"train.hooks={mishap}")
    try:
        line = last_line(zero)
    finally:
        one.kill()
        one.communicate()
    assert (folder / f"reached_{what}").exists()
    expected = {
        "kill": r"process 1 of 2 died or was stopped: .* the last was from i",
        "stop": r"process 1 of 2 died or was stopped: .* the last was from i",
        "loop": r"process 1 has been at iteration 3, forward pass, for 4 s \(train.timeout\)",
        "error": r"process 1 of 2 ended with an error \(TypeError: a bug",
    }
    assert re.search(expected[what], line), line
    assert line.startswith("error: ")
    assert f"{folder}/work/last.pth is complete up to iteration 2; --resume continues it." in line
    assert checkpoint.load(folder / "work/last.pth")["iteration"] == 2


def processes_of(folder: Path) -> list[str]:
    """Return the processes whose command line names the folder, loader processes included."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:  # it has just ended
            continue
        if str(folder).encode() in words:
            found.append(path.parent.name)
    return found


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
def test_torchrun_leaves_no_process_after_ctrl_c(folder):
    words = command(
        folder, "train.iterations=1000000", "train.checkpoint_every=0", "data.workers=1"
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    env = {**environment(), "PYTHONPATH": str(folder)}
    process = subprocess.Popen(
        [*torchrun, *words[1:]], env=env, cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    try:
        scalars = folder / "work/scalars.jsonl"
        while process.poll() is None and not (scalars.is_file() and scalars.read_text()):
            time.sleep(0.05)
        assert len(processes_of(folder)) == 5  # torchrun, two processes, a loader of each
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
        assert process.returncode not in (0, None)
        assert f"{folder}/work" in said  # how to resume
        for _ in range(400):  # loader processes may end a moment later
            if not (left := processes_of(folder)):
                break
            time.sleep(0.05)
        assert not left
    finally:
        process.kill()
        for left in processes_of(folder):
            os.kill(int(left), signal.SIGKILL)
    assert checkpoint.load(folder / "work/last.pth")["iteration"] > 0
