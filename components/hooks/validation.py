"""Scores on the validation set during training, and the checkpoint that scored best."""

from __future__ import annotations

import json
from typing import Any

from registry.build import build
from registry.evaluation import score
from registry.roles import HOOKS
from registry.runner import Hook


@HOOKS.register_module("hooks/validation")
class Validation(Hook):
    """Compute the metrics on ``data.val`` at intervals; keep ``best.pth`` by the first of them.

    The test split is never looked at here.

    Args:
        every: iterations between two evaluations; 0 for never.
        job: the run.
    """

    def __init__(self, *, every: int, job: Any) -> None:
        self.every, self.job = every if job.data.val is not None else 0, job
        self.best = float("inf")

    def before_train(self, runner: Any) -> None:
        """Build the validation set, and find the best score so far."""
        if not self.every or runner.rank != 0:
            return
        self.dataset = build(self.job.data.val, "data.val", "datasets")
        if runner.iter:  # a resumed run competes with what it reached before
            name = f"val_{next(iter(self.job.cfg['evaluate']['metrics']))}"
            lines = (self.job.work_dir / "scalars.jsonl").read_text().splitlines()
            scores = [json.loads(line).get(name, self.best) for line in lines]
            self.best = min(scores, default=self.best)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Evaluate when due."""
        done = batch_idx + 1
        if not self.every or runner.rank != 0 or (done % self.every and done != runner.max_iters):
            return
        results = score(self.job.evaluated(), self.dataset, self.job.cfg)
        progress = next(hook for hook in runner.hooks if hasattr(hook, "record"))
        progress.record({"iteration": done, **{f"val_{k}": v["value"] for k, v in results.items()}})
        first = next(iter(results.values()))["value"]
        text = ", ".join(f"{k} {v['value']:.3f} {v['unit']}" for k, v in results.items())
        progress.say(f"validation at {done}: {text}")
        if first < self.best:
            self.best = first
            # one process writes its own state only: best.pth is to evaluate, last.pth to resume
            self.job.save_weights(done, "best.pth")
