"""From packages and configs to models: build, load."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from registry import plugins
from registry.build import resolve
from registry.config import build_model, load_config
from registry.errors import ConfigError
from registry.roles import PIPELINES
from registry.roles import ROLES as ROLE_TABLES
from zoo import describe, index, sources
from zoo.errors import (
    IntegrityError,
    MissingArchitectureError,
    PluginError,
    UnknownEntryError,
    WeightsMismatchError,
)
from zoo.fingerprint import landmarks_of
from zoo.package import Package
from zoo.preprocess import Preprocess

MAX_TENSORS = 1 << 14  # parameters and buffers of one model
PLAIN_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}"
ROLES = (
    *("encoders", "bottlenecks", "rasterizers", "decoders", "compositors", "motions"),
    *("predictors", "pipelines"),
)
DTYPES = {  # those of zoo/package.py
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8},
    **{"U8": torch.uint8, "BOOL": torch.bool},
}


def load(
    ref: str | Path,
    *,
    pretrained: bool = True,
    revision: str | None = None,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    components: Sequence[str] | None = None,
    train: bool = False,
    strict: bool = True,
    offline: bool | None = None,
    cache_dir: str | Path | None = None,
    token: str | None = None,
    progress: bool | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Any:
    """Return a finished model, built from its package and filled with its checked weights.

    Args:
        ref: ``name[@revision]``, ``hf:owner/repo[@revision]``, ``dir:path`` or a Path.
        pretrained: False gives the untrained model, as :func:`build` does.
        revision: branch, tag or commit, if not in ``ref``.
        device: where it goes.
        dtype: of its parameters; None for float32, whatever the file stores.
        components: return only these parts of the pipeline, in an ``nn.ModuleDict``.
        train: leave it in training mode.
        strict: False also takes weights that fit in part, and says once what did not fit.
        offline: never ask the Hub; None follows HF_HUB_OFFLINE.
        cache_dir: another cache than the Hub client's.
        token: of the Hub; None for the one that is logged in.
        progress: show downloads; None on a terminal only.
        overrides: dotted argument of the architecture -> value.

    Returns:
        The pipeline, with ``entry``, ``package``, ``keypoints`` (names, edges, flip_pairs, ...) and
        ``preprocess``: ``ready = model.preprocess(image)``, ``model.predict(ready.images)``,
        ``ready.to_original(xy)``. Nothing is returned unless every check has passed.

    Raises:
        ZooError: one of zoo/errors.py, with what to do.
    """
    if not pretrained:
        model = build(ref, revision=revision, overrides=overrides, offline=offline, token=token)
    else:
        found = sources.locate(
            ref,
            revision=revision,
            offline=offline,
            cache_dir=cache_dir,
            token=token,
            progress=progress,
        )
        model = assemble(found.package, overrides=overrides, strict=strict)
        model.entry = found.entry
    model = model.to(device=device, dtype=dtype or torch.float32).train(train)
    if model.preprocess is not None:
        first = next(model.parameters())
        model.preprocess = dataclasses.replace(
            model.preprocess, device=str(first.device), dtype=first.dtype
        )
    if components is None:
        return model
    known = dict(model.named_children())
    for part in components:
        if part not in known:
            raise UnknownEntryError(f"{ref} has no component '{part}'. It has {', '.join(known)}.")
    return nn.ModuleDict({part: known[part] for part in components})


def build(
    ref: str | Path,
    *,
    revision: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    offline: bool | None = None,
    token: str | None = None,
) -> Any:
    """Return the untrained model of an entry, in evaluation mode; nothing is downloaded for names.

    Raises:
        ZooError: no such entry, or a component of it is not installed.
    """
    entry = sources.entry_of(ref, revision)
    if entry is not None and entry.folder is None and entry.config is not None:
        cfg = load_config(entry.config)
        model = construct(architecture_of(cfg), overrides, entry.name)
        _attach(model, cfg, None)
        model.entry = entry
        return model.eval()
    found = sources.locate(ref, revision=revision, offline=offline, token=token)
    config = found.package.config
    with _limit(found.package):
        model = construct(config["architecture"], overrides, config["name"], config["plugins"])
    _attach_package(model, found.package)
    model.entry = found.entry
    return model.eval()


def open_model(ref: str | Path, checkpoint: str | Path | None = None) -> Any:
    """Return the model of an entry, of a run's folder, or of a config and a checkpoint.

    Args:
        ref: any reference :func:`load` takes; the folder of a run (its config.json with last.pth,
            else best.pth); or a ``.py`` or ``.json`` config.
        checkpoint: weights for a config; takes the place of those of a run's folder.

    Raises:
        ZooError, ConfigError: there is none, or its weights are missing.
    """
    path = Path(ref)
    if isinstance(ref, str) and index.is_known(ref):
        path = Path()  # a bare name is always the zoo's; a folder of that name is ./name
    run = path.is_dir() and (path / "config.json").is_file() and not _is_package(path)
    if run:
        found = [path / name for name in ("last.pth", "best.pth") if (path / name).is_file()]
        checkpoint = checkpoint or (found or [path / "last.pth"])[0]
        path = path / "config.json"
    elif path.suffix not in (".py", ".json"):
        if checkpoint:
            raise ConfigError("--checkpoint goes with a config or the folder of a run.")
        device = "cuda" if torch.cuda.is_available() else "cpu"  # as runs are
        return load(Path(ref) if _is_package(path) else ref, device=device)
    elif not checkpoint:
        raise ConfigError(f"'{ref}' is a config; give its weights with --checkpoint.")
    from registry.job import load_pipeline  # brings mmengine's runner, which entries do not need

    cfg = load_config(path)
    model = load_pipeline(cfg, checkpoint)
    _attach(model, cfg, str(next(model.parameters()).device))
    return model


def _is_package(path: Path) -> bool:
    return (path / "manifest.json").is_file()


def assemble(
    found: Package, *, overrides: Mapping[str, Any] | None = None, strict: bool = True
) -> Any:
    """Build a checked package's model and fill it; see :func:`load`.

    Raises:
        MissingArchitectureError, PluginError: a component is not installed, or broken.
        WeightsMismatchError: names or shapes differ; nothing was loaded.
        IntegrityError: the description cannot be built.
    """
    config, name = found.config, found.config["name"]
    # the caller's random numbers stay what they were
    with torch.random.fork_rng(devices=[]), _limit(found):
        model = construct(config["architecture"], overrides, name, config["plugins"])
    _check_fit(model.state_dict(), found, overrides, strict)
    state = _tensors(found)
    if strict:
        model.load_state_dict(state, strict=True)
    else:
        own = model.state_dict()
        fit = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
        model.load_state_dict(fit, strict=False)
    _attach_package(model, found)
    if overrides:
        architecture = overridden(config["architecture"], overrides)
        kept = {**config, "architecture": architecture}
        model.package = dataclasses.replace(model.package, config=kept)
    return model.eval().to(memory_format=torch.channels_last)


def _tensors(found: Package) -> dict[str, Tensor]:
    """Return the tensors of a package's checked bytes, of which no copy is made."""
    state, place = {}, 8 + int.from_bytes(found.weights[:8], "little")
    for key, (kind, shape) in found.tensors.items():
        dtype, count = DTYPES[kind], math.prod(shape)
        flat = torch.empty(0, dtype=dtype)
        if count:
            flat = torch.frombuffer(found.weights, dtype=dtype, count=count, offset=place)
        state[key] = flat.reshape(shape)
        place += count * dtype.itemsize
    return state


