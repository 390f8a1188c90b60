"""Training: the only file that knows mmengine's Runner.

The Runner starts the processes, wraps the model for distributed training and calls the hooks. The
loop, the checkpoints and the optimizer step are ours, because mmengine's cannot resume exactly,
clip per parameter group, or train with CPU processes.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shlex
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_dist_info
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from torch import distributed as dist
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from registry import atomic, checkpoint, origins, usual
from registry.build import build
from registry.claim import claim
from registry.config import config_name, load_config, section
from registry.errors import ConfigError, RunError, run_error
from registry.job import Job, save_config, tell, untrained
from registry.launch import join_processes, watch
from registry.loading import Cache, train_loader
from registry.trainee import Stepper, make_optimizer
from registry.trial import trial


class Interrupted(Exception):
    """Training was stopped by Ctrl-C or SIGTERM.

    The message says how to resume in Python; :func:`resume_command` returns the shell command.

    Attributes:
        checkpoint: complete; resume from it.
        signal: the number of the signal.
    """

    def __init__(self, checkpoint: Path, signal: int = signal.SIGINT) -> None:
        super().__init__(
            f"Stopped; {checkpoint} is complete. To resume, repeat the call with resume='auto'."
        )
        self.checkpoint, self.signal = checkpoint, signal


def resume_command(
    config: str | Path, work_dir: str | Path, *flags: str, options: Sequence[str] = ()
) -> str:
    """Return the command that resumes a run, quoted for the shell.

    Args:
        config: as it was given.
        work_dir: of the run.
        flags: other flags of the command that started it, such as ``--amp``.
        options: its ``--cfg-options``.

    Example:
        >>> resume_command("mice.py", "my runs/1", options=["image_size=32"])
        "keypoint-zoo train mice.py --work-dir 'my runs/1' --resume --cfg-options image_size=32"
    """
    words = ["keypoint-zoo", "train", str(config), "--work-dir", str(work_dir), *flags, "--resume"]
    return shlex.join([*words, "--cfg-options", *options] if options else words)


SIGNALS = (signal.SIGINT, signal.SIGTERM)
NUMBERS = itertools.count()  # numbers the runs of this process: mmengine needs unique names


class Loop(BaseLoop):  # type: ignore[misc]
    """Runs iterations ``iter`` to ``max_iters`` with checkpoints in between; resumes exactly."""

    def __init__(self, runner: Any, dataloader: Any, job: Job) -> None:
        super().__init__(runner, dataloader)
        self.job = job
        self.iter = 0
        self.epoch = 0
        self.max_iters = job.settings.iterations
        self.max_epochs = 1
        self.interrupted = 0  # the number of the signal that asked to stop
        self.saved = 0  # the iteration of the last checkpoint
        self.watch = watch()
        if self.watch is not None:
            runner.model.register_forward_hook(lambda *_: self._at("backward pass"))

    def run(self) -> None:
        """Train.

        Raises:
            Interrupted: after Ctrl-C or SIGTERM, with the checkpoint written.
            RunError: memory ran out, or a loader process or another process of the run died.
        """
        runner, job = self.runner, self.job
        torch.manual_seed(job.settings.seed + runner.rank)
        if job.resume is not None:
            self.iter = self.saved = job.restore(runner)
        self.dataloader.sampler.start = self.iter
        if self.watch is not None:
            self.watch.timeout, self.watch.advice = job.settings.timeout, self._advice
        main = threading.current_thread() is threading.main_thread()
        previous = {s: signal.signal(s, self._on_interrupt) for s in SIGNALS if main}
        try:
            runner.call_hook("before_train")
            runner.model.train()
            self._iterate()
            runner.call_hook("after_train")
            if self.watch is not None:
                self.watch.end()
        except BaseException as error:
            told = self._told(error)
            if told is error:
                raise
            raise told from error
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            self.dataloader.close()
            job.progress.close()

    def _told(self, error: BaseException) -> BaseException:
        """Return what to raise for an error, after telling the other processes."""
        lost = self.watch.lost(error) if self.watch is not None else ""
        if told := RunError(f"{lost}.") if lost else run_error(error):
            told = RunError(f"iteration {self.iter + 1}: {told} {self._advice()}")
        if self.watch is not None:
            self.watch.end(None if isinstance(error, Interrupted) else error)
        return told or error

    def _iterate(self) -> None:
        runner, job = self.runner, self.job
        self._at("loading data")
        for data in self.dataloader:
            self._at("forward pass")
            runner.call_hook("before_train_iter", batch_idx=self.iter, data_batch=data)
            job.set_lr(runner.optim_wrapper.optimizer, self.iter)
            try:
                log = runner.model.train_step(data, optim_wrapper=runner.optim_wrapper)
            except FloatingPointError as error:
                raise FloatingPointError(f"iteration {self.iter + 1}: {error}") from None
            if job.ema is not None:
                job.ema.update_parameters(job.trainee.pipeline)
            self._at("hooks")
            runner.call_hook("after_train_iter", batch_idx=self.iter, data_batch=data, outputs=log)
            self._at("end of the iteration")
            self.iter += 1
            every = job.settings.checkpoint_every
            due = bool(every) and self.iter % every == 0
            stop = self._stop_asked()
            if due or stop or self.iter == self.max_iters:
                self._at("checkpoint", self.iter)
                job.save(runner, self.iter)
                self.saved = self.iter
            if stop:
                raise Interrupted(job.work_dir / "last.pth", stop)
            self._at("loading data")

    def _at(self, stage: str, iteration: int | None = None) -> None:
        """Tell the other processes where this one is."""
        if self.watch is not None:
            self.watch.at(iteration or self.iter + 1, stage)

    def _advice(self) -> str:
        last = self.job.work_dir / "last.pth"
        if not self.saved:
            return "No checkpoint has been written yet."
        return f"{last} is complete up to iteration {self.saved}; --resume continues it."

    def _on_interrupt(self, number: int, _: Any) -> None:
        if self.interrupted:
            raise KeyboardInterrupt(f"interrupted. {self._advice()}")
        self.interrupted = number

    def _stop_asked(self) -> int:
        """Return the signal that any process got, or 0: all must stop at the same iteration."""
        if not dist.is_initialized():
            return self.interrupted
        flag = torch.tensor(self.interrupted)  # on the CPU: also with GPUs, errors are raised here
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return int(flag)


class _Quiet(Runner):  # type: ignore[misc]
    """mmengine's Runner without its dumps: the resolved config is already saved as JSON."""

    def dump_config(self) -> None:
        pass

    def _log_env(self, env_cfg: Any) -> None:
        pass


