"""Training: the only file that knows mmengine's Runner.

The Runner starts the processes, wraps the model for distributed training and calls the hooks; the
loop, the checkpoints and the optimizer step are ours, because mmengine's cannot resume exactly,
clip per parameter group, or train on CPU processes.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_dist_info
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from torch import Tensor, nn
from torch import distributed as dist
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from registry import checkpoint
from registry.build import build
from registry.config import Data, Train, build_model, section
from registry.errors import ConfigError
from registry.launch import join_processes
from registry.loading import train_loader
from registry.trainee import Stepper, Trainee


class Interrupted(Exception):
    """Training was stopped by Ctrl-C; the checkpoint is written."""


class Loop(BaseLoop):  # type: ignore[misc]
    """Iterations ``iter`` to ``max_iters``, checkpoints in between, exact resume."""

    def __init__(self, runner: Any, dataloader: Any, job: Job) -> None:
        super().__init__(runner, dataloader)
        self.job = job
        self.iter = 0
        self.epoch = 0
        self.max_iters = job.settings.iterations
        self.max_epochs = 1
        self.interrupted = False

    def run(self) -> None:
        """Train.

        Raises:
            Interrupted: after Ctrl-C, with the checkpoint written.
        """
        runner, job = self.runner, self.job
        torch.manual_seed(job.settings.seed + runner.rank)
        if job.resume is not None:
            self.iter = job.restore(runner)
        self.dataloader.sampler.start = self.iter
        previous = signal.signal(signal.SIGINT, self._on_interrupt) if _main_thread() else None
        runner.call_hook("before_train")
        try:
            runner.model.train()
            for data in self.dataloader:
                runner.call_hook("before_train_iter", batch_idx=self.iter, data_batch=data)
                job.set_lr(runner.optim_wrapper.optimizer, self.iter)
                try:
                    log = runner.model.train_step(data, optim_wrapper=runner.optim_wrapper)
                except FloatingPointError as error:
                    raise FloatingPointError(f"iteration {self.iter + 1}: {error}") from None
                if job.ema is not None:
                    job.ema.update_parameters(job.trainee.pipeline)
                runner.call_hook(
                    "after_train_iter", batch_idx=self.iter, data_batch=data, outputs=log
                )
                self.iter += 1
                every = job.settings.checkpoint_every
                due = bool(every) and self.iter % every == 0
                if due or self.interrupted or self.iter == self.max_iters:
                    job.save(runner, self.iter)
                if self.interrupted:
                    raise Interrupted
        finally:
            if previous is not None:
                signal.signal(signal.SIGINT, previous)
        runner.call_hook("after_train")

    def _on_interrupt(self, *_: Any) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True


class _Quiet(Runner):  # type: ignore[misc]
    """mmengine's Runner without its dumps: the resolved config is already saved, once, as JSON."""

    def dump_config(self) -> None:
        pass

    def _log_env(self, env_cfg: Any) -> None:
        pass


