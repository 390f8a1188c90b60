"""Pictures of what the model does while it trains."""

from __future__ import annotations

from typing import Any

from components.drawing import panel, write_png
from registry.loading import frames_of, spread, to_batch
from registry.roles import HOOKS
from registry.runner import Hook


@HOOKS.register_module("hooks/panels")
class Panels(Hook):  # type: ignore[misc]
    """Write ``panels/<iteration>.png``: source, driving, landmarks, pose, layers, render, titled.

    Args:
        every: iterations between panels; 0 for none.
        rows: number of frames, evenly spaced over the validation (else training) set.
    """

    def __init__(self, *, every: int, rows: int = 6) -> None:
        self.every, self.rows = every, rows

    def before_train(self, runner: Any) -> None:
        """Choose the frames once."""
        self.job = job = runner.job
        splits = ("val", "test", "train")
        name = next((n for n in splits if not job.datasets.absence(n)), None)
        drawable = name is not None and bool(job.trainee.pipeline.infers)
        if runner.rank != 0 or not self.every or not drawable:
            self.every = 0
            return
        dataset = job.datasets(name)
        self.arrays = next(iter(frames_of(dataset, spread(len(dataset), self.rows), self.rows)))
        if "target" not in self.arrays:  # clips: the picture at the end shows the forecast
            self.every = 0

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Write a panel when due."""
        done = batch_idx + 1
        if not self.every or (done % self.every and done != runner.max_iters):
            return
        pipeline = self.job.evaluated()
        batch = to_batch(self.arrays, next(pipeline.parameters()).device)
        was_training = pipeline.training
        pipeline.eval()
        found = pipeline.infer(batch)
        pipeline.train(was_training)
        picture = panel(batch, found, pipeline.limbs(), pipeline.blank)
        write_png(self.job.work_dir / "panels" / f"{done:07d}.png", picture)
