"""A tiny KeypointGAN run that training tests share: GAN, pool, augmentation, averaged weights."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

ROOT = Path(__file__).parents[1]

CONFIG = '''"""Tiny KeypointGAN on puppets."""
image_size = 32
edges = ((0, 1), (1, 2), (1, 3), (1, 4), (0, 9), (0, 10))
stem = 2

model = dict(
    type="pipelines/reconstruction",
    encoder=dict(type="encoders/image_to_skeleton", width=stem),
    bottleneck=dict(
        type="bottlenecks/skeleton_regressor",
        encoder=dict(type="encoders/stem", takes="pose_image", width=2, norm="instance",
                     out_channels=15)),
    bottleneck_apart=True,
    rasterizer=dict(type="rasterizers/skeleton", edges=edges, image_size=image_size),
    appearance_encoder=dict(type="encoders/stem", width=stem, out_channels=8),
    decoder=dict(
        type="decoders/conditional", width=stem, appearance_channels=8,
        pose_encoder=dict(type="encoders/stem", takes="pose_image", width=stem, out_channels=8)),
    prior=dict(
        type="priors/unpaired_poses", image_size=image_size, history=6,
        critic=dict(type="critics/multiscale_patch", width=4, scales=1)),
)
losses = dict(
    perceptual=dict(type="losses/perceptual", weights="random", width=4, taps=("input", "conv1_2")),
    adversarial=dict(type="losses/adversarial"),
    critic=dict(type="losses/critic"),
    redraw=dict(type="losses/redraw"),
    points=dict(type="losses/prior_points"),
)
data = dict(
    train=dict(type="datasets/puppets", image_size=image_size, clips=3, frames_per_clip=8),
    prior=dict(type="datasets/puppets", split="prior", image_size=image_size, clips=3),
    test=dict(type="datasets/puppets", split="test", image_size=image_size, clips=2),
    transforms=[
        dict(
            type="transforms/tps_pair",
            driving_warp=dict(type="warps/tps_gaussian"),
            source_warp=dict(type="warps/tps_gaussian")),
        dict(type="transforms/color_jitter"),
    ],
)
train = dict(
    iterations=16, batch_size=4, lr=1e-3, betas=(0.5, 0.999), clip=1.0, ema=0.9,
    lr_factors=((4, 1.0), (16, 0.1)), log_every=1, panels_every=8, checkpoint_every=3,
)
evaluate = dict(metrics=dict(direct=dict(type="metrics/keypoint_error")), max_items=8)
'''


def write_config(folder: Path, name: str = "tiny.py", text: str = CONFIG) -> Path:
    """Write the config into ``folder``."""
    path = folder / name
    path.write_text(text)
    return path


def train_command(config: Path, work_dir: Path, *options: str) -> list[str]:
    """Return the command line of a run."""
    return [
        sys.executable,
        str(ROOT / "tools/train.py"),
        str(config),
        "--work-dir",
        str(work_dir),
        *options,
    ]


def environment() -> dict[str, str]:
    """Return an environment in which a child computes exactly as this process: one thread."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def on_terminal(words: list[str], columns: int = 80) -> tuple[int, str]:
    """Run a command whose output is a terminal of that width; return status and what it showed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(
        theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24 if columns else 0, columns, 0, 0)
    )
    env = {k: v for k, v in environment().items() if k not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(words, env=env, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while block := os.read(ours, 65536):
            shown += block
    except OSError:  # Linux's way to say that the other end is closed
        pass
    os.close(ours)
    return process.wait(), shown.decode().replace("\r\n", "\n")
