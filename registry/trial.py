"""A trial step on two items before training: a mistake costs seconds and leaves no folder.

Constructors check what they can. Whether the maps of one part fit the next depends on all parts and
on the image size, so it is tried out.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from registry.build import build, build_model, unfetched
from registry.config import Data, Train, section
from registry.contract import MissingFieldError
from registry.errors import ConfigError, did_you_mean, one_line
from registry.evaluation import applicable, build_metrics, fresh, predictor
from registry.loading import Datasets, Draws, collate, frames_of, to_batch
from registry.sizes import image_size
from registry.trainee import Trainee, make_optimizer

if TYPE_CHECKING:
    from registry.evaluation import Metrics

SIDES = ("image_size", "prior_image_side")  # arguments that must equal the side of the images
STEPS = (2, 4, 8, 16, 32, 64)


def trial(
    cfg: Mapping[str, Any],
    datasets: Datasets | None = None,
    metrics: Metrics | None = None,
) -> None:
    """Pass two training items through pipeline and losses of a config, with fresh weights.

    The optimizer is made, and the metrics see an item of ``data.test``. This does not change the
    random numbers that training draws afterwards.

    Args:
        cfg: resolved config; what ``train.init`` names need not be trained yet.
        datasets: those of the config, if already built.
        metrics: the metrics that will be scored, if already built.

    Raises:
        ConfigError: a part cannot process the items; the text names it and, if the image size is
            the reason, the nearest sizes that work.
    """
    data: Data = section(cfg, "data")
    settings: Train = section(cfg, "train")
    datasets = datasets or Datasets(data)
    draws = Draws(datasets("train"), datasets("prior"), data.prior_size, settings.seed)
    if metrics is None and cfg.get("evaluate"):
        metrics, _ = applicable(build_metrics(cfg), datasets)
    parts = {f"data.{name}": dataset for name, dataset in datasets.built.items()}
    cuda, arrays = torch.cuda.is_available(), None
    devices = [torch.cuda.current_device()] if cuda else []
    with torch.random.fork_rng(devices), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they say of a mistake is in its line
        try:
            arrays = collate([draws[0], draws[1]])
            trainee = _built(cfg)
            parts |= {f"data.transforms.{i}": part for i, part in enumerate(trainee.transforms)}
            parts |= {name: part for name, part in trainee.named_modules() if name}
            for name in settings.init:
                part_of(trainee.pipeline, name)
            make_optimizer(trainee.pipeline, settings)
            trainee(**arrays)
            if metrics:
                _try_metrics(trainee.pipeline, metrics, datasets, cfg)
            return
        except (ConfigError, MissingFieldError, OSError):  # these already say what and where
            raise
        except (Exception, SystemExit) as error:  # a plugin may call exit()
            where, what = _where(error, parts, cfg), one_line(error)
            trainee, parts, size = None, {}, image_size(cfg)
            if isinstance(error, MemoryError) or "memory" in what.lower():
                hint = f"Two images of {size} x {size} do not fit into memory. Lower image_size."
            elif size and arrays is not None and (fitting := _nearest(cfg, arrays, size)):
                use = " or ".join(map(str, fitting))
                hint = f"image_size={size} does not fit this model. Use {use}."
            else:
                hint = "The parts of the config do not fit each other, or do not fit the data."
            raise ConfigError(f"{hint} ({where} fails: {what[:300]})") from error


def part_of(pipeline: Any, name: str) -> Any:
    """Return the part of a pipeline that ``train.init`` names; ``pipeline`` is the whole.

    Raises:
        ConfigError: it does not have that part.
    """
    parts = {"pipeline": pipeline, **dict(pipeline.named_children())}
    if name not in parts:
        hint = did_you_mean(name, parts)
        raise ConfigError(f"train.init: the model has no part '{name}'.{hint}")
    return parts[name]


def _try_metrics(pipeline: Any, metrics: Metrics, datasets: Datasets, cfg: Any) -> None:
    """Let copies of the metrics see the first item of the test data."""
    dataset, device = datasets("test"), next(pipeline.parameters()).device
    for arrays in frames_of(dataset, range(min(len(dataset), 1)), 1):
        batch = to_batch(arrays, device)
        with torch.no_grad():
            outputs = predictor(pipeline, metrics)(batch)
            for name, metric in metrics.items():
                try:
                    copy = fresh(metric)
                    if metric.fits:
                        copy.fit(outputs, batch)
                    copy.update(outputs, batch)
                    with suppress(ValueError):  # one item may be too few, or not annotated
                        copy.compute()
                except Exception as error:
                    path = f"evaluate.metrics.{name}"
                    raise ConfigError(f"{_type_at(cfg, path)}: {one_line(error)}") from error


def _built(cfg: Mapping[str, Any]) -> Trainee:
    """Build what is trained on the training device, without fetching weights."""
    pipeline = build_model(cfg, to_fill=True)
    losses = build(unfetched(cfg.get("losses", {}), "losses"), "losses", "losses")
    transforms = build(
        list(cfg.get("data", {}).get("transforms", ())), "data.transforms", "transforms"
    )
    trainee = Trainee(pipeline, losses, transforms)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    trainee.to(device).to(memory_format=torch.channels_last)
    return trainee


def _where(error: BaseException, parts: Mapping[str, Any], cfg: Mapping[str, Any]) -> str:
    """Return the innermost part of the config that an error passed through."""
    paths = {id(part): path for path, part in parts.items()}
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
        except (Exception, SystemExit):  # whatever the reason, this size is not suggested
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