def run(
    cfg: Mapping[str, Any] | str | Path,
    work_dir: str | Path | None = None,
    *,
    resume: str | Path | None = None,
    launcher: str = "none",
) -> Job:
    """Train, evaluate and draw: all that ``keypoint-zoo train`` does, except printing the result.

    Args:
        cfg: resolved, from :func:`registry.config.load_config`; or a path or name for it.
        work_dir: as in :func:`train`; also gets metrics.json and held_out.gif (training_frames.gif
            without other frames). Default for a path or name: that of ``default_work_dir``.
        resume, launcher: as in :func:`train`.

    Returns:
        The finished job with its ``rows`` and its ``summary``; in a distributed run, these are
        empty in all processes but the first.

    Raises:
        ConfigError: the config, the data or the checkpoint is wrong.
        Interrupted: Ctrl-C; ``work_dir/last.pth`` resumes.
    """
    join_processes(launcher)
    if isinstance(cfg, Mapping):
        if work_dir is None:
            raise ConfigError("a resolved config has no name. Give work_dir=.")
    else:
        work_dir = work_dir or default_work_dir(cfg)
        cfg = load_config(cfg)
    with claimed(Path(work_dir)):
        job = _train(cfg, Path(work_dir), resume, launcher)
        summary = build({"type": "hooks/summary"}, "train")
        job.rows = job.score()
        if get_dist_info()[0] == 0:
            job.summary = summary.conclude(job)
    return job