class Job:
    """One training run in one folder: what the loop and the hooks share.

    Args:
        cfg: resolved config.
        work_dir: everything is written below it.
        resume: checkpoint to go on from, or None.

    Attributes:
        trainee: pipeline and losses.
        ema: the averaged pipeline, or None.
        settings: the ``train`` section.
    """

    def __init__(self, cfg: Mapping[str, Any], work_dir: Path, resume: Path | None = None) -> None:
        self.cfg, self.work_dir, self.resume = cfg, work_dir, resume
        self.settings: Train = section(cfg, "train")
        self.data: Data = section(cfg, "data")
        torch.manual_seed(self.settings.seed)
        pipeline = build_model(cfg)
        losses = build(cfg.get("losses", {}), "losses", "losses")
        if not losses:
            raise ConfigError("losses: the section is empty; there is nothing to minimise.")
        if resume is None:
            self._initialise(pipeline)
        transforms = build(list(self.data.transforms), "data.transforms", "transforms")
        self.trainee = Trainee(pipeline, losses, transforms).to(memory_format=torch.channels_last)
        self.ema: AveragedModel | None = None

    def _initialise(self, pipeline: nn.Module) -> None:
        """Load the parts that start from another config's trained weights."""
        for part, origin in self.settings.init.items():
            name, _, source = origin.partition(":")
            module = pipeline if part == "pipeline" else getattr(pipeline, part, None)
            if module is None:
                raise ConfigError(f"train.init: the model has no part '{part}'.")
            path = self.work_dir.parent / name / "last.pth"
            checkpoint.load_part(
                module, checkpoint.load(path), source or part, f"train.init.{part}: {path}"
            )

    def evaluated(self) -> nn.Module:
        """Return the pipeline whose weights count: the averaged one where there is one."""
        return self.ema.module if self.ema is not None else self.trainee.pipeline

    def set_lr(self, optimizer: torch.optim.Optimizer, iteration: int) -> None:
        """Set every group's rate for this iteration: a function of the iteration alone."""
        factor = lr_factor(self.settings.lr_factors, iteration)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor

    def save(self, runner: Any, iteration: int) -> None:
        """Write ``last.pth``; every rank's generators and buffers go into it."""
        own = {"random": checkpoint.random_state(), "buffers": dict(self._local_buffers())}
        ranks: list[Any] = [own]
        if dist.is_initialized():
            ranks = [None] * runner.world_size
            dist.all_gather_object(ranks, own)
        if runner.rank == 0:
            state = {
                "iteration": iteration,
                "config": json.dumps(self.cfg),
                "model": self.trainee.state_dict(),
                "ema": self.ema.module.state_dict() if self.ema is not None else None,
                "ema_count": int(self.ema.n_averaged) if self.ema is not None else 0,
                "optimizer": runner.optim_wrapper.optimizer.state_dict(),
                "ranks": ranks,
            }
            checkpoint.save(state, self.work_dir / "last.pth")
        if dist.is_initialized():
            dist.barrier()  # the next thing another rank does may be to read the file

    def save_weights(self, iteration: int, name: str) -> None:
        """Write the evaluated weights alone, for evaluation and not for resuming."""
        weights = {f"pipeline.{k}": v for k, v in self.evaluated().state_dict().items()}
        state = {"iteration": iteration, "config": json.dumps(self.cfg), "model": weights}
        checkpoint.save(state, self.work_dir / name)

    def restore(self, runner: Any) -> int:
        """Load ``self.resume`` into model, average, optimizer, generators; return its iteration."""
        assert self.resume is not None
        state = checkpoint.load(self.resume)
        if "optimizer" not in state:
            raise ConfigError(f"{self.resume} holds weights only; resume from last.pth.")
        if state["iteration"] > self.settings.iterations:
            raise ConfigError(
                f"{self.resume} is at iteration {state['iteration']}, beyond train.iterations."
            )
        if len(state["ranks"]) != runner.world_size:
            raise ConfigError(
                f"{self.resume} was written by {len(state['ranks'])} processes, this run has "
                f"{runner.world_size}; start as many."
            )
        self.trainee.load_state_dict(state["model"])
        if self.ema is not None:
            self.ema.module.load_state_dict(state["ema"])
            self.ema.n_averaged.fill_(state["ema_count"])
        runner.optim_wrapper.optimizer.load_state_dict(state["optimizer"])
        own = state["ranks"][runner.rank]
        self.trainee.load_state_dict(own["buffers"], strict=False)
        checkpoint.set_random_state(own["random"])
        return int(state["iteration"])

    def _local_buffers(self) -> Iterator[tuple[str, Tensor]]:
        saved = self.trainee.state_dict()
        for name, _ in self.trainee.named_buffers():
            if name in saved:
                yield name, saved[name].cpu()


def lr_factor(points: Any, iteration: int) -> float:
    """Interpolate ``(iteration, factor)`` points linearly; constant beyond both ends.

    Example:
        >>> lr_factor([(100, 1.0), (200, 0.0)], 150)
        0.5
    """
    if not points:
        return 1.0
    before = [p for p in points if p[0] <= iteration]
    after = [p for p in points if p[0] > iteration]
    if not before or not after:
        return float((before or after)[-1 if before else 0][1])
    (i, a), (j, b) = before[-1], after[0]
    return float(a + (b - a) * (iteration - i) / (j - i))


