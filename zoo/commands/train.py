"""Train a config, evaluate it and draw what it learned.

CONFIG is the name of a shipped config (factorized_video), a .py file, or the
config.json of a run. The work dir gets the resolved config, checkpoints, log,
curve, panels, scores and an animation. Press Ctrl-C at any time; --resume
continues exactly where it stopped. For several GPUs: torchrun
--nproc_per_node=8 -m zoo train CONFIG --launcher pytorch
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from zoo.answer import Answer, notice


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what follows the command."""
    parser.add_argument("config", metavar="CONFIG", help="name of a shipped config, or a file")
    parser.add_argument("--work-dir", metavar="DIR", help="default: work_dirs/CONFIG")
    parser.add_argument(
        "--data", metavar="FILE", help="use the data of this config (a file or a name) instead"
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="continue from last.pth in the work dir, or from this checkpoint",
    )
    parser.add_argument("--amp", action="store_true", help="autocast to bfloat16")
    parser.add_argument("--launcher", choices=("none", "pytorch", "slurm", "mpi"), default="none")
    parser.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE")


def run(
    config: str,
    work_dir: str | None,
    data: str | None,
    resume: str | None,
    amp: bool,
    launcher: str,
    cfg_options: Sequence[str],
) -> Answer:
    """Answer the command."""
    from registry.config import load_config, parse_options

    options = parse_options([*cfg_options, *(["train.amp=true"] if amp else [])])
    cfg = load_config(config, options, data=data)
    notice("importing torch ...", passing=True)
    from registry.runner import Interrupted, default_work_dir, resume_command
    from registry.runner import run as train

    folder = Path(work_dir or default_work_dir(config))
    try:
        job = train(cfg, folder, resume=resume, launcher=launcher)
    except Interrupted as stop:
        flags = [*(["--data", data] if data else []), *(["--amp"] if amp else [])]
        again = resume_command(config, folder, *flags, options=cfg_options)
        said = f"Stopped; {stop.checkpoint} is complete. Resume with:"
        return Answer({"checkpoint": stop.checkpoint}, ["", said, again], 128 + stop.signal)
    return Answer({"work_dir": folder, "results": job.rows}, job.summary.splitlines())
