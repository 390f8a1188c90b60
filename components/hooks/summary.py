"""What a run says of itself: what it works on before it starts, what it reached at the end."""

from __future__ import annotations

import inspect
import shlex
import sys
from collections.abc import Iterator
from typing import Any

import torch

from components.data.video import write_gif
from components.drawing import shown_frames
from registry.evaluation import table
from registry.job import lr_factor
from registry.progress import bar
from registry.roles import HOOKS
from registry.runner import Hook

FITS = {"stretch": "stretched", "pad": "padded", "crop": "cropped"}


@HOOKS.register_module("hooks/summary")
class Summary(Hook):  # type: ignore[misc]
    """Say before training what is trained on what; draw and say afterwards what was reached."""

    def before_train(self, runner: Any) -> None:
        """Print data, size of the model, machine, plan, files, and what is left out."""
        if runner.rank == 0:
            for line in banner(runner.job, runner.iter):
                runner.job.progress.say(line)

    def conclude(self, job: Any) -> str:
        """Write the moving picture and return the summary: scores, errors, files, next commands.

        Args:
            job: finished, with ``rows``.
        """
        pictures = self._pictures(job)
        lines = [f"{job.work_dir}: {job.settings.iterations} iterations done, {memory()} at most"]
        if job.rows:
            lines += ["", table(job.rows), ""]
        lines += left_out(job)
        lines += list(reached(job.progress.records))
        found = {
            "curve.png": "the errors and losses above, over the iterations",
            **pictures,
            **panel_of(job),
            "metrics.json": "the scores",
        }
        for name, text in found.items():
            if (job.work_dir / name).is_file():
                lines.append(f"  {job.work_dir / name}: {text}")
        return "\n".join([*lines, *next_steps(job)])

    def _pictures(self, job: Any) -> dict[str, str]:
        """Write frames with landmarks as a GIF: held-out ones, if there are any."""
        if not job.trainee.pipeline.infers:
            return {}
        name = next((n for n in ("test", "val", "train") if job.datasets(n) is not None), None)
        if name is None:
            return {}
        file = "training_frames.gif" if name == "train" else "held_out.gif"
        frames = bar(shown_frames(job, name), f"drawing {file}")
        write_gif(job.work_dir / file, frames, fps=12)
        return {file: f"landmarks on frames of data.{name}"}


def banner(job: Any, start: int) -> Iterator[str]:
    """Yield the lines that a run starts with."""
    pipeline, settings, work = job.trainee.pipeline, job.settings, job.work_dir
    parameters = sum(p.numel() for p in pipeline.parameters() if p.requires_grad)
    device = next(pipeline.parameters()).device
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    yield (
        f"{work}: {parameters / 1e6:.2f} M trained parameters on {where}, "
        f"{torch.get_num_threads()} thread(s), torch {torch.__version__}, {memory()} so far"
    )
    for name in ("train", "prior", "fit", "val", "test"):
        if (dataset := job.datasets(name)) is not None:
            node = getattr(job.data, name)
            held = f"{len(dataset)} poses" if name == "prior" else contents(node, dataset)
            yield f"data.{name}: {held}"
    yield f"iterations {start} to {settings.iterations}, {settings.batch_size} items each"
    yield rates(settings)
    if job.rescheduled:
        yield job.rescheduled
    files = [f"log in {work}/log.txt", f"curve in {work}/curve.png"]
    if settings.panels_every and pipeline.infers:
        files.append(f"every {settings.panels_every} iterations a panel in {work}/panels")
    yield ", ".join(files)
    divided = [k for k, loss in job.trainee.losses.items() if hasattr(loss, "running")]
    if divided:
        yield (
            f"{', '.join(divided)}: divided by its own running mean, so it need not fall; the "
            "pixel error (mean |render - target|, colours in [0, 1]) and the undivided error should"
        )
    yield from left_out(job)


def left_out(job: Any) -> list[str]:
    """Return the lines on what there is no data for."""
    notes = job.left_out or (
        [] if job.scored else ["no scores: the config has no evaluate section"]
    )
    return [f"left out: {note}" for note in notes]


def contents(node: Any, dataset: Any) -> str:
    """Say how much a data set holds, and how its pictures are fitted into those of the model."""
    while hasattr(dataset, "frame_dataset"):
        dataset, node = dataset.frame_dataset, node.get("frame_dataset", {})
    if not hasattr(dataset, "clip_ranges"):
        return f"{len(dataset)} items"
    clips = len(dataset.clip_ranges())
    text = f"{clips} clip{'s' if clips != 1 else ''}, {len(dataset)} frames"
    if not hasattr(dataset, "size"):
        return text
    width, height = (round(float(side)) for side in dataset.size(0))
    side = dataset.image(0).shape[0]
    arguments = inspect.signature(type(dataset)).parameters
    fit = node.get("fit", arguments["fit"].default if "fit" in arguments else "stretch")
    if width == height == side:
        return f"{text}, {side} x {side}"
    how = "resized" if width == height and fit == "stretch" else FITS[fit]
    return f"{text}, {width} x {height} to {side} x {side}, {how}"


def rates(settings: Any) -> str:
    """Say how the learning rate goes."""
    points = settings.lr_factors
    if not points:
        return f"learning rate {settings.lr:g}"
    text = ", ".join(f"{factor:g} at iteration {at:g}" for at, factor in points)
    text = f"learning rate {settings.lr:g} times {text} (train.lr_factors)"
    if points[-1][0] > settings.iterations:
        end = lr_factor(points, settings.iterations)
        text += f": at the end of the run, which comes before, times {end:g}"
    return text


def memory() -> str:
    """Return the memory that this process needed so far, or of the GPU, in words."""
    if torch.cuda.is_available():
        return f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GB of GPU memory"
    try:
        import resource
    except ImportError:  # Windows
        return "memory unknown"
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    used *= 1 if sys.platform == "darwin" else 1024
    return f"{used / 2**20:.0f} MB of memory"


def reached(records: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the pixel error of the first and the last record."""
    errors = [record["pixel_error"] for record in records if "pixel_error" in record]
    if errors:
        yield (
            f"pixel error (mean |render - target|, colours in [0, 1]): {errors[0]:.4g} at first, "
            f"{errors[-1]:.4g} in the end"
        )


def panel_of(job: Any) -> dict[str, str]:
    """Return the last panel and what it shows."""
    panels = sorted((job.work_dir / "panels").glob("*.png"))
    return {f"panels/{panels[-1].name}": "what the model makes on the way"} if panels else {}


def next_steps(job: Any) -> list[str]:
    """Return the commands that one may want next, ready to be pasted."""
    pipeline, work = job.trainee.pipeline, shlex.quote(str(job.work_dir))
    lines = ["next:"]
    if pipeline.infers:
        lines.append(f"  keypoint-zoo predict {work} YOUR_VIDEO --out results/")
    if hasattr(pipeline, "animator"):
        lines.append(f"  keypoint-zoo animate {work} PICTURE YOUR_VIDEO --out animation.mp4")
    lines.append(f"  keypoint-zoo publish {work} --license YOUR_LICENSE --dry-run")
    return lines
