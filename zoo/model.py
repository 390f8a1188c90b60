"""From packages, runs and configs to models: build, load."""

from __future__ import annotations

import json
import math
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from registry import checkpoint, plugins
from registry.build import build_model, resolve
from registry.config import load_config
from registry.errors import ConfigError
from registry.roles import PIPELINES
from registry.roles import ROLES as ROLE_TABLES
from registry.usual import read as read_usual
from zoo import describe, sources
from zoo.bounds import Bounds
from zoo.errors import (
    IntegrityError,
    MissingArchitectureError,
    PluginError,
    UnknownEntryError,
    WeightsMismatchError,
)
from zoo.fingerprint import landmarks_of
from zoo.index import Entry
from zoo.package import Package
from zoo.preprocess import Predict, Preprocess
from zoo.refs import CHECKPOINTS, Access, parse
from zoo.schema import require
from zoo.tensors import read_tensors

PLAIN_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}"
ROLES = (
    *("encoders", "bottlenecks", "rasterizers", "decoders", "compositors", "motions"),
    *("predictors", "pipelines"),
)


def load(
    ref: str | Path,
    *,
    pretrained: bool = True,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    components: Sequence[str] | None = None,
    train: bool = False,
    strict: bool = True,
    overrides: Mapping[str, Any] | None = None,
    **access: Any,
) -> Any:
    """Return a finished model, built from its package with checked weights.

    Args:
        ref: ``name[@revision]``, ``hf:owner/repo[@revision]``, or a path (``dir:path`` if an entry
            has that name): of a package, of the folder of a run (its config.json with last.pth,
            else best.pth), or of a checkpoint (.pth), which holds its config.
        pretrained: False returns the untrained model, like :func:`build`.
        device: where the model is put.
        dtype: of its parameters; None for float32, whatever the file stores.
        components: return only these parts of the pipeline, in an ``nn.ModuleDict``.
        train: return it in training mode.
        strict: False also accepts weights that fit in part, and warns once about the others.
        overrides: dotted argument of the architecture -> value.
        **access: ``revision`` (branch, tag or commit, if not in ``ref``), ``offline``,
            ``cache_dir``, ``token``, ``progress``, ``force``: see :class:`zoo.refs.Access`.

    Returns:
        The pipeline, with ``entry``, ``package`` (None for a run), ``keypoints`` (names, edges,
        flip_pairs, ...), ``preprocess`` and ``usual``, what the training images look like
        (:class:`registry.usual.Usual`; None if unknown). ``model.predict`` takes images of any
        kind, and warns about photographs unlike the training images, see
        :class:`zoo.preprocess.Predict`. For landmarks in pixels: ``ready =
        model.preprocess(images)``, ``found = model.predict(ready)``,
        ``ready.to_original(found.landmarks.xy)``. A model is returned only if every check passes.

    Raises:
        ZooError: one of the classes in zoo/errors.py; the text says what to do.
        ConfigError: the config or the checkpoint of a run cannot be read.
    """
    how = Access(**access)
    reference = parse(ref, how.revision)
    if not pretrained:
        model = build(ref, overrides=overrides, **access)
    elif reference.kind == "run":
        model = _trained(reference.value, overrides, strict)
    else:
        found = sources.locate(ref, how)
        model = assemble(found.package, overrides=overrides, strict=strict)
        model.entry = found.entry
        _befriend(model)
    model = model.to(device=device, dtype=dtype or torch.float32).train(train)
    if model.preprocess is not None:
        at = next(model.parameters())
        model.preprocess = replace(model.preprocess, device=str(at.device), dtype=at.dtype)
    if components is None:
        return model
    known = dict(model.named_children())
    if lost := [part for part in components if part not in known]:
        raise UnknownEntryError(f"{ref} has no component '{lost[0]}'. It has {', '.join(known)}.")
    return nn.ModuleDict({part: known[part] for part in components})


