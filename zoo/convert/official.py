"""Reading the checkpoints of FOMM and Monkey-Net, and renaming what is in them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from registry.errors import ConfigError

State = dict[str, Tensor]


def read(path: str | Path, networks: Sequence[str]) -> dict[str, State]:
    """Return the state dicts of an official checkpoint, without running any code in it.

    Args:
        path: the ``.pth.tar`` file.
        networks: names it must have; what else it holds (optimizers) is left out.

    Raises:
        ConfigError: no such file, one that needs pickled code, or another kind of file.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"no file '{path}'. Give the official checkpoint, a .pth.tar.")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else "no more is known"
        if "weights only" not in str(error).lower():
            raise ConfigError(
                f"{path} is no checkpoint ({type(error).__name__}: {reason}). Download it again."
            ) from error
        raise ConfigError(
            f"{path} is not a file of plain tensors, and code in a file is not run: {reason} "
            "If you trust it, read it elsewhere with torch.load(file, weights_only=False), save "
            f"the dictionary of its state dicts {', '.join(networks)} with torch.save, and "
            "convert that."
        ) from error
    names = list(found) if isinstance(found, Mapping) else []
    if missing := [
        name for name in networks if not isinstance(found, Mapping) or name not in found
    ]:
        raise ConfigError(
            f"{path} has no '{missing[0]}'; it holds {', '.join(map(str, names)) or 'no networks'}."
            f" An official checkpoint holds {', '.join(networks)}."
        )
    return {
        name: dict(found[name])
        for name in names
        if isinstance(found[name], Mapping)
        and all(isinstance(value, Tensor) for value in found[name].values())
    }


def rename(state: Mapping[str, Tensor], rules: Mapping[str, str | None], network: str) -> State:
    """Return ``state`` under our names.

    Args:
        state: state dict of one official network.
        rules: pattern of the beginning of a key -> what stands there with us; None drops the key.
        network: its name, for errors.

    Raises:
        ConfigError: no rule fits a key.
    """
    renamed: State = {}
    for key, value in state.items():
        rule = next((pattern for pattern in rules if re.match(pattern, key)), None)
        if rule is None:
            raise ConfigError(
                f"{network}: unexpected '{key}'. This is a checkpoint of another model."
            )
        new = rules[rule]
        if new is not None:
            renamed[re.sub(rule, new, key, count=1)] = value
    # of spectral normalisation
    renamed = {
        re.sub(r"weight_([uv])$", r"parametrizations.weight.0.\1", key).replace(
            "weight_orig", "parametrizations.weight.original"
        ): value
        for key, value in renamed.items()
    }
    # the count of batches that the oldest checkpoints do not have
    for key in [key for key in renamed if key.endswith("running_mean")]:
        renamed.setdefault(key.replace("running_mean", "num_batches_tracked"), torch.tensor(0))
    return renamed
