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
import threading
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
from registry.evaluation import build_metrics
from registry.launch import join_processes
from registry.loading import Datasets, train_loader
from registry.trainee import Stepper, Trainee


class Interrupted(Exception):
    """Training was stopped by Ctrl-C or SIGTERM.

    Attributes:
        checkpoint: complete, to resume from.
    """

    def __init__(self, checkpoint: Path) -> None:
        super().__init__(f"stopped; resume from {checkpoint}")
        self.checkpoint = checkpoint


SIGNALS = (signal.SIGINT, signal.SIGTERM)


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
            Interrupted: after Ctrl-C or SIGTERM, with the checkpoint written.
        """
        runner, job = self.runner, self.job
        torch.manual_seed(job.settings.seed + runner.rank)
        if job.resume is not None:
            self.iter = job.restore(runner)
        self.dataloader.sampler.start = self.iter
        main = threading.current_thread() is threading.main_thread()
        previous = {s: signal.signal(s, self._on_interrupt) for s in SIGNALS if main}
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
                stop = self._stop_asked()
                if due or stop or self.iter == self.max_iters:
                    job.save(runner, self.iter)
                if stop:
                    raise Interrupted(job.work_dir / "last.pth")
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        runner.call_hook("after_train")

    def _on_interrupt(self, *_: Any) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True

    def _stop_asked(self) -> bool:
        """Tell whether any process was asked to stop: all of them must stop at one iteration."""
        if not dist.is_initialized():
            return self.interrupted
        device = "cuda" if torch.cuda.is_available() else "cpu"
        flag = torch.tensor(int(self.interrupted), device=device)
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag)


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
        settings, data: those sections of the config.
        datasets: the datasets of the config, built once.
        progress: the hook that records and prints.
    """

    progress: Any

    def __init__(self, cfg: Mapping[str, Any], work_dir: Path, resume: Path | None = None) -> None:
        self.cfg, self.work_dir, self.resume = cfg, work_dir, resume
        self.settings: Train = section(cfg, "train")
        self.data: Data = section(cfg, "data")
        self.datasets = Datasets(self.data)
        if cfg.get("evaluate"):  # a mistake there must not wait until training is over
            build_metrics(cfg)
            self.datasets("test")
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
        changed = difference(json.loads(state["config"]), self.cfg, whole_run=False)
        if changed:
            raise ConfigError(
                f"{self.resume} was trained with another {changed}. Resume with the config it was "
                f"started with ({self.work_dir}/config.json), or start a new --work-dir."
            )
        self.trainee.load_state_dict(state["model"])
        if self.ema is not None:
            self.ema.module.load_state_dict(state["ema"])
            self.ema.n_averaged.fill_(state["ema_count"])
        optimizer = runner.optim_wrapper.optimizer
        rates = [group["initial_lr"] for group in optimizer.param_groups]
        optimizer.load_state_dict(state["optimizer"])
        for group, rate in zip(optimizer.param_groups, rates):
            group["initial_lr"] = rate  # train.lr may be changed on the way
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
    last = work_dir / "last.pth"
    if resume is None and last.is_file():
        raise ConfigError(
            f"{work_dir} holds a run already. Add --resume to go on with it, give another "
            "--work-dir, or move it away."
        )
    found = last if resume == "auto" else resume and Path(resume)
    job = Job(cfg, work_dir, found if found and (resume != "auto" or last.is_file()) else None)
    settings = job.settings
    loader = train_loader(
        job.datasets,
        iterations=settings.iterations,
        batch_size=settings.batch_size,
        seed=settings.seed,
        rank=rank,
        ranks=ranks,
    )
    if rank == 0:
        save_config(cfg, work_dir)
    cuda = torch.cuda.is_available()
    job.trainee.to(torch.device("cuda", torch.cuda.current_device()) if cuda else "cpu")
    if settings.ema is not None:
        average = get_ema_multi_avg_fn(settings.ema)  # type: ignore[no-untyped-call]
        job.ema = AveragedModel(job.trainee.pipeline, multi_avg_fn=average)
    if settings.compile:
        job.trainee.pipeline.compile()
    job.progress = build({"type": "hooks/progress", "every": settings.log_every}, "train")
    hooks = [
        job.progress,
        build({"type": "hooks/panels", "every": settings.panels_every}, "train"),
        build({"type": "hooks/validation", "every": settings.evaluate_every}, "train"),
        *build(list(settings.hooks), "train.hooks", "hooks"),
    ]
    make_runner(job, loader, hooks, ranks).train()
    return job


