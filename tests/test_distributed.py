"""Two gloo processes through torchrun equal one process with the doubled batch."""

from __future__ import annotations

import subprocess
import sys

import torch

from registry import checkpoint
from tests.runs import CONFIG, ROOT, environment, train_command, write_config

# local code named in the config: float64, and batch norm with fixed statistics, since those
# of half a batch are not those of a whole one
PLUGIN = """
import torch
from registry import HOOKS
from registry.runner import Hook

torch.set_default_dtype(torch.float64)


@HOOKS.register_module("hooks/test/fixed_statistics")
class FixedStatistics(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        for module in runner.model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
"""


def config_text() -> str:
    text = CONFIG.replace("history=6", "history=0").replace(
        'taps=("input", "conv1_2")', 'taps=("input", "conv1_2"), tap_weights=(1.0, 1.0)'
    )
    head, _, tail = text.partition("    transforms=[")
    text = head + tail.partition("    ],\n")[2]
    text = text.replace(
        "log_every=1,", 'log_every=1, hooks=[dict(type="hooks/test/fixed_statistics")],'
    )
    return text + '\nplugins = ["two_ranks_plugin"]\n'


def test_two_ranks_equal_one_process_and_exit_cleanly(tmp_path):
    config = write_config(tmp_path, text=config_text())
    (tmp_path / "two_ranks_plugin.py").write_text(PLUGIN)
    env = {**environment(), "PYTHONPATH": str(tmp_path)}
    short = ["--cfg-options", "train.iterations=6"]
    command = train_command(
        config,
        tmp_path / "two",
        *("--launcher", "pytorch", *short, "train.batch_size=2", "train.sync_batch_norm=true"),
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    two = subprocess.run(
        [*torchrun, *command[1:]], env=env, cwd=ROOT, capture_output=True, text=True
    )
    assert two.returncode == 0, two.stdout + two.stderr
    one = subprocess.run(
        train_command(config, tmp_path / "one", *short, "train.batch_size=4"),
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert one.returncode == 0, one.stdout + one.stderr
    a = checkpoint.load(tmp_path / "two/last.pth")
    b = checkpoint.load(tmp_path / "one/last.pth")
    assert a["model"].keys() == b["model"].keys()
    assert len(a["ranks"]) == 2
    moved = 0.0
    for name, value in a["model"].items():
        if value.is_floating_point():
            assert value.dtype == torch.float64
            # a bias in front of instance norm has no effect: its gradient is rounding noise, which
            # Adam divides by its own size
            idle = name.endswith("bias") and (
                "bottleneck.encoder.levels" in name or "critic.scales" in name
            )
            assert (value - b["model"][name]).abs().max() < (1e-6 if idle else 1e-9), name
            moved = max(moved, value.abs().max().item())
    assert moved > 0
    # the table is printed once, by the first process
    assert two.stdout.count("95 % interval") == 1
    said = two.stderr.splitlines()
    for line in ("reading the data ...", "building the model ..."):
        assert said.count(line) == 1
    assert len([line for line in said if line.startswith("train.sync_batch_norm needs GPUs")]) == 1