def best_device() -> str:
    """Return the device on which the commands run a model: a GPU if available."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def build(ref: str | Path, *, overrides: Mapping[str, Any] | None = None, **access: Any) -> Any:
    """Return the untrained model of an entry, in evaluation mode; names need no download.

    Args:
        ref, overrides, **access: as for :func:`load`.

    Raises:
        ZooError: the entry does not exist, or one of its components is not installed.
    """
    how = Access(**access)
    reference, entry = sources.find(ref, how.revision)
    if reference.kind == "run":
        run = open_run(reference.value)
        model = _of_config(run.config, run.entry(), overrides)
    elif entry is not None and entry.folder is None and entry.config is not None:
        model = _of_config(load_config(entry.config, entry.options), entry, overrides)
    else:
        found = sources.locate(ref, how)
        model = _constructed(found.package, overrides)
        model.entry = found.entry
        _befriend(model)
    return model.eval()


@dataclass(frozen=True, slots=True)
class Run:
    """A run, or one checkpoint of it."""

    config: dict[str, Any]  # resolved
    checkpoint: Path
    state: dict[str, Any] | None = None  # the checkpoint's content, if it has been read

    def entry(self) -> Entry:
        """Return the entry that an index would have for it."""
        data = self.config.get("data", {}).get("train") or {}
        shown = data.get("frame_dataset", data).get("type", "")
        return Entry(
            name=self.checkpoint.resolve().parent.name,
            task="",
            architecture=self.config["model"]["type"],
            dataset=shown.split("/")[-1],
            summary="",
            weights="folder",
            provider="a run",
        )


def open_run(path: str | Path) -> Run:
    """Return config and checkpoint of a run.

    Args:
        path: its folder, of which last.pth is used, else best.pth; or a checkpoint, which holds
            its config.

    Raises:
        ConfigError: the config, or the checkpoint, is missing or cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        found = [path / name for name in CHECKPOINTS if (path / name).is_file()]
        return Run(load_config(path / "config.json"), (found or [path / CHECKPOINTS[0]])[0])
    state = checkpoint.load(path)
    saved = state.get("config")
    if not isinstance(saved, str):
        raise ConfigError(f"{path} does not hold its config. Give the folder of its run.")
    cfg = json.loads(saved)
    for module in cfg.get("plugins", []):
        if module not in sys.modules:  # a file of weights must not decide what is imported
            raise ConfigError(
                f"{path}: its config uses the plugin '{module}'. Import it first, or give the "
                "folder of the run, whose config.json you can read."
            )
    return Run(load_config(cfg), path, state)


def _trained(path: str, overrides: Mapping[str, Any] | None, strict: bool) -> Any:
    """Build the model of a run and load its weights; see :func:`load`."""
    run = open_run(path)
    with torch.random.fork_rng(devices=[]):  # do not change the caller's random numbers
        model = _of_config(run.config, run.entry(), overrides)
    found = checkpoint.load(run.checkpoint) if run.state is None else run.state
    own, saved = model.state_dict(), checkpoint.weights(found)
    state = {key: value for key, value in saved.items() if not _training_only(model, key)}
    described = {"architecture": architecture_of(run.config), "name": str(run.checkpoint)}
    _check_fit(own, state, described, overrides, strict)
    fit = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
    model.load_state_dict(fit, strict=strict)
    model.keypoints["edges"] = [list(edge) for edge in model.limbs()]  # they may be learned
    model.usual = read_usual(run.checkpoint.parent / "usual.json")
    return model.eval().to(memory_format=torch.channels_last)


def _training_only(model: Any, key: str) -> bool:
    """Return whether a tensor belongs to a part that finished models lack, such as a critic."""
    node = model
    for word in key.split(".")[:-1]:
        node = getattr(node, word, False)
        if node is None or node is False:
            break
    return node is None


def _of_config(cfg: Mapping[str, Any], entry: Entry, overrides: Mapping[str, Any] | None) -> Any:
    """Return the untrained model of a training config, described as if from a package."""
    model = construct(overridden(architecture_of(cfg), overrides), entry.name)
    preprocess, model.keypoints = describe.images_and_keypoints(model, cfg)
    model.preprocess = _preprocess(preprocess, "cpu")
    model.entry = entry._replace(task=entry.task or model.task)
    model.package = model.usual = None
    _befriend(model)
    return model


def _befriend(model: Any) -> None:
    """Make ``model.predict`` accept images of any kind."""
    if model.preprocess is not None and hasattr(model, "predict"):
        model.predict = Predict(model)


