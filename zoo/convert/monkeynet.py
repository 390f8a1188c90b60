"""Official checkpoints of Monkey-Net -> weights of pipelines/motion_transfer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from zoo.convert.official import Rules, State, read, rename_all

NETWORKS = ("kp_detector", "generator")  # and "discriminator", in most files

RULES: dict[str, Rules] = {
    "kp_detector": {
        r"predictor\.encoder\.down_blocks\.": "encoder.hourglass.downs.",
        r"predictor\.decoder\.up_blocks\.": "encoder.hourglass.ups.",
        r"predictor\.decoder\.conv\.": "encoder.head.",
    },
    "generator": {
        r"dense_motion_module\.hourglass\.encoder\.down_blocks\.": "motion.hourglass.downs.",
        r"dense_motion_module\.hourglass\.decoder\.up_blocks\.": "motion.hourglass.ups.",
        r"dense_motion_module\.hourglass\.decoder\.conv\.": "motion.head.",
        r"dense_motion_module\.group_blocks\.(\d+)\.conv\.": r"motion.groups.\1.0.",
        r"dense_motion_module\.group_blocks\.(\d+)\.norm\.": r"motion.groups.\1.1.",
        r"appearance_encoder\.down_blocks\.": "decoder.unet.downs.",
        r"video_decoder\.up_blocks\.": "decoder.unet.ups.",
        r"refinement_module\.r(\d+)\.": r"decoder.refine.\1.",
        r"refinement_module\.conv-last\.": "decoder.last.",
    },
    "discriminator": {
        r"down_blocks\.(\d+)\.(conv|norm)\.": r"image_critic.\2s.\1.",
        r"conv\.": "image_critic.last.",
    },
}


def convert(states: Mapping[str, Mapping[str, Tensor]]) -> State:
    """Rename all; kernels over one frame lose that axis. See :func:`official.rename_all`."""
    ours = rename_all(states, RULES, NETWORKS)
    return {key: value.squeeze(2) if value.ndim == 5 else value for key, value in ours.items()}


def load(path: str | Path) -> State:
    """Read an official ``.pth.tar`` and convert it; raises like :func:`official.read`."""
    return convert(read(path, NETWORKS))
