"""Official checkpoints of KeypointGAN -> weights of its configs.

The official code writes one file per network: ``400000_net_G_A.pth``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from registry.errors import ConfigError
from zoo.convert.official import Rules, State, is_state, rename_all, unpickle


def _stem(prefix: str) -> Rules:
    """Return the rules of a stem: four levels of two convolution-norm-ReLU blocks, and a head."""
    return {
        r"model\.24\.": f"{prefix}.head.",
        r"model\.(\d+)\.": lambda m: f"{prefix}.levels.{int(m[1]) // 6}.{int(m[1]) % 6}.",
    }


RULES: dict[str, Rules] = {
    "G_A": {
        r"encoder\.blocks\.3\.6\.": "encoder.neck.",
        r"encoder\.blocks\.": "encoder.levels.",
        r"decoder\.blocks\.0\.": "encoder.climb.0.",
        # the others begin with the 1x1 convolution that joins the skip
        r"decoder\.blocks\.(\d+)\.0\.": lambda m: f"encoder.merge.{int(m[1]) - 1}.",
        r"decoder\.blocks\.(\d+)\.(\d+)\.": lambda m: f"encoder.climb.{m[1]}.{int(m[2]) - 1}.",
    },
    "G_B": {
        **{rf"encoder\.{k}": v for k, v in _stem("decoder.pose_encoder").items()},
        **{rf"encoder_cond\.{k}": v for k, v in _stem("appearance_encoder").items()},
        r"decoder\.model\.": "decoder.climb.",
    },
    "regressor": _stem("bottleneck.encoder"),
    "offline_regressor": _stem("reference_bottleneck.encoder"),
    "D_A": {r"net_(\d)\.model\.": r"prior.critic.scales.\1."},
}


def convert(states: Mapping[str, Mapping[str, Tensor]]) -> State:
    """Rename the entries of the given networks of ``RULES``.

    Raises:
        ConfigError: a network belongs to another model.
    """
    if unknown := [network for network in states if network not in RULES]:
        raise ConfigError(f"KeypointGAN: '{unknown[0]}' must be one of {', '.join(RULES)}.")
    return rename_all(states, RULES, ())


def files(path: str | Path) -> dict[str, Path]:
    """Return the file of each network.

    Args:
        path: a folder of such files, at most one per network; or the file of one network.

    Raises:
        ConfigError: there are no such files, or two of one network.
    """
    path = Path(path)
    found: dict[str, Path] = {}
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        match = re.fullmatch(rf"\w+?_net_({'|'.join(RULES)})\.pth", file.name)
        if match and match[1] in found:
            raise ConfigError(
                f"{path} has {found[match[1]].name} and {file.name}. Give a folder with one file "
                "per network."
            )
        if match:
            found[match[1]] = file
    if not found:
        raise ConfigError(
            f"'{path}' does not hold networks of KeypointGAN. Give a folder with "
            f"ITERATION_net_NAME.pth for the names {', '.join(RULES)}, or one such file."
        )
    return found


def load(path: str | Path) -> State:
    """Read official ``.pth`` files and convert them; see :func:`files` for ``path``.

    Raises:
        ConfigError: a file cannot be read, or belongs to another model.
    """
    states = {}
    for network, file in files(path).items():
        states[network] = unpickle(file, f"the state dict of {network}")
        if not is_state(states[network]):
            raise ConfigError(f"{file} is not a state dict. It was saved by other code.")
    return convert(states)