def assemble(
    found: Package, *, overrides: Mapping[str, Any] | None = None, strict: bool = True
) -> Any:
    """Build a checked package's model and load its weights; see :func:`load`.

    Raises:
        MissingArchitectureError, PluginError: a component is not installed, or is broken.
        WeightsMismatchError: names or shapes differ; nothing was loaded.
        IntegrityError: the architecture cannot be built.
    """
    with torch.random.fork_rng(devices=[]):  # do not change the caller's random numbers
        model = _constructed(found, overrides)
    state, own = read_tensors(found.weights, found.tensors), model.state_dict()
    _check_fit(own, state, found.config, overrides, strict)
    fit = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
    model.load_state_dict(fit, strict=strict)
    model.usual = read_usual(found.config.get("usual"))
    model = model.eval().to(memory_format=torch.channels_last)
    if strict and not overrides:  # otherwise it is the caller's model, not the package's
        _try(model, found)
    return model


def _try(model: Any, found: Package) -> None:
    """Let a model find the landmarks of one image, within bounds set by its size and the image's.

    Neither the model nor random numbers change.

    Raises:
        IntegrityError: it cannot, or not within the bounds, or not as its config.json states.
    """
    stated = model.package.config
    name, size = f"'{stated['name']}'", stated["preprocess"]["image_size"]
    stored = sum(math.prod(one.shape) for one in found.tensors.values())
    each = min(4096 * (size or 64) ** 2, 1 << 27) + (1 << 22) + 4 * stored
    text = f"{name}: one image would take far more memory or time than its size suggests."
    try:
        bounds = Bounds(f"{text} Do not use it.", each, 16 * each, trial=True)
        with torch.random.fork_rng(devices=[]), torch.no_grad(), bounds:
            count = landmarks_of(model, size).xy.shape[1]
            if model.usual is not None and size is not None:
                model.usual.remarks(model, torch.full((1, 3, size, size), 0.5))
    except IntegrityError:
        raise
    except Exception as error:  # running a described model may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise IntegrityError(f"{name}: its model cannot use an image: {reason:.500}") from error
    frames = getattr(model, "frames", 1)
    fine = {
        f"config.json states {stated['keypoints']['count']} keypoints, but it finds {count}": count
        == stated["keypoints"]["count"],
        f"config.json states {stated['preprocess']['frames']} frames, but it takes {frames}": frames
        == stated["preprocess"]["frames"],
    }
    require(name, fine)


def _constructed(found: Package, overrides: Mapping[str, Any] | None) -> Any:
    """Return a package's model with fresh weights and the package's description."""
    architecture = overridden(found.config["architecture"], overrides)
    config = {**found.config, "architecture": architecture}
    stored = sum(math.prod(one.shape) for one in found.tensors.values())
    text = f"'{config['name']}': its architecture is much larger than its weights. Do not use it."
    each = 4 * stored + (1 << 22)
    with Bounds(text, each, each, trial=False):
        model = construct(architecture, config["name"], config["plugins"])
    model.keypoints = config["keypoints"]
    model.preprocess = _preprocess(config["preprocess"], "cpu")
    model.usual = None
    empty = bytearray()
    model.package = replace(found, config=config, weights=empty, golden=empty)
    return model


def _check_fit(
    wanted: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    config: Mapping[str, Any],
    overrides: Mapping[str, Any] | None,
    strict: bool,
) -> None:
    """Compare names, shapes and dtypes of a model's tensors with those of the file."""
    both = {key: (state[key], value) for key, value in wanted.items() if key in state}
    problems: dict[str, list[str]] = {
        "missing": [key for key in wanted if key not in state],
        "unexpected": [key for key in state if key not in wanted],
        "shapes": [],
        "kinds": [],
    }
    for key, (file, own) in both.items():
        if file.shape != own.shape:
            problems["shapes"] += [f"{key}: file {_times(file.shape)}, model {_times(own.shape)}"]
        if file.is_floating_point() != own.is_floating_point():
            problems["kinds"] += [f"{key}: file {file.dtype}, model {own.dtype}"]
    counts = [
        f"{len(some)} {word} ({'; '.join(some[:3])}{f'; + {len(some) - 3} more' * (len(some) > 3)})"
        for word, some in problems.items()
        if some
    ]
    if not counts:
        return
    architecture = config["architecture"]
    changed = f" Overrides: {dict(overrides)}." if overrides else ""
    text = (
        f"Weights do not fit {architecture['type']} v{architecture['version']} of "
        f"'{config['name']}': {', '.join(counts)}.{changed}"
    )
    if strict or problems["kinds"]:
        raise WeightsMismatchError(f"{text} Nothing was loaded.")
    told = WeightsMismatchError(f"{text} The rest stays untrained (strict=False).")
    warnings.warn(str(told), UserWarning, stacklevel=4)


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "one number"


