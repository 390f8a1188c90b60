"""From a training config to what a package says about its model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from components.data.fit import fit_options
from registry.build import arguments_of, build, resolve, slots_of
from registry.errors import ConfigError
from registry.plugins import plugin_of
from zoo.schema import COORDINATES, PREPROCESS

TASK_OF = {
    "pipelines/reconstruction": "keypoint-detection",
    "pipelines/motion_transfer": "motion-transfer",
    "pipelines/forecast": "forecasting",
    "pipelines/pose_autoencoder": "pose-regression",
}
TRAINING_ONLY = {"critics", "priors"}  # roles that no finished model runs


def inference(model: Any) -> Any:
    """Return the ``model`` section as a package keeps it.

    Without critics and priors, with every default written out, and with nothing to fetch: the
    weights are all in the package.
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
    # the config's own order, in which parts draw their first weights
    kept = {**model, **{k: v for k, v in defaults.items() if k not in model}}
    if cls.fetches_weights:
        kept["weights"] = "random"
    kept |= dict.fromkeys(training_only(cls))
    return {key: inference(value) for key, value in kept.items()}


def training_only(cls: Any) -> list[str]:
    """Return the arguments of a class whose parts no finished model runs."""
    from registry.protocols import role_of

    slots = slots_of(cls).items()
    return [key for key, parts in slots if {role_of(part) for part in parts} <= TRAINING_ONLY]


def plugins_in(model: Any) -> list[dict[str, str]]:
    """Return the components of other distributions in an architecture, with their origin."""
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
    """Return every ``type`` in an architecture, from the outside in."""
    if isinstance(node, Mapping):
        own = [node["type"]] if "type" in node else []
        return own + [name for value in node.values() for name in types_in(value)]
    if isinstance(node, (list, tuple)):
        return [name for value in node for name in types_in(value)]
    return []


def frames_needed(model: Any) -> int:
    """Return how many frames a prediction takes: those a forecast is given, or one."""
    return int(model.frames)


def preprocess_of(cfg: Mapping[str, Any], frames: int) -> dict[str, Any]:
    """Return how images must come in."""
    options = json.loads(json.dumps(fit_options(cfg)))
    if options.get("crop") is None:
        options.pop("crop", None)
    options.setdefault("fit", "stretch")
    return {"image_size": cfg.get("image_size"), **options, **PREPROCESS, "frames": frames}


def coordinates_of(landmarks: Any) -> dict[str, Any]:
    """Return what the numbers of landmarks mean."""
    extras = [name for name in ("cov", "affine", "score") if getattr(landmarks, name) is not None]
    return {**COORDINATES, "extras": extras}


def keypoints_of(cfg: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Return names, limbs and sides of the landmarks.

    Landmarks that a prior of annotated poses shaped carry the annotation's names, if its data set
    is at hand. Discovered ones are numbered: what they sit on is for the user to see.
    """
    model = cfg["model"]
    named: tuple[str, ...] = ()
    prior = None
    if cfg.get("data", {}).get("prior"):
        try:
            prior = build(cfg["data"]["prior"], "data.prior", "datasets")
        except (ConfigError, OSError):
            prior = None  # the data are elsewhere: numbers instead of names
        named = tuple(getattr(prior, "keypoint_names", ()))
    annotated = bool(cfg.get("data", {}).get("prior"))
    layered = model.get("compositor") or (model.get("image_pipeline") or {}).get("compositor")
    groups = {}
    if layered and not annotated and "mask_blend" in str(layered.get("type")):
        groups = {"foreground": list(range(count))}
    if len(named) != count:
        named = tuple(f"{'fg' if groups else 'kp'}{k:02d}" for k in range(count))
    edges = [list(edge) for edge in cfg["model"].get("rasterizer", {}).get("edges", ())]
    return {
        "count": count,
        "names": list(named),
        "semantics": "annotated" if annotated else "discovered",
        "groups": groups,
        "edges": [edge for edge in edges if edge[0] != edge[1]],
        "flip_pairs": [list(pair) for pair in _flip_pairs(cfg, prior)],
    }


def _flip_pairs(cfg: Mapping[str, Any], prior: Any) -> Sequence[Sequence[int]]:
    metrics = cfg.get("evaluate", {}).get("metrics", {}).values()
    stated = [cfg["model"].get("flip_pairs"), *(metric.get("flip_pairs") for metric in metrics)]
    return next((pairs for pairs in stated if pairs), getattr(prior, "flip_pairs", ()))
