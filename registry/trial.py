"""A trial step on two items before training: a mistake costs seconds and leaves no folder.

Constructors check what they can. Whether the maps of one part fit the next depends on all parts and
on the image size, so it is tried out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from registry.build import build, build_model, unfetched
from registry.config import Data, Train, section
from registry.contract import MissingFieldError
from registry.errors import ConfigError
from registry.loading import Datasets, Draws, collate
from registry.sizes import image_size
from registry.trainee import Trainee

SIDES = ("image_size", "prior_image_side")  # arguments that must equal the side of the images
STEPS = (2, 4, 8, 16, 32, 64)


def trial(cfg: Mapping[str, Any], datasets: Datasets | None = None) -> None:
    """Pass two training items through pipeline and losses of a config, with fresh weights.

    This does not change the random numbers that training draws afterwards.

    Args:
        cfg: resolved config; what ``train.init`` names need not be trained yet.
        datasets: those of the config, if already built.

    Raises:
        ConfigError: a part cannot process the items; the text names it and, if the image size is
            the reason, the nearest sizes that work.
    """
    data: Data = section(cfg, "data")
    settings: Train = section(cfg, "train")
    datasets = datasets or Datasets(data)
    draws = Draws(datasets("train"), datasets("prior"), data.prior_size, settings.seed)
    arrays = collate([draws[0], draws[1]])
    cuda = torch.cuda.is_available()
    with torch.random.fork_rng([torch.cuda.current_device()] if cuda else []):
        trainee = _built(cfg)
        try:
            trainee(**arrays)
            return
        except (ConfigError, MissingFieldError, OSError):  # these already say what and where
            raise
        except Exception as error:
            where, what = _where(error, trainee, cfg), f"{type(error).__name__}: {error}"
            del trainee
            size = image_size(cfg)
            if isinstance(error, MemoryError) or "memory" in what.lower():
                hint = f"Two images of {size} x {size} do not fit into memory. Lower image_size."
            elif size and (fitting := _nearest(cfg, arrays, size)):
                use = " or ".join(map(str, fitting))
                hint = f"image_size={size} does not fit this model. Use {use}."
            else:
                hint = "The parts of the config do not fit each other, or do not fit the data."
            line = " ".join(what.split())[:300]
            raise ConfigError(f"{hint} ({where} fails: {line})") from error


def _built(cfg: Mapping[str, Any]) -> Trainee:
    """Build what is trained on the training device, without fetching weights."""
    pipeline = build_model(cfg, to_fill=True)
    losses = build(unfetched(cfg.get("losses", {})), "losses", "losses")
    transforms = build(
        list(cfg.get("data", {}).get("transforms", ())), "data.transforms", "transforms"
    )
    trainee = Trainee(pipeline, losses, transforms)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    trainee.to(device).to(memory_format=torch.channels_last)
    return trainee


def _where(error: BaseException, trainee: Trainee, cfg: Mapping[str, Any]) -> str:
    """Return the innermost part of the config that an error passed through."""
    paths = {id(module): path for path, module in trainee.named_modules()}
    paths |= {id(part): f"data.transforms.{i}" for i, part in enumerate(trainee.transforms)}
    found, traceback = "the training step", error.__traceback__
    while traceback is not None:
        own = traceback.tb_frame.f_locals.get("self")
        path = paths.get(id(own), "")
        if own is not None and path and (name := _type_at(cfg, path)):
            found = name
        traceback = traceback.tb_next
    return found


def _type_at(cfg: Any, path: str) -> str | None:
    """Return ``model.encoder (encoders/unet)`` for a module's path; None if not in the config."""
    node, keys = cfg, path.replace("pipeline", "model", 1).split(".")
    for key in keys:
        if isinstance(node, (list, tuple)) and key.isdigit() and int(key) < len(node):
            node = node[int(key)]
        elif isinstance(node, Mapping) and key in node:
            node = node[key]
        else:
            return None
    is_part = isinstance(node, Mapping) and "type" in node
    return f"{'.'.join(keys)} ({node['type']})" if is_part else None


def _nearest(cfg: Mapping[str, Any], arrays: Mapping[str, Any], size: int) -> list[int]:
    """Return the nearest smaller and larger sizes that pass, if any."""
    below = sorted({size // step * step for step in STEPS} - {0, size}, reverse=True)
    above = sorted({-(-size // step) * step for step in STEPS} - {size})
    found = (next(_passing(cfg, arrays, size, sides), None) for sides in (below, above))
    return [side for side in found if side is not None]


def _passing(
    cfg: Mapping[str, Any], arrays: Mapping[str, Any], size: int, sides: Iterable[int]
) -> Iterator[int]:
    for side in sides:
        try:
            _built(_with_side(cfg, size, side))(**_resized(arrays, size, side))
        except Exception:  # whatever the reason, this size is not suggested
            continue
        yield side


def _with_side(node: Any, old: int, new: int) -> Any:
    """Return a config with another image size."""
    if isinstance(node, Mapping):
        return {
            key: new if key in SIDES and value == old else _with_side(value, old, new)
            for key, value in node.items()
        }
    if isinstance(node, (list, tuple)):
        return [_with_side(value, old, new) for value in node]
    return node


def _resized(arrays: Mapping[str, Any], old: int, new: int) -> dict[str, Any]:
    """Return a batch with images, masks and flow resized, by nearest pixels."""
    at, resized = torch.arange(new) * old // new, dict(arrays)
    for key, value in arrays.items():
        shape = value.shape if isinstance(value, Tensor) else ()
        for axis in range(1, len(shape) - 1):
            if shape[axis] == shape[axis + 1] == old:
                resized[key] = value.index_select(axis, at).index_select(axis + 1, at)
                break
    return resized
