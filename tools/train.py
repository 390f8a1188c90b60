#!/usr/bin/env python
"""Train a config: ``tools/train.py configs/keypointgan_puppets.py``."""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from registry import ConfigError, load_config
from registry.config import parse_options


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="a .py config, or the config.json of an earlier run")
    parser.add_argument("--work-dir", help="default: work_dirs/<config name>")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        help="go on from WORK_DIR/last.pth, or from this checkpoint",
    )
    parser.add_argument("--amp", action="store_true", help="autocast to bfloat16")
    parser.add_argument("--launcher", choices=("none", "pytorch", "slurm", "mpi"), default="none")
    parser.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    try:
        options = parse_options(args.cfg_options)
        cfg = load_config(args.config, options)
    except ConfigError as error:
        return fail(error)
    if args.amp:
        cfg["train"]["amp"] = True
    config = Path(args.config)
    default = config.parent if config.suffix == ".json" else f"work_dirs/{config.stem}"
    work_dir = Path(args.work_dir or default)
    code = run(args, cfg, work_dir, options)
    if args.launcher != "none":
        leave(code)
    return code


def run(args: argparse.Namespace, cfg: dict, work_dir: Path, options: dict) -> int:
    # after the arguments: these import torch
    from registry.contract import MissingFieldError
    from registry.launch import join_processes
    from registry.runner import Interrupted, train

    try:
        join_processes(args.launcher)
        if not (args.resume and (args.resume != "auto" or (work_dir / "last.pth").is_file())):
            train_origins(args, cfg, work_dir, options)
        job = train(cfg, work_dir, resume=args.resume, launcher=args.launcher)
        report(job)
    except (ConfigError, FloatingPointError, MissingFieldError, OSError, ValueError) as error:
        return fail(error)
    except Interrupted as stop:
        same = f" --cfg-options {' '.join(args.cfg_options)}" if args.cfg_options else ""
        there = " --resume" if stop.checkpoint.parent == work_dir else ""
        print(
            f"\nStopped; {stop.checkpoint} is complete. Go on with:\n"
            f"  tools/train.py {args.config} --work-dir {work_dir}{there}{same}"
        )
        return 130
    return 0


def train_origins(args: argparse.Namespace, cfg: dict, work_dir: Path, options: dict) -> None:
    """Train the configs that ``train.init`` starts from, where that is not done yet."""
    import json

    from registry import checkpoint
    from registry.job import difference
    from registry.runner import train

    for origin in dict.fromkeys(
        value.partition(":")[0] for value in cfg["train"].get("init", {}).values()
    ):
        folder = work_dir.parent / origin
        path = Path(args.config).parent / f"{origin}.py"
        if not path.is_file():  # the config.json of a run
            path = Path(__file__).resolve().parents[1] / f"configs/{origin}.py"
        if not path.is_file() and (folder / "last.pth").is_file():
            continue
        shared = {}
        for key, value in options.items():
            # both runs see the same prior poses
            if "." not in key or key.startswith("data.prior") or key == "train.seed":
                try:
                    load_config(path, {key: value})
                except ConfigError:
                    continue  # a number that only this config has
                shared[key] = value
        wanted = load_config(path, shared)
        saved = folder / "config.json"
        before = json.loads(saved.read_text()) if saved.is_file() else wanted
        if changed := difference(before, wanted, whole_run=True):
            raise ConfigError(
                f"train.init: {folder} was trained with another {changed} than {path} has now. "
                "Move that folder away, or use a --work-dir in another one."
            )
        last = folder / "last.pth"
        if last.is_file() and checkpoint.load(last)["iteration"] == wanted["train"]["iterations"]:
            continue
        print(f"train.init: {origin} comes first", flush=True)
        train_origins(args, wanted, folder, options)
        train(wanted, folder, resume="auto", launcher=args.launcher)


def report(job: object) -> None:
    """Evaluate the last checkpoint, print the table, write metrics.json and the animation."""
    from mmengine.dist import get_rank

    from components.data.video import write_gif
    from registry.evaluation import evaluate, table, write_metrics

    if get_rank() != 0 or not job.cfg.get("evaluate"):
        return
    rows = evaluate(job.evaluated(), job.cfg, selection="last", datasets=job.datasets)
    write_metrics(rows, job.work_dir / "metrics.json")
    write_gif(job.work_dir / "held_out.gif", held_out(job), fps=12)
    print(
        f"\n{job.work_dir}/metrics.json, held-out frames in {job.work_dir}/held_out.gif\n"
        f"{table(rows)}"
    )


def held_out(job: object, frames: int = 48) -> Iterator:
    """Yield the first test frames with their landmarks and the last test picture in their pose.

    Of a pipeline that forecasts: the first clips with their forecasts.
    """
    import numpy as np

    from components.drawing import enlarge, forecast_pictures, overlay
    from registry.loading import frames_of, to_batch

    dataset, pipeline = job.datasets("test"), job.evaluated()
    device = next(pipeline.parameters()).device
    if hasattr(pipeline, "forecast"):
        for arrays in frames_of(dataset, range(min(4, len(dataset))), batch_size=1):
            batch = to_batch(arrays, device)
            yield from forecast_pictures(batch.frames[0], pipeline.infer(batch).frames[0])
        return
    last = to_batch(next(iter(frames_of(dataset, [len(dataset) - 1], batch_size=1))), device)
    moves = hasattr(pipeline, "animator") and last.source is not None
    move = pipeline.animator(last.source[0]) if moves else None
    for arrays in frames_of(dataset, range(min(frames, len(dataset))), batch_size=16):
        images = to_batch(arrays, device).driving
        points = pipeline.predict(images).landmarks.xy
        scale = max(1, 256 // images.shape[-1])
        pictures = [overlay(*two, pipeline.limbs(), scale) for two in zip(images, points)]
        if move is not None:
            others = [enlarge(image, scale) for image in move(images)]
            still = enlarge(last.source[0], scale)
            pictures = [np.hstack((still, *both)) for both in zip(pictures, others)]
        yield from pictures


def fail(error: Exception) -> int:
    text = str(error)
    if text.startswith("Caught "):  # in a loader process: its traceback, whose end is the error
        text = text.strip().splitlines()[-1].partition(": ")[2]
    line = "\n" if sys.stdout.isatty() else ""  # below the progress bar
    print(f"{line}error: {text}", file=sys.stderr)
    return 2


def leave(code: int) -> None:
    """End a process of a distributed run: gloo now and then aborts in the interpreter's exit."""
    from torch import distributed as dist

    if code == 0 and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
