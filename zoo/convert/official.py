"""Reading the checkpoints of official PyTorch code, and renaming their tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile

import torch
from torch import Tensor

from registry.errors import ConfigError

State = dict[str, Tensor]
# pattern of the beginning of a key -> what replaces it; None drops the key
Rules = Mapping[str, str | Callable[[re.Match[str]], str] | None]


def unpickle(path: str | Path, what: str) -> Any:
    """Return what ``torch.save`` wrote, without running any code in the file.

    Args:
        path: the file.
        what: the dictionary that it should hold, for errors.

    Raises:
        ConfigError: the file does not exist, needs pickled code, or is of another kind.
    """
    if not Path(path).is_file():
        raise ConfigError(f"there is no file '{path}'. Give the official checkpoint.")
    if _is_bomb(Path(path)):
        raise ConfigError(
            f"{path} is not a checkpoint: its records are compressed, or stated to be larger than "
            "the file. Download it again."
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if "weights only" in str(error).lower():  # torch advises how to load it nevertheless
            found = re.search(r"\bGLOBAL (\S+)", str(error))
            asked = f" (it asks for '{found[1][:80]}')" if found else ""
            text = (
                f"holds more than plain tensors{asked}, and code in a file is not run. Ask its "
                f"publisher for {what} alone."
            )
        else:
            reason = (str(error).splitlines() or ["no details"])[0]
            text = (
                f"is not a checkpoint ({type(error).__name__}: {reason:.200}). Download it again."
            )
        raise ConfigError(f"{path} {text}") from error


def _is_bomb(path: Path) -> bool:
    """Return whether a file of torch would become larger when read; it writes records plainly."""
    try:
        with ZipFile(path) as archive:
            records = archive.infolist()
    except Exception:  # older files are not zip files; torch judges damaged ones
        return False
    packed = any(record.compress_type != ZIP_STORED for record in records)
    return packed or sum(record.file_size for record in records) > path.stat().st_size


def is_plain(value: Any) -> bool:
    """Return whether this is a tensor with numbers in memory: not sparse, quantized or on meta."""
    plain = isinstance(value, Tensor) and value.layout == torch.strided
    return plain and value.device.type == "cpu" and not value.is_quantized


def is_state(value: Any) -> bool:
    """Return whether this is a state dict: a mapping from names to tensors, not empty."""
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(k, str) and is_plain(v) for k, v in value.items())
    )


def read(path: str | Path, networks: Sequence[str]) -> dict[str, State]:
    """Return the state dicts of a checkpoint that holds one per network.

    Args:
        path: the ``.pth.tar`` file.
        networks: names that it must have; anything else in it (optimizers) is left out.

    Raises:
        ConfigError: the file does not exist, needs pickled code, or is of another kind.
    """
    found = unpickle(path, f"the dictionary of its state dicts {', '.join(networks)}")
    names = list(found) if isinstance(found, Mapping) else []
    for network in networks:
        if network not in names:
            raise ConfigError(
                f"{path} has no '{network}'; it holds {', '.join(map(str, names)) or 'no networks'}"
                f". An official checkpoint holds {', '.join(networks)}."
            )
        if not is_state(found[network]):
            raise ConfigError(
                f"{path}: '{network}' is not a state dict. It was saved by other code."
            )
    return {name: dict(found[name]) for name in names if is_state(found[name])}


def rename(state: Mapping[str, Tensor], rules: Rules, network: str) -> State:
    """Return ``state`` under our names.

    Args:
        state: state dict of one official network.
        rules: the first one whose pattern matches a key renames it.
        network: its name, for errors.

    Raises:
        ConfigError: no rule matches a key.
    """
    renamed: State = {}
    for key, value in state.items():
        rule = next((pattern for pattern in rules if re.match(pattern, key)), None)
        if rule is None:
            raise ConfigError(
                f"{network}: unexpected key '{key}'. The checkpoint is of another model."
            )
        new = rules[rule]
        if new is not None:
            renamed[re.sub(rule, new, key, count=1)] = value
    # spectral normalisation
    renamed = {
        re.sub(r"weight_([uv])$", r"parametrizations.weight.0.\1", key).replace(
            "weight_orig", "parametrizations.weight.original"
        ): value
        for key, value in renamed.items()
    }
    # the oldest checkpoints do not have the count of batches
    for key in [key for key in renamed if key.endswith("running_mean")]:
        renamed.setdefault(key.replace("running_mean", "num_batches_tracked"), torch.tensor(0))
    return renamed


def rename_all(
    states: Mapping[str, Mapping[str, Tensor]], rules: Mapping[str, Rules], needed: Sequence[str]
) -> State:
    """Return the state dicts of several networks under our names, merged into one.

    Args:
        states: by official names; those without rules are left out.
        rules: for each network.
        needed: networks that must be present.

    Raises:
        ConfigError: one is missing, or belongs to another model.
    """
    ours: State = {}
    for network in rules:
        if network in states:
            ours |= rename(states[network], rules[network], network)
        elif network in needed:
            raise ConfigError(f"there is no '{network}' among the state dicts {', '.join(states)}.")
    return ours