def train(
    cfg: Mapping[str, Any],
    work_dir: str | Path,
    *,
    resume: str | Path | None = None,
    launcher: str = "none",
) -> Job:
    """Train a resolved config in ``work_dir``.

    Args:
        cfg: from :func:`registry.config.load_config`.
        work_dir: gets config.json, log, scalars, panels, last.pth and best.pth.
        resume: checkpoint to go on from; ``"auto"`` for ``work_dir/last.pth`` if it is there.
        launcher: none, pytorch (torchrun), slurm or mpi.

    Returns:
        The finished job.

    Raises:
        ConfigError: the config, the data or the checkpoint is wrong.
        Interrupted: Ctrl-C; ``work_dir/last.pth`` resumes.
    """
    work_dir = Path(work_dir)
    join_processes(launcher)
    rank, ranks = get_dist_info()
    path = work_dir / "last.pth" if resume == "auto" else resume and Path(resume)
    job = Job(cfg, work_dir, path if path and (resume != "auto" or path.is_file()) else None)
    settings = job.settings
    loader = train_loader(
        job.data,
        iterations=settings.iterations,
        batch_size=settings.batch_size,
        seed=settings.seed,
        rank=rank,
        ranks=ranks,
    )
    if rank == 0:
        save_config(cfg, work_dir)
    device = (
        torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else "cpu"
    )
    job.trainee.to(device)
    if settings.ema is not None:
        average = get_ema_multi_avg_fn(settings.ema)  # type: ignore[no-untyped-call]
        job.ema = AveragedModel(job.trainee.pipeline, multi_avg_fn=average)
    groups = job.trainee.pipeline.parameter_groups()
    unknown = set(settings.groups) - set(groups)
    if unknown:
        raise ConfigError(
            f"train.groups: no group '{min(unknown)}'; there are {', '.join(groups)}."
        )
    parameters = []
    for name, params in groups.items():
        changes = settings.groups.get(name, {})
        rate = changes.get("lr", settings.lr)
        parameters.append({"params": params, "name": name, "initial_lr": rate, **changes})
    optimizer = torch.optim.Adam(
        parameters,
        lr=settings.lr,
        betas=(settings.betas[0], settings.betas[1]),
        weight_decay=settings.weight_decay,
    )
    if settings.compile:
        job.trainee.pipeline.compile()
    hooks = [
        build({"type": "hooks/progress", "every": settings.log_every, "job": job}, "train"),
        build({"type": "hooks/panels", "every": settings.panels_every, "job": job}, "train"),
        build({"type": "hooks/validation", "every": settings.evaluate_every, "job": job}, "train"),
        *build(list(settings.hooks), "train.hooks", "hooks"),
    ]
    wrapper = {"type": "MMDistributedDataParallel", "broadcast_buffers": False}
    if not torch.cuda.is_available():
        wrapper["device_ids"] = None

    def loop(runner: Any, dataloader: Any) -> Loop:
        # a closure: mmengine deep-copies the arguments in a loop's config, the model with them
        return Loop(runner, dataloader, job)

    standard = ("runtime_info", "timer", "sampler_seed", "logger", "param_scheduler", "checkpoint")
    runner = _Quiet(
        model=job.trainee,
        work_dir=str(work_dir),
        train_dataloader=loader,
        train_cfg={"type": loop},
        optim_wrapper=Stepper(optimizer, settings.clip, settings.amp),
        default_hooks=dict.fromkeys(standard),
        custom_hooks=hooks,
        launcher="pytorch" if ranks > 1 else "none",
        cfg=Config({"model_wrapper_cfg": wrapper}),
        randomness={"seed": settings.seed},
        log_level="WARNING",
        experiment_name=f"{work_dir.name}-{os.getpid()}-{id(job)}",
    )
    if rank == 0:
        # mmengine's own log folder: log.txt, scalars.jsonl and config.json hold what would be in it
        shutil.rmtree(runner.log_dir, ignore_errors=True)
    runner.train()
    return job


def save_config(cfg: Mapping[str, Any], work_dir: Path) -> None:
    """Write ``config.json``: with it alone the model can be rebuilt."""
    work_dir.mkdir(parents=True, exist_ok=True)
    temporary = work_dir / ".config.json.tmp"
    temporary.write_text(json.dumps(cfg, indent=2) + "\n")
    temporary.replace(work_dir / "config.json")


def load_pipeline(cfg: Mapping[str, Any], file: str | Path) -> Any:
    """Build the pipeline of a resolved config, fill it from a checkpoint, set evaluation mode.

    Raises:
        ConfigError: the checkpoint is missing, unreadable, or of another model.
    """
    pipeline = build_model(cfg)
    checkpoint.load_part(pipeline, checkpoint.load(file), "pipeline", str(file))
    pipeline = pipeline.eval().to(memory_format=torch.channels_last)
    return pipeline.to("cuda" if torch.cuda.is_available() else "cpu")


def _main_thread() -> bool:
    import threading

    return threading.current_thread() is threading.main_thread()


__all__ = ["Hook", "Interrupted", "Job", "load_pipeline", "train"]