def make_optimizer(pipeline: Any, settings: Train) -> torch.optim.Optimizer:
    """Return Adam with one parameter group per player of the pipeline.

    Raises:
        ConfigError: ``train.groups`` names an unknown group or option.
    """
    groups = pipeline.parameter_groups()
    for name, changes in settings.groups.items():
        if name not in groups:
            raise ConfigError(f"train.groups: no group '{name}'; there are {', '.join(groups)}.")
        for key in changes:
            if key not in ("lr", "betas", "weight_decay"):
                raise ConfigError(
                    f"train.groups.{name}: '{key}' is none of lr, betas, weight_decay."
                )
    parameters = []
    for name, params in groups.items():
        changes = settings.groups.get(name, {})
        rate = changes.get("lr", settings.lr)
        parameters.append({"params": params, "name": name, "initial_lr": rate, **changes})
    betas = (settings.betas[0], settings.betas[1])
    return torch.optim.Adam(
        parameters, lr=settings.lr, betas=betas, weight_decay=settings.weight_decay
    )


def make_runner(job: Job, loader: Any, hooks: list[Any], ranks: int) -> _Quiet:
    """Return mmengine's Runner around a job; hooks find the job as ``runner.job``."""
    settings = job.settings
    wrapper: dict[str, Any] = {"type": "MMDistributedDataParallel", "broadcast_buffers": False}
    if not torch.cuda.is_available():
        wrapper["device_ids"] = None

    def loop(runner: Any, dataloader: Any) -> Loop:
        # a closure: mmengine deep-copies the arguments in a loop's config, the model with them
        return Loop(runner, dataloader, job)

    standard = ("runtime_info", "timer", "sampler_seed", "logger", "param_scheduler", "checkpoint")
    optimizer = make_optimizer(job.trainee.pipeline, settings)
    runner = _Quiet(
        model=job.trainee,
        work_dir=str(job.work_dir),
        train_dataloader=loader,
        train_cfg={"type": loop},
        optim_wrapper=Stepper(optimizer, settings.clip, settings.amp),
        default_hooks=dict.fromkeys(standard),
        custom_hooks=hooks,
        launcher="pytorch" if ranks > 1 else "none",
        cfg=Config({"model_wrapper_cfg": wrapper}),
        randomness={"seed": settings.seed},
        log_level="WARNING",
        experiment_name=f"{job.work_dir.name}-{os.getpid()}-{id(job)}",
    )
    if runner.rank == 0:
        # mmengine's own log folder: log.txt, scalars.jsonl and config.json hold what would be in it
        shutil.rmtree(runner.log_dir, ignore_errors=True)
    runner.job = job
    return runner


FIXED = ("batch_size", "seed", "ema")  # of the train section; the rest may change on the way
FREE = (
    "amp",
    "compile",
    "hooks",
    "log_every",
    "panels_every",
    "checkpoint_every",
    "evaluate_every",
)


def difference(old: Mapping[str, Any], new: Mapping[str, Any], *, whole_run: bool) -> str | None:
    """Name the first part in which two configs would train different weights, or None.

    Args:
        old, new: resolved configs.
        whole_run: compare finished runs; else only what must not change in the middle of one.
    """

    def essential(cfg: Mapping[str, Any]) -> dict[str, Any]:
        parts: dict[str, Any] = {name: cfg.get(name) for name in ("model", "losses")}
        for key in ("train", "prior", "prior_size", "transforms"):
            parts[f"data.{key}"] = cfg.get("data", {}).get(key)
        for key in Train.__dataclass_fields__:
            if key in FIXED or (whole_run and key not in FREE):
                parts[f"train.{key}"] = cfg["train"].get(key)
        return parts

    a, b = (json.loads(json.dumps(essential(cfg))) for cfg in (old, new))
    return next((key for key in a if a[key] != b[key]), None)


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


__all__ = ["Hook", "Interrupted", "Job", "load_pipeline", "train"]