def _check_fit(
    wanted: Mapping[str, Tensor],
    found: Package,
    overrides: Mapping[str, Any] | None,
    strict: bool,
) -> None:
    """Compare names, shapes and kinds of a model's tensors with those of the file."""
    theirs = found.tensors
    missing = [key for key in wanted if key not in theirs]
    extra = [key for key in theirs if key not in wanted]
    shapes = [
        f"{key}: file {_times(theirs[key][1])}, model {_times(value.shape)}"
        for key, value in wanted.items()
        if key in theirs and tuple(value.shape) != theirs[key][1]
    ]
    kinds = [
        f"{key}: file {theirs[key][0]}, model {value.dtype}"
        for key, value in wanted.items()
        if key in theirs and DTYPES[theirs[key][0]].is_floating_point != value.is_floating_point()
    ]
    if not (missing or extra or shapes or kinds):
        return
    counts = [
        f"{len(some)} {word} ({'; '.join(some[:3])}{f'; + {len(some) - 3} more' * (len(some) > 3)})"
        for word, some in zip(
            ("missing", "unexpected", "shapes", "kinds"), (missing, extra, shapes, kinds)
        )
        if some
    ]
    architecture = found.config["architecture"]
    changed = f" Overrides: {dict(overrides)}." if overrides else ""
    text = (
        f"Weights do not fit {architecture['type']} v{architecture['version']} of "
        f"'{found.config['name']}': "
        f"{', '.join(counts)}.{changed}"
    )
    if strict or kinds:
        raise WeightsMismatchError(f"{text} Nothing was loaded.")
    told = str(WeightsMismatchError(f"{text} strict=False: the rest stays untrained."))
    warnings.warn(told, UserWarning, stacklevel=4)


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "one number"


