"""Progress of a run: a bar on a terminal, plain lines elsewhere, numbers and a curve on disk."""

from __future__ import annotations

import json
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from components.drawing import curve, write_png
from registry import progress
from registry.atomic import WriteError, explaining, replacing
from registry.roles import HOOKS
from registry.runner import Hook

SECONDS = 10  # maximum between two plain lines, minimum between two drawings of the curve
DIVIDED = "undivided_"


@HOOKS.register_module("hooks/progress")
class Progress(Hook):  # type: ignore[misc]
    """Print errors and remaining time; keep them in ``scalars.jsonl``, ``log.txt``, ``curve.png``.

    First comes what falls while training goes well: ``pixel_error``, if the model draws images, the
    mean absolute difference of render and target, colours in [0, 1]. A loss that is divided by
    its own running mean need not fall; ``undivided_NAME`` is the error before the division.
    TensorBoard, if it is installed, gets the same numbers.

    Args:
        every: iterations between records, which are means over these iterations; 0 for none.
        folder: folder of the run, where the files are written.
    """

    def __init__(self, *, every: int, folder: str) -> None:
        self.every, self.folder = every, Path(folder)
        self.sums: dict[str, torch.Tensor] = {}
        self.count = 0
        self.records: list[dict[str, Any]] = []
        self.bar: Any = None  # on a terminal
        self.board: Any = None  # a SummaryWriter, if TensorBoard is installed

    def before_train(self, runner: Any) -> None:
        """Open the files; a resumed run drops the records after its checkpoint and appends."""
        if runner.rank != 0:
            return
        self.scalars = self.folder / "scalars.jsonl"
        if runner.iter and self.scalars.is_file():
            # a killed run may have left an incomplete last line
            lines = [
                line
                for line in self.scalars.read_text(encoding="utf-8").splitlines()
                if line.endswith("}")
            ]
            found = [json.loads(line) for line in lines]
            self.records = [record for record in found if record["iteration"] <= runner.iter]
        with replacing(self.scalars) as temporary:
            text = "".join(json.dumps(record) + "\n" for record in self.records)
            temporary.write_text(text, encoding="utf-8")
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            pass  # the tensorboard extra is not installed; scalars.jsonl holds the same numbers
        else:
            self.board = SummaryWriter(str(self.folder / "tensorboard"))
        self.marks = [point[0] for point in runner.job.settings.lr_factors]
        self.started, self.first = time.monotonic(), runner.iter
        self.since = self.spoken = self.drawn = self.started
        if sys.stderr.isatty():
            self.bar = progress.bar(runner.max_iters, "training", "it", slow=True, start=self.first)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Add this iteration's losses; record and print when due."""
        if runner.rank != 0:
            return
        for name, value in outputs.items():
            self.sums[name] = self.sums.get(name, 0) + value
        self.count += 1
        done, now = batch_idx + 1, time.monotonic()
        due = bool(self.every) and (done % self.every == 0 or done == runner.max_iters)
        waited = now - self.spoken >= (1 if self.bar else SECONDS)
        if due or waited:
            self.spoken = now
            means = {name: round(v.item() / self.count, 6) for name, v in self.sums.items()}
            seconds = (now - self.since) / self.count
            lead = leading(means)
            left = (now - self.started) / (done - self.first) * (runner.max_iters - done)
            text = (
                f"[{done}/{runner.max_iters}] {lead}  {seconds:.3f} s/it  "
                f"{timedelta(seconds=round(left))} left  {others(means)}"
            )
            if self.bar:
                self.bar.note = lead
            else:
                progress.say(text)
        if self.bar:
            self.bar.update()
        if due:
            self.log(text)
            self.record({"iteration": done, "seconds_per_iteration": round(seconds, 4), **means})
            self.sums, self.count, self.since = {}, 0, now
            if now - self.drawn >= SECONDS:
                self.drawn = now
                self.draw()

    def close(self) -> None:
        """End the bar, draw the curve and close TensorBoard: training ended or was stopped."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        stopped = sys.exc_info()[0] is not None  # by an error, which matters more than the curve
        try:
            if self.records:
                self.draw()
        except WriteError:
            if not stopped:
                raise
        if self.board is not None:
            self.board.close()
            self.board = None

    def draw(self) -> None:
        """Write ``curve.png``."""
        lines: dict[str, list[tuple[float, float]]] = {}
        for record in self.records:
            for name, value in record.items():
                if name not in ("iteration", "seconds_per_iteration", "loss"):
                    lines.setdefault(spoken(name), []).append((record["iteration"], value))
        first = spoken("pixel_error")
        lines = {name: lines[name] for name in sorted(lines, key=lambda name: name != first)}
        title = f"{self.folder.name}: errors and losses in training, logarithmic scale"
        write_png(self.folder / "curve.png", curve(lines, title, sorted(set(self.marks))))

    def record(self, values: dict[str, Any]) -> None:
        """Append one line of numbers to ``scalars.jsonl`` (and TensorBoard)."""
        self.records.append(values)
        with explaining(self.scalars), self.scalars.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")
        if self.board is not None:
            for name, value in values.items():
                if name != "iteration":
                    self.board.add_scalar(name, value, values["iteration"])

    def say(self, text: str) -> None:
        """Print a line above the bar and keep it in ``log.txt``."""
        self.log(text)
        progress.say(text)

    def log(self, text: str) -> None:
        """Keep a line in ``log.txt``."""
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / "log.txt"
        # names need not be UTF-8; stderr, too, shows them with backslashes
        options: dict[str, Any] = {"encoding": "utf-8", "errors": "backslashreplace"}
        with explaining(log), log.open("a", **options) as file:
            file.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def spoken(name: str) -> str:
    """Return the readable name of a number in ``scalars.jsonl``.

    Example:
        >>> [spoken(name) for name in ("pixel_error", "undivided_perceptual", "val_direct")]
        ['pixel error', 'perceptual, undivided', 'direct (validation)']
    """
    if name.startswith(DIVIDED):
        return f"{name.removeprefix(DIVIDED)}, undivided"
    if name.startswith("val_"):
        return f"{name.removeprefix('val_')} (validation)"
    return name.removeprefix("loss_").replace("_", " ")


def leading(means: dict[str, float]) -> str:
    """Return the error that shows progress: the pixel error, else the sum of the losses."""
    name = "pixel_error" if "pixel_error" in means else "loss"
    return f"{spoken(name)} {means[name]:.4g}"


def others(means: dict[str, float]) -> str:
    """Return the losses; those divided by their running mean come with the undivided error."""
    parts = []
    for name, value in means.items():
        if name.startswith("loss_"):
            word = name.removeprefix("loss_")
            before = means.get(DIVIDED + word)
            known = "" if before is None else f" (undivided {before:.4g})"
            parts.append(f"{word} {value:.4g}{known}")
    return "  ".join(parts)
