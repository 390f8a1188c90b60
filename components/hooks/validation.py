"""Scores on the validation set during training, and the checkpoint that scored best."""

from __future__ import annotations

import json
from typing import Any

from registry.errors import ConfigError
from registry.evaluation import applicable, build_metrics, predictor, score
from registry.roles import HOOKS
from registry.runner import Hook


@HOOKS.register_module("hooks/validation")
class Validation(Hook):  # type: ignore[misc]
    """Compute the metrics on ``data.val`` at intervals; the first of them selects ``best.pth``.

    The lowest score is the best, or the highest if the metric says ``higher_is_better``. The test
    split is never used here.

    Args:
        every: iterations between evaluations; 0 for never.
    """

    def __init__(self, *, every: int) -> None:
        self.every = every
        self.best = float("inf")

    def before_train(self, runner: Any) -> None:
        """Find the best score so far."""
        self.job = job = runner.job
        if job.data.val is None or runner.rank != 0:
            self.every = 0
        if not self.every:
            return
        self.metrics, left_out = applicable(build_metrics(job.cfg), job.datasets, "val")
        if not self.metrics:
            raise ConfigError(f"train.evaluate_every: {'; '.join(left_out)}.")
        first, metric = next(iter(self.metrics.items()))
        self.sign = -1 if metric.higher_is_better else 1
        if runner.iter:  # a resumed run competes with what it reached before
            lines = (self.job.work_dir / "scalars.jsonl").read_text(encoding="utf-8").splitlines()
            records = [record for line in lines if f"val_{first}" in (record := json.loads(line))]
            scores = [self.sign * record[f"val_{first}"] for record in records]
            self.best = min(scores, default=self.best)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Evaluate when due."""
        done = batch_idx + 1
        if not self.every or (done % self.every and done != runner.max_iters):
            return
        job, pipeline = self.job, self.job.evaluated()
        was_training = pipeline.training
        device = next(pipeline.parameters()).device
        players = {"trained": predictor(pipeline, self.metrics)}
        found = score(players, self.metrics, job.datasets, "val", job.cfg, device)
        pipeline.train(was_training)
        results = {name: metric.compute() for name, metric in found["trained"].items()}
        values = {f"val_{name}": row["value"] for name, row in results.items()}
        job.progress.record({"iteration": done, **values})
        first = self.sign * next(iter(results.values()))["value"]
        text = ", ".join(f"{k} {v['value']:.3f} {v['unit']}" for k, v in results.items())
        job.progress.say(f"validation at {done}: {text}")
        if first < self.best:
            self.best = first
            # each process has only its own state: best.pth is for evaluation, last.pth for resuming
            self.job.save_weights(done, "best.pth")