def default_work_dir(config: str | Path) -> Path:
    """Return ``work_dirs/NAME`` for a config; for the config.json of a run, its folder."""
    path = Path(config)
    return path.parent if path.suffix == ".json" else Path("work_dirs") / config_name(path)


def train(
    cfg: Mapping[str, Any],
    work_dir: str | Path,
    *,
    resume: str | Path | None = None,
    launcher: str = "none",
) -> Job:
    """Train a resolved config in ``work_dir``, after the configs that it starts from.

    :func:`run` also evaluates and draws.

    Args:
        cfg: from :func:`registry.config.load_config`.
        work_dir: gets config.json, log, scalars, curve, panels, last.pth and best.pth.
        resume: checkpoint to continue from; ``"auto"`` for ``work_dir/last.pth`` if it exists.
        launcher: none, pytorch (torchrun), slurm or mpi.

    Returns:
        The finished job.

    Raises:
        ConfigError: the config, the data or the checkpoint is wrong.
        Interrupted: Ctrl-C; ``work_dir/last.pth`` resumes.
    """
    join_processes(launcher)
    with claimed(Path(work_dir)):
        return _train(cfg, Path(work_dir), resume, launcher)


@contextlib.contextmanager
def claimed(work_dir: Path) -> Iterator[None]:
    """Keep other trainings out of a run's folder; the first process claims it for all.

    Raises:
        ConfigError: another training is writing there; in all processes.
        OSError: the folder cannot be written; in all processes.
    """
    rank, ranks = get_dist_info()
    refused: list[Exception | None] = [None]
    with contextlib.ExitStack() as stack:
        if rank == 0:
            busy = (
                f"another training is writing in '{work_dir}' ({{}}). Wait for it, or give another "
                "--work-dir."
            )
            try:
                stack.enter_context(claim(work_dir / ".claim", busy))
            except (ConfigError, OSError) as error:
                refused = [error]
        if ranks > 1:
            dist.broadcast_object_list(refused)
        if refused[0] is not None:
            raise refused[0]
        yield


def _start(work_dir: Path, resume: str | Path | None) -> Path | None:
    """Return the checkpoint to start from, if any.

    Raises:
        ConfigError: the folder holds a run that would be replaced.
    """
    last = work_dir / "last.pth"
    if resume == "auto":
        return last if last.is_file() else None
    if resume is None:
        if last.is_file():
            raise ConfigError(
                f"{work_dir} already holds a run. Add --resume (in Python: resume='auto') to "
                "continue it, give another --work-dir, or move it away."
            )
        return None
    start = Path(resume)
    if last.is_file() and start.parent.resolve() != work_dir.resolve():
        raise ConfigError(
            f"{work_dir} already holds a run, which --resume without a file continues. To continue "
            f"{start}, give a --work-dir of its own."
        )
    return start