def architecture_of(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``architecture`` that a package of this config's model has."""
    args = describe.inference(json.loads(json.dumps(cfg["model"])))
    type_ = args.pop("type")
    return {"type": type_, "version": resolve(type_, "model").version, "args": args}


def construct(
    architecture: Mapping[str, Any], name: str, origins: Sequence[Mapping[str, str]] = ()
) -> Any:
    """Build the ``architecture`` of a config.json with fresh weights.

    Args:
        architecture: type, version and args.
        name: of the entry, for messages.
        origins: where its plugins' components come from, according to the entry.

    Raises:
        ZooError: a component is unknown, or the model cannot be built with these arguments.
    """
    args = architecture["args"]
    if "type" in args:
        raise IntegrityError(f"'{name}': the arguments of its architecture must not have a 'type'.")
    node = {**args, "type": architecture["type"]}
    for type_ in describe.types_in(node):
        _check_component(type_, name, origins)
    if node["type"].split("/")[0] != "pipelines":
        raise IntegrityError(f"'{name}': its architecture, {node['type']}, is not a pipeline.")
    own = resolve(node["type"], "architecture").version
    if architecture["version"] != own:
        raise WeightsMismatchError(
            f"'{name}' was made with version {architecture['version']} of {node['type']}, but this "
            f"is version {own}. Use the keypoint-zoo that made it, or another revision of the "
            "entry."
        )
    try:
        return build_model({"model": node}, to_fill=True)
    except (ConfigError, OverflowError, MemoryError) as error:
        raise IntegrityError(f"'{name}': its architecture cannot be built: {error}") from error


def _check_component(type_: Any, name: str, origins: Sequence[Mapping[str, str]]) -> None:
    """Check that a name is registered in the role of a network's part; only those are looked up."""
    role = type_.split("/")[0] if isinstance(type_, str) else ""
    if role not in ROLES:
        raise IntegrityError(
            f"'{name}': {str(type_)[:80]!r} cannot be part of a model. Parts have registered names "
            f"such as 'encoders/unet', in the roles {', '.join(ROLES)}."
        )
    try:
        resolve(type_, "architecture")
    except ConfigError as error:
        if plugins.plugin_of(type_):
            raise PluginError(f"{error}") from error
        raise MissingArchitectureError(
            f"Entry '{name}' needs '{type_[:80]}', which is not installed."
            f"{_advice(type_, origins)} Nothing was installed. Available: "
            f"{', '.join(ROLE_TABLES[role].names())}."
        ) from error


def _advice(type_: str, origins: Sequence[Mapping[str, str]]) -> str:
    """Return advice on where a component comes from, according to the entry, if plain to read."""
    for origin in origins:
        requires = origin["requires"]
        plain = re.fullmatch(rf"{PLAIN_NAME}((>=|==|~=)[0-9][0-9A-Za-z.]*)?", requires)
        if origin["component"] == type_ and plain:
            return (
                " According to the entry, it comes from the distribution "
                f"'{origin['distribution'][:80]}'. If you trust it, pip install '{requires}'."
            )
    return ""


def overridden(
    architecture: Mapping[str, Any], overrides: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return an architecture with some arguments changed.

    Args:
        architecture: of a config.json.
        overrides: dotted argument -> value.

    Raises:
        UnknownEntryError: the argument does not exist.
    """
    args = json.loads(json.dumps(architecture["args"]))
    for dotted, value in (overrides or {}).items():
        *parents, last = dotted.split(".")
        node = args
        for key in parents:
            node = node.get(key) if isinstance(node, dict) else None
        if not isinstance(node, dict) or last not in node:
            raise UnknownEntryError(f"overrides: the architecture has no argument '{dotted}'.")
        node[last] = value
    return {**architecture, "args": args}


def _preprocess(stated: Mapping[str, Any], device: str) -> Preprocess | None:
    if stated["image_size"] is None:
        return None
    crop = tuple(stated["crop"]) if stated.get("crop") else None
    return Preprocess(stated["image_size"], stated["fit"], crop, device)


def architectures() -> list[str]:
    """Return the pipelines that packages may use, including those of plugins."""
    return PIPELINES.names()
