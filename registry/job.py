"""One training run in one folder: its parts, its checkpoints, and what may change on resuming."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_dist_info, get_rank
from torch import Tensor, nn
from torch import distributed as dist
from torch.optim.swa_utils import AveragedModel

from registry import checkpoint, origins, progress
from registry.atomic import replacing
from registry.build import build, build_model
from registry.config import Data, Train, section
from registry.errors import ConfigError
from registry.evaluation import applicable, build_metrics, evaluate, write_metrics
from registry.loading import Datasets
from registry.sizes import image_size
from registry.trainee import Trainee
from registry.trial import part_of, trial
from registry.wiring import check_losses, check_metrics, training_fields

FIXED = ("batch_size", "seed", "ema")  # of the train section; the rest may change on resuming
FREE = (
    "amp",
    "compile",
    "timeout",
    "hooks",
    "log_every",
    "panels_every",
    "checkpoint_every",
    "evaluate_every",
)


def difference(old: Mapping[str, Any], new: Mapping[str, Any], *, whole_run: bool) -> str | None:
    """Return the first section whose difference leads to other trained weights, or None.

    Args:
        old, new: resolved configs.
        whole_run: compare finished runs; otherwise only what must not change during a run.
    """

    def essential(cfg: Mapping[str, Any]) -> dict[str, Any]:
        parts: dict[str, Any] = {name: cfg.get(name) for name in ("model", "losses")}
        data, settings = (dict(cfg.get(name) or {}) for name in ("data", "train"))
        for key in ("train", "prior", "prior_size", "transforms"):
            parts[f"data.{key}"] = data.get(key)
        for key in Train.__dataclass_fields__:
            if key in FIXED or (whole_run and key not in FREE):
                parts[f"train.{key}"] = settings.get(key)
        return parts

    a, b = (json.loads(json.dumps(essential(cfg))) for cfg in (old, new))
    return next((key for key in a if a[key] != b[key]), None)


def untrained(cfg: Mapping[str, Any], work_dir: Path) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """Yield name, folder and config of every origin in ``train.init`` that is not trained yet.

    Args:
        cfg: resolved config; an origin that is not in its ``origins`` must already be trained.
        work_dir: folder of its run; the folders of the origins are beside it.

    Raises:
        ConfigError: a folder holds a run with other settings.
    """
    for name in origins.names(cfg):
        folder, wanted = work_dir.parent / name, cfg.get("origins", {}).get(name)
        if wanted is None:
            continue
        saved, last = folder / "config.json", folder / "last.pth"
        before = json.loads(saved.read_text(encoding="utf-8")) if saved.is_file() else wanted
        if changed := difference(before, wanted, whole_run=True):
            raise ConfigError(
                f"train.init: {folder} was trained with a different {changed}. Move that folder "
                "away, or use a --work-dir in another folder."
            )
        if not last.is_file() or (
            checkpoint.load(last).get("iteration") != wanted["train"]["iterations"]
        ):
            yield name, folder, wanted


class Job:
    """One training run in one folder: what the loop and the hooks share.

    Args:
        cfg: resolved config.
        work_dir: everything is written below it.
        resume: checkpoint to continue from, or None.

    Attributes:
        trainee: pipeline and losses.
        ema: the averaged pipeline, or None.
        settings, data: the sections ``train`` and ``data`` of the config.
        datasets: the datasets of the config, built once.
        left_out: one line per score without data, with the reason.
        scored: whether any metric is left.
        rescheduled: a line on how resuming changes the learning rate, if it does.
        progress: the hook that records and prints.
        rows: the scores, see :meth:`score`.
        summary: the result as text; :func:`registry.runner.run` fills ``rows`` and ``summary``.

    Raises:
        ConfigError: the config, the data or the checkpoint is wrong; nothing has been written.
    """

    progress: Any
    rows: Sequence[dict[str, Any]] = ()
    summary: str = ""

    def __init__(self, cfg: Mapping[str, Any], work_dir: Path, resume: Path | None = None) -> None:
        self.cfg, self.work_dir, self.resume = cfg, work_dir, resume
        self.settings: Train = section(cfg, "train")
        self.data: Data = section(cfg, "data")
        self.state: dict[str, Any] | None = None  # of the checkpoint, until it is restored
        self.rescheduled = ""
        if resume is not None:
            self.state = checkpoint.load(resume)
            self._require_resumable(self.state, resume)
        self.datasets = Datasets(self.data)
        image_size(cfg)  # raises if two of them differ
        metrics: dict[str, Any] = {}
        self.left_out: list[str] = []
        tell("reading the data ...")
        if cfg.get("evaluate"):  # find mistakes there before training, not after it
            metrics, self.left_out = applicable(build_metrics(cfg), self.datasets)
        self.scored = bool(metrics)
        for name in ("train", "val"):
            self.datasets(name)
        tell("building the model ...")
        torch.manual_seed(self.settings.seed)
        pipeline = build_model(cfg, to_fill=resume is not None)
        losses = build(cfg.get("losses", {}), "losses", "losses")
        if not losses:
            raise ConfigError("losses: the section is empty. Add at least one loss.")
        transforms = build(list(self.data.transforms), "data.transforms", "transforms")
        fields = training_fields(self.datasets("train"), transforms, self.datasets("prior"))
        check_losses(pipeline, losses, fields)
        check_metrics(pipeline, metrics)
        if resume is None:
            trial(cfg, self.datasets, metrics)
            self._initialise(pipeline)
        self.trainee = Trainee(pipeline, losses, transforms).to(memory_format=torch.channels_last)
        self.ema: AveragedModel | None = None
        if self.state is not None:
            self._require_fit(self.state, str(resume))

    def _initialise(self, pipeline: nn.Module) -> None:
        """Load the parts that start from the trained weights of another config."""
        for part, origin in self.settings.init.items():
            name, _, source = origin.partition(":")
            module = part_of(pipeline, part)
            path = self.work_dir.parent / name / "last.pth"
            checkpoint.load_part(
                module, checkpoint.load(path), source or part, f"train.init.{part}: {path}"
            )

    def evaluated(self) -> nn.Module:
        """Return the pipeline to evaluate: the averaged one if the run keeps an average."""
        return self.ema.module if self.ema is not None else self.trainee.pipeline

    def score(self) -> list[dict[str, Any]]:
        """Evaluate the last weights and write ``metrics.json``.

        Returns:
            The rows, see :func:`registry.evaluation.evaluate`; empty if there is nothing to score
            (``left_out``), and in all processes of a distributed run but the first.
        """
        if get_rank() != 0 or not self.scored:
            return []
        rows = evaluate(self.evaluated(), self.cfg, selection="last", datasets=self.datasets)
        write_metrics(rows, self.work_dir / "metrics.json")
        return rows

    def set_lr(self, optimizer: torch.optim.Optimizer, iteration: int) -> None:
        """Set every group's rate for this iteration: a function of the iteration alone."""
        factor = lr_factor(self.settings.lr_factors, iteration)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor

    def save(self, runner: Any, iteration: int) -> None:
        """Write ``last.pth``, including the random generators and buffers of every rank."""
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
            dist.barrier()  # another rank may read the file next

    def save_weights(self, iteration: int, name: str) -> None:
        """Write only the weights to evaluate; the file cannot be resumed from."""
        weights = {f"pipeline.{k}": v for k, v in self.evaluated().state_dict().items()}
        state = {"iteration": iteration, "config": json.dumps(self.cfg), "model": weights}
        checkpoint.save(state, self.work_dir / name)

    def restore(self, runner: Any) -> int:
        """Restore model, average, optimizer and generators; return the checkpoint's iteration."""
        assert self.state is not None
        state, self.state = self.state, None
        self.trainee.load_state_dict(state["model"])
        if self.ema is not None:
            self.ema.module.load_state_dict(state["ema"])
            self.ema.n_averaged.fill_(state["ema_count"])
        optimizer = runner.optim_wrapper.optimizer
        groups = optimizer.state_dict()["param_groups"]  # rates and betas may change on resuming
        optimizer.load_state_dict({**state["optimizer"], "param_groups": groups})
        own = state["ranks"][runner.rank]
        self.trainee.load_state_dict(own["buffers"], strict=False)
        checkpoint.set_random_state(own["random"])
        return int(state["iteration"])

    def _require_resumable(self, state: Mapping[str, Any], file: Path) -> None:
        """Check a checkpoint against the config and the number of processes.

        Raises:
            ConfigError: it belongs to another run.
        """
        if "optimizer" not in state:
            raise ConfigError(f"{file} holds weights only. Resume from last.pth.")
        if state["iteration"] > self.settings.iterations:
            raise ConfigError(
                f"{file} is at iteration {state['iteration']}, beyond train.iterations="
                f"{self.settings.iterations}. Raise train.iterations."
            )
        ranks = get_dist_info()[1]
        if len(state["ranks"]) != ranks:
            raise ConfigError(
                f"{file} was written by {len(state['ranks'])} processes, but this run has {ranks}. "
                "Start the same number of processes."
            )
        old = json.loads(state["config"])
        try:
            changed = difference(old, self.cfg, whole_run=False)
            points = [dict(c.get("train") or {}).get("lr_factors", ()) for c in (old, self.cfg)]
            at = state["iteration"]
            before, now = (lr_factor(each, at) for each in points)
        except (TypeError, ValueError, LookupError) as error:
            raise ConfigError(f"{file} holds a config that cannot be read: {error}.") from error
        if changed:
            raise ConfigError(
                f"{file} was trained with a different {changed}. Resume with its own config "
                f"({self.work_dir}/config.json), or start a new run in another --work-dir."
            )
        if json.dumps(points[0]) != json.dumps(points[1]):
            self.rescheduled = (
                f"train.lr_factors was {points[0]} up to iteration {at}; from there on the "
                f"learning rate is multiplied by {now:g} instead of {before:g}"
            )

    def _require_fit(self, state: Mapping[str, Any], file: str) -> None:
        """Check the tensors of a checkpoint against model and optimizer, before anything changes.

        Raises:
            ConfigError: one is missing, not needed, or of another shape or kind.
        """
        own, pipeline = self.trainee.state_dict(), self.trainee.pipeline
        checkpoint.check_fit(state["model"], own, file)
        if self.settings.ema is not None:
            checkpoint.check_fit(state.get("ema") or {}, pipeline.state_dict(), f"{file}, 'ema'")
        buffers = {name: own[name] for name, _ in self._local_buffers()}
        checkpoint.check_fit(state["ranks"][get_rank()]["buffers"], buffers, f"{file}, 'ranks'")
        groups = {name: list(params) for name, params in pipeline.parameter_groups().items()}
        found = [
            (group.get("name"), len(group["params"]))
            for group in state["optimizer"]["param_groups"]
        ]
        if found != [(name, len(params)) for name, params in groups.items()]:
            raise ConfigError(f"{file}: its optimizer has other parameter groups than the model.")
        parameters = dict(enumerate(p for params in groups.values() for p in params))
        for index, moments in state["optimizer"]["state"].items():
            wanted = dict.fromkeys(checkpoint.MOMENTS, parameters.get(index, torch.tensor([])))
            wanted["step"] = torch.tensor(0.0)
            checkpoint.check_fit(moments, wanted, f"{file}, optimizer, parameter {index}")

    def _local_buffers(self) -> Iterator[tuple[str, Tensor]]:
        saved = self.trainee.state_dict()
        for name, _ in self.trainee.named_buffers():
            if name in saved:
                yield name, saved[name].cpu()


