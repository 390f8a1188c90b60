#!/usr/bin/env python
"""Train a config: ``tools/train.py configs/keypointgan_puppets.py``."""

import argparse
import os
import sys
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
        cfg = load_config(args.config, parse_options(args.cfg_options))
    except ConfigError as error:
        return fail(error)
    if args.amp:
        cfg["train"]["amp"] = True
    config = Path(args.config)
    default = config.parent if config.suffix == ".json" else f"work_dirs/{config.stem}"
    work_dir = Path(args.work_dir or default)
    code = start(args, cfg, work_dir)
    if args.launcher != "none":
        leave(code)
    return code


def start(args: argparse.Namespace, cfg: dict, work_dir: Path) -> int:
    # after the arguments: these import torch
    from registry.contract import MissingFieldError
    from registry.launch import join_processes
    from registry.runner import Interrupted, resume_command, run

    try:
        join_processes(args.launcher)
        job = run(cfg, work_dir, resume=args.resume, launcher=args.launcher)
        if job.summary:
            print(job.summary)
    except (ConfigError, FloatingPointError, MissingFieldError, OSError, ValueError) as error:
        return fail(error)
    except Interrupted as stop:
        again = resume_command(args.config, work_dir, options=args.cfg_options)
        print(f"\nStopped; {stop.checkpoint} is complete. Go on with:\n  {again}")
        return 130
    return 0


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
