"""Progress of a run: a bar on a terminal, plain lines elsewhere, scalars on disk."""

from __future__ import annotations

import json
import shutil
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from registry.roles import HOOKS
from registry.runner import Hook


@HOOKS.register_module("hooks/progress")
class Progress(Hook):  # type: ignore[misc]
    """Write ``scalars.jsonl`` and ``log.txt``, print loss and remaining time, feed TensorBoard.

    Args:
        every: iterations between two records; losses are means over them.
        folder: of the run; the files are written there.
    """

    def __init__(self, *, every: int, folder: str) -> None:
        self.every, self.folder = every, Path(folder)
        self.sums: dict[str, torch.Tensor] = {}
        self.count = 0
        self.board: Any = None  # a SummaryWriter, where TensorBoard is installed

    def before_train(self, runner: Any) -> None:
        """Open the files; a resumed run drops the records after its checkpoint and appends."""
        if runner.rank != 0:
            return
        pipeline = runner.job.trainee.pipeline
        self.scalars = self.folder / "scalars.jsonl"
        kept = []
        if runner.iter and self.scalars.is_file():
            # a killed run may have left half a line at the end
            lines = [line for line in self.scalars.read_text().splitlines() if line.endswith("}")]
            kept = [line for line in lines if json.loads(line)["iteration"] <= runner.iter]
        self.scalars.write_text("".join(line + "\n" for line in kept))
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            pass  # the tensorboard extra is not installed; scalars.jsonl holds the same numbers
        else:
            self.board = SummaryWriter(str(self.folder / "tensorboard"))
        parameters = sum(p.numel() for p in pipeline.parameters() if p.requires_grad)
        device = next(pipeline.parameters()).device
        self.say(
            f"{self.folder}: {parameters / 1e6:.2f} M trained parameters on {device}, "
            f"iterations {runner.iter} to {runner.max_iters}, torch {torch.__version__}"
        )
        self.started, self.first, self.since = time.time(), runner.iter, time.time()

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Add this iteration's losses; record and print when due."""
        for name, value in outputs.items():
            self.sums[name] = self.sums.get(name, 0) + value
        self.count += 1
        done = batch_idx + 1
        if runner.rank != 0 or not self.every or (done % self.every and done != runner.max_iters):
            if done % max(self.every, 1) == 0:
                self.sums, self.count = {}, 0
            return
        means = {k: round(v.item() / self.count, 6) for k, v in self.sums.items()}
        now = time.time()
        seconds = (now - self.since) / self.count
        self.sums, self.count, self.since = {}, 0, now
        left = (now - self.started) / (done - self.first) * (runner.max_iters - done)
        self.record({"iteration": done, "seconds_per_iteration": round(seconds, 4), **means})
        total = means.pop("loss")  # first: a narrow terminal cuts the end off
        losses = "  ".join(f"{k.removeprefix('loss_')} {v:.4g}" for k, v in means.items())
        self.say(
            f"[{done}/{runner.max_iters}] loss {total:.4g}  {seconds:.3f} s/it  "
            f"{timedelta(seconds=round(left))} left  {losses}",
            bar=done / runner.max_iters,
        )

    def after_train(self, runner: Any) -> None:
        """Close the bar and TensorBoard."""
        if runner.rank == 0 and sys.stdout.isatty():
            sys.stdout.write("\n")
        if self.board is not None:
            self.board.close()

    def record(self, values: dict[str, Any]) -> None:
        """Append one line of numbers to ``scalars.jsonl`` (and TensorBoard)."""
        with self.scalars.open("a") as file:
            file.write(json.dumps(values) + "\n")
        if self.board is not None:
            for name, value in values.items():
                if name != "iteration":
                    self.board.add_scalar(name, value, values["iteration"])

    def say(self, text: str, bar: float | None = None) -> None:
        """Print a line and keep it in ``log.txt``; with ``bar`` a terminal redraws it in place."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log.txt").open("a") as file:
            file.write(f"{time.strftime('%H:%M:%S')} {text}\n")
        clear = "\r\x1b[K" if sys.stdout.isatty() else ""  # the bar that stands there
        if bar is not None and clear:
            filled, columns = "#" * int(bar * 20), shutil.get_terminal_size().columns
            sys.stdout.write(clear + f"|{filled:<20}| {text}"[: columns - 1])
        else:
            sys.stdout.write(f"{clear}{text}\n")
        sys.stdout.flush()