def tell(text: str) -> None:
    """Write a line to stderr; in a distributed run, only the first process does."""
    if get_rank() == 0:
        progress.say(text)


def lr_factor(points: Any, iteration: int) -> float:
    """Interpolate ``(iteration, factor)`` points linearly; constant beyond both ends.

    Two points at the same iteration make a step: the second holds from there on.

    Example:
        >>> lr_factor([(100, 1.0), (200, 0.0)], 150)
        0.5
        >>> [lr_factor([(60, 1.0), (60, 0.1)], i) for i in (59, 60)]
        [1.0, 0.1]
    """
    if not points:
        return 1.0
    before = [p for p in points if p[0] <= iteration]
    after = [p for p in points if p[0] > iteration]
    if not before or not after:
        return float((before or after)[-1 if before else 0][1])
    (i, a), (j, b) = before[-1], after[0]
    return float(a + (b - a) * (iteration - i) / (j - i))


def save_config(cfg: Mapping[str, Any], work_dir: Path) -> None:
    """Write ``config.json``, which is enough to rebuild the model."""
    with replacing(work_dir / "config.json") as temporary:
        temporary.write_text(json.dumps(cfg, indent=2) + "\n", encoding="utf-8")


def load_pipeline(cfg: Mapping[str, Any], file: str | Path) -> Any:
    """Build the pipeline of a resolved config in evaluation mode, with weights of a checkpoint.

    Raises:
        ConfigError: the checkpoint is missing, unreadable, or belongs to another model.
    """
    pipeline = build_model(cfg, to_fill=True)
    checkpoint.load_part(pipeline, checkpoint.load(file), "pipeline", str(file))
    pipeline = pipeline.eval().to(memory_format=torch.channels_last)
    return pipeline.to("cuda" if torch.cuda.is_available() else "cpu")