@contextmanager
def _limit(found: Package) -> Iterator[None]:
    """Stop a construction that makes many more numbers than its file can fill.

    Modules register a parameter before they fill it, so no memory is used that is not allowed.
    """
    name = found.config["name"]
    numbers = 4 * sum(math.prod(shape) for _, shape in found.tensors.values()) + (1 << 22)
    made, calls, own = 0, 0, threading.get_ident()

    def count(module: nn.Module, key: str, tensor: Tensor | None) -> None:
        nonlocal made, calls
        if tensor is None or threading.get_ident() != own:
            return
        made, calls = made + tensor.numel(), calls + 1
        if made > numbers or calls > MAX_TENSORS:
            raise IntegrityError(f"'{name}': its architecture is far larger than its weights.")

    handles = (
        nn.modules.module.register_module_parameter_registration_hook(count),
        nn.modules.module.register_module_buffer_registration_hook(count),
    )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def architecture_of(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a package of this config's model says under ``architecture``."""
    args = describe.inference(json.loads(json.dumps(cfg["model"])))
    type_ = args.pop("type")
    return {"type": type_, "version": _version(resolve(type_, "model")), "args": args}


def _version(cls: Any) -> int:
    """Return a pipeline's version, raised when old weights no longer fit it."""
    return int(cls.version)


def construct(
    architecture: Mapping[str, Any],
    overrides: Mapping[str, Any] | None,
    name: str,
    origins: Sequence[Mapping[str, str]] = (),
) -> Any:
    """Build what ``architecture`` of a config.json says, with fresh weights.

    Args:
        architecture: type, version and args.
        overrides: dotted argument -> value.
        name: of the entry, for messages.
        origins: where its plugins' components come from, as it claims.

    Raises:
        ZooError: a component is unknown, or the arguments do not make a model.
    """
    args = overridden(architecture, overrides or {})["args"]
    if "type" in args:
        raise IntegrityError(f"'{name}': 'type' stands among the arguments of its architecture.")
    node = {**args, "type": architecture["type"]}
    for type_ in describe.types_in(node):
        _check_component(type_, name, origins)
    own = _version(resolve(node["type"], "architecture"))
    if architecture["version"] != own:
        raise WeightsMismatchError(
            f"'{name}' was made with version {architecture['version']} of {node['type']}, this is "
            f"version {own}. Use the keypoint-zoo that made it, or another revision of the entry."
        )
    try:
        return build_model({"model": node}, to_fill=True)
    except (ConfigError, OverflowError, MemoryError) as error:
        raise IntegrityError(f"'{name}': its architecture cannot be built: {error}") from error


def _check_component(type_: Any, name: str, origins: Sequence[Mapping[str, str]]) -> None:
    """Check that a name is registered, and one of a network's parts; no other is looked up."""
    role = type_.split("/")[0] if isinstance(type_, str) else ""
    if role not in ROLES:
        raise IntegrityError(
            f"'{name}': {str(type_)[:80]!r} names no part of a model; those are registered names "
            f"such as 'encoders/unet', of {', '.join(ROLES)}. Nothing else is ever looked up."
        )
    try:
        resolve(type_, "architecture")
    except ConfigError as error:
        if plugins.plugin_of(type_):
            raise PluginError(f"{error}") from error
        known = f"Available: {', '.join(ROLE_TABLES[role].names())}."
        raise MissingArchitectureError(
            f"Entry '{name}' needs '{type_[:80]}', which is not installed."
            f"{_advice(type_, origins)} Nothing was installed. {known}"
        ) from error


def _advice(type_: str, origins: Sequence[Mapping[str, str]]) -> str:
    """Return where an entry claims that a component comes from; only plain requirements."""
    for origin in origins:
        requires, distribution = origin["requires"], origin["distribution"]
        if origin["component"] == type_ and re.fullmatch(
            rf"{PLAIN_NAME}((>=|==|~=)[0-9][0-9A-Za-z.]*)?", requires
        ):
            return (
                f" The entry claims that it comes from the distribution '{distribution[:80]}'"
                f". If you trust it: pip install '{requires}'."
            )
    return ""


def overridden(architecture: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return an architecture with some arguments changed.

    Args:
        architecture: of a config.json.
        overrides: dotted argument -> value.

    Raises:
        UnknownEntryError: there is no such argument.
    """
    args = json.loads(json.dumps(architecture["args"]))
    for dotted, value in overrides.items():
        *parents, last = dotted.split(".")
        node = args
        for key in parents:
            node = node.get(key) if isinstance(node, dict) else None
        if not isinstance(node, dict) or last not in node:
            raise UnknownEntryError(f"overrides: the architecture has no argument '{dotted}'.")
        node[last] = value
    return {**architecture, "args": args}


def _attach(model: Any, cfg: Mapping[str, Any], device: str | None) -> None:
    """Give a model of a training config what a package would tell about it."""
    stated = describe.preprocess_of(cfg, describe.frames_needed(model))
    count = count_landmarks(model, stated["image_size"])
    model.keypoints = describe.keypoints_of(cfg, count)
    model.preprocess = _preprocess(stated, device or "cpu")
    model.entry = model.package = None


def _attach_package(model: Any, found: Package) -> None:
    model.keypoints = found.config["keypoints"]
    model.preprocess = _preprocess(found.config["preprocess"], "cpu")
    model.package = dataclasses.replace(found, weights=bytearray())


def _preprocess(stated: Mapping[str, Any], device: str) -> Preprocess | None:
    if stated["image_size"] is None:
        return None
    crop = tuple(stated["crop"]) if stated.get("crop") else None
    return Preprocess(stated["image_size"], stated["fit"], crop, device)


def count_landmarks(model: Any, image_size: int | None) -> int:
    """Return how many landmarks a model finds."""
    return int(landmarks_of(model, image_size).xy.shape[1])


def architectures() -> list[str]:
    """Return the pipelines that packages may name, plugins' included."""
    return PIPELINES.names()