def _train(cfg: Mapping[str, Any], work_dir: Path, resume: str | Path | None, launcher: str) -> Job:
    """Train in a folder that is claimed; until all checks have passed, nothing is written there."""
    rank, ranks = get_dist_info()
    start = _start(work_dir, resume)
    every, folder = section(cfg, "train").log_every, str(work_dir)
    progress = build({"type": "hooks/progress", "every": every, "folder": folder}, "train")
    told = []
    if start is None:
        for name, beside, origin in untrained(cfg, work_dir):
            trial(cfg)  # find mistakes in this config before its origin is trained
            told.append(f"train.init: training {name} first")
            tell(told[-1])
            train(origin, beside, resume="auto", launcher=launcher)
    job = Job(cfg, work_dir, start)
    settings = job.settings
    cuda = torch.cuda.is_available()
    job.trainee.to(torch.device("cuda", torch.cuda.current_device()) if cuda else "cpu")
    if settings.ema is not None:
        average = get_ema_multi_avg_fn(settings.ema)  # type: ignore[no-untyped-call]
        job.ema = AveragedModel(job.trainee.pipeline, multi_avg_fn=average)
    if settings.compile:
        job.trainee.pipeline.compile()
    job.progress = progress
    optimizer = make_optimizer(job.trainee.pipeline, settings)
    hooks = [
        build({"type": "hooks/summary"}, "train"),  # first: its lines come before the bar
        job.progress,
        build({"type": "hooks/panels", "every": settings.panels_every}, "train"),
        build({"type": "hooks/validation", "every": settings.evaluate_every}, "train"),
        *build(list(settings.hooks), "train.hooks", "hooks"),
    ]
    if rank == 0:
        for place in (work_dir, *(work_dir.parent / name for name in origins.names(cfg))):
            atomic.leftovers(place, remove=True)
        for text in told:
            progress.log(text)
    prepare(job, rank, ranks)
    loader = train_loader(
        job.datasets,
        iterations=settings.iterations,
        batch_size=settings.batch_size,
        seed=settings.seed,
        rank=rank,
        ranks=ranks,
    )
    if rank == 0 and settings.sync_batch_norm and ranks > 1 and not cuda:
        job.progress.say("train.sync_batch_norm needs GPUs; it is ignored here.")
    runner = make_runner(job, optimizer, loader, hooks, ranks)
    if rank == 0:
        save_config(cfg, work_dir)
    runner.train()
    if rank == 0:
        usual.write(usual.usual_of(job.evaluated(), cfg), work_dir)
    return job


def prepare(job: Job, rank: int, ranks: int) -> None:
    """Let the pipeline derive its training data from ``data.train``, cached in the run's folder."""
    pipeline = job.trainee.pipeline
    if job.state is not None:  # the loop restores everything later; the weights are needed now
        checkpoint.load_part(pipeline, job.state, "pipeline", str(job.resume))
    # the model too: how maps become landmarks is not in its weights
    source = json.dumps([job.data.train, job.cfg["model"]], sort_keys=True)
    cache = Cache(job.work_dir, source, job.data.workers, lambda text, _: job.progress.say(text))
    for turn in range(min(ranks, 2)):  # the first process writes the file, the others read it
        if turn == min(rank, 1):
            job.datasets.replace("train", pipeline.prepare(job.datasets("train"), cache))
        if ranks > 1:
            dist.barrier()


def make_runner(
    job: Job, optimizer: torch.optim.Optimizer, loader: Any, hooks: list[Any], ranks: int
) -> _Quiet:
    """Return mmengine's Runner around a job; hooks find the job as ``runner.job``."""
    settings = job.settings
    wrapper: dict[str, Any] = {"type": "MMDistributedDataParallel", "broadcast_buffers": False}
    cfg: dict[str, Any] = {"model_wrapper_cfg": wrapper}
    if not torch.cuda.is_available():
        wrapper["device_ids"] = None
    elif settings.sync_batch_norm:
        cfg["sync_bn"] = "torch"  # mmengine converts the layers if there are several processes

    def loop(runner: Any, dataloader: Any) -> Loop:
        # a closure: mmengine deep-copies the arguments in a loop's config, including the model
        return Loop(runner, dataloader, job)

    standard = ("runtime_info", "timer", "sampler_seed", "logger", "param_scheduler", "checkpoint")
    # mmengine writes a log, which repeats log.txt, scalars.jsonl and config.json
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        runner = _Quiet(
            model=job.trainee,
            work_dir=folder,
            train_dataloader=loader,
            train_cfg={"type": loop},
            optim_wrapper=Stepper(optimizer, settings.clip, settings.amp, settings.clip_each),
            default_hooks=dict.fromkeys(standard),
            custom_hooks=hooks,
            launcher="pytorch" if ranks > 1 else "none",
            cfg=Config(cfg),
            randomness={"seed": settings.seed},
            log_level="WARNING",
            experiment_name=f"{job.work_dir.name}-{os.getpid()}-{next(NUMBERS)}",
        )
    runner._work_dir = str(job.work_dir)  # for the hooks of others
    runner.job = job
    return runner


__all__ = ["Hook", "Interrupted", "resume_command", "run", "train"]
