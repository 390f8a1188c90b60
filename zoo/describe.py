"""From a training config to the description of its model in a package."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from registry.build import build, resolve, slots_of
from registry.errors import ConfigError
from registry.kinds import arguments_of
from registry.plugins import plugin_of
from registry.sizes import image_size
from zoo.fingerprint import landmarks_of
from zoo.schema import COORDINATES, PREPROCESS

TRAINING_ONLY = {"critics", "priors"}  # roles that finished models do not use


def inference(model: Any) -> Any:
    """Return the ``model`` section as a package stores it.

    It has no critics and priors, every default is written out, and nothing is fetched: all weights
    are in the package.
    """
    if isinstance(model, (list, tuple)):
        return [inference(part) for part in model]
    if not isinstance(model, Mapping):
        return model
    if "type" not in model:
        return {key: inference(value) for key, value in model.items()}
    cls = resolve(model["type"], "model")
    arguments = arguments_of(cls) or {}
    defaults = {k: p.default for k, p in arguments.items() if p.default is not p.empty}
    # keep the config's order, in which parts draw their initial weights
    kept = {**model, **{k: v for k, v in defaults.items() if k not in model}}
    if cls.fetches_weights:
        kept["weights"] = "random"
    kept |= dict.fromkeys(training_only(cls))
    return {key: inference(value) for key, value in kept.items()}


def training_only(cls: Any) -> list[str]:
    """Return the arguments of a class whose parts only training uses."""
    from registry.protocols import role_of

    slots = slots_of(cls).items()
    return [key for key, parts in slots if {role_of(part) for part in parts} <= TRAINING_ONLY]


def plugins_in(model: Any) -> list[dict[str, str]]:
    """Return the components of an architecture that come from plugins, with their origin."""
    found = {}
    for name in types_in(model):
        if name.count("/") >= 2 and (origin := plugin_of(name)):
            distribution, version = origin
            found[name] = {
                "component": name,
                "distribution": distribution,
                "requires": f"{distribution}>={version}",
            }
    return list(found.values())


def types_in(node: Any) -> list[str]:
    """Return every ``type`` in an architecture, outer ones first."""
    if isinstance(node, Mapping):
        own = [node["type"]] if "type" in node else []
        return own + [name for value in node.values() for name in types_in(value)]
    if isinstance(node, (list, tuple)):
        return [name for value in node for name in types_in(value)]
    return []


def images_and_keypoints(
    model: Any, cfg: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return ``preprocess`` and ``keypoints`` for the config.json of a trained model.

    Raises:
        ConfigError: data sets and drawing parts have different image sizes.
    """
    size = image_size(cfg)
    options = {"fit": "stretch", **fit_options(cfg)}
    preprocess = {"image_size": size, **options, **PREPROCESS, "frames": model.frames}
    return preprocess, keypoints_of(model, cfg, landmarks_of(model, size).xy.shape[1])


def fit_options(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a config's test set (or training set) fits images into a square."""
    data = cfg.get("data", {})
    shown = data.get("test") or data.get("train") or {}
    shown = shown.get("frame_dataset", shown)  # the frames of clips
    stated = {key: shown[key] for key in ("fit", "crop") if shown.get(key) is not None}
    if isinstance(stated.get("crop"), str):  # of annotated images only, such as "square"
        del stated["crop"]
    return {key: list(value) if key == "crop" else value for key, value in stated.items()}


def coordinates_of(landmarks: Any) -> dict[str, Any]:
    """Return what the numbers of landmarks mean."""
    extras = [name for name in ("cov", "affine", "score") if getattr(landmarks, name) is not None]
    return {**COORDINATES, "extras": extras}


def keypoints_of(model: Any, cfg: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Return names, limbs and sides of the landmarks.

    Landmarks shaped by a prior of annotated poses have the names of the annotation, if its data set
    is available. Discovered ones are numbered. Limbs are those of the model, fixed or learned. If a
    compositor masks out a background, all landmarks belong to the foreground.

    Args:
        model: the pipeline.
        cfg: the resolved config that it was trained with.
        count: number of its landmarks.
    """
    stated, prior = cfg.get("data", {}).get("prior"), None
    if stated:
        with suppress(ConfigError, OSError):  # without the data: numbers instead of names
            prior = build(stated, "data.prior", "datasets")
    names = tuple(getattr(prior, "keypoint_names", ()))
    compositor = getattr(getattr(model, "image_pipeline", model), "compositor", None)
    masked = compositor is not None and "mask" in compositor.fills
    groups = {"foreground": list(range(count))} if masked and not stated else {}
    metrics = cfg.get("evaluate", {}).get("metrics", {}).values()
    told = [cfg["model"].get("flip_pairs"), *(metric.get("flip_pairs") for metric in metrics)]
    flips = next((pairs for pairs in told if pairs), getattr(prior, "flip_pairs", ()))
    if len(names) != count:
        names = tuple(f"{'fg' if groups else 'kp'}{k:02d}" for k in range(count))
    return {
        "count": count,
        "names": list(names),
        "semantics": "annotated" if stated else "discovered",
        "groups": groups,
        "edges": [list(edge) for edge in model.limbs()],
        "flip_pairs": [list(pair) for pair in flips],
    }
