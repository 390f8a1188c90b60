"""What flows between components: frozen dataclasses whose shapes are checked at construction.

Letters, here and in every docstring: B batch, T time, K landmarks, J annotated keypoints, D
appearance channels, C feature channels, H W image size, h w map size.

Images are (B, 3, H, W) RGB in [0, 1]. Points are (x, y) in [-1, 1]; the centre of pixel i of a side
with S pixels is at (2 i + 1) / S - 1 (``align_corners=False``).

Each field is declared once. Its metadata hold its shape, its meaning and what produces it; the
docstrings of the classes and the errors are made from them. ``extra`` holds tensors of plugins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

T = TypeVar("T")
DATA = "the data set (data.train, data.test)"
WARPED = "transforms/second_view"
PRIOR = "a pipeline given data.prior"
FORECAST = "pipelines/forecast"


class MissingFieldError(AttributeError):
    """A component asked for something that nothing upstream produced."""


def tensor(shape: str, about: str, by: str = "", *, required: bool = False) -> Any:
    """Declare a field of a contract class.

    Args:
        shape: letters for its dimensions; equal letters in one object mean equal sizes, and digits
            are sizes.
        about: what it is.
        by: what produces it, for errors.
        required: the field has no default.
    """
    metadata = {"shape": shape, "about": about, "by": by}
    return field(metadata=metadata) if required else field(default=None, metadata=metadata)


def extras(about: str) -> Any:
    """Declare ``extra``: name -> tensor, whatever plugins pass to each other."""
    return field(default_factory=dict, metadata={"about": about})


def brief(obj: Any) -> str:
    """Return one line per field: shape, dtype, range and device of tensors, never their values.

    Fields that are None are left out.

    Args:
        obj: a dataclass of tensors, arrays, and such dataclasses.

    Example:
        >>> Landmarks(xy=torch.tensor([[[0.0, 0.5], [-1.0, 0.25]]]))
        Landmarks
          xy: (1, 2, 2) float32, -1 to 0.5, cpu
    """
    lines = [type(obj).__name__]
    for each in fields(obj):
        value = getattr(obj, each.name)
        if value is not None and not (isinstance(value, (Mapping, tuple)) and not value):
            space = "" if isinstance(value, Mapping) else " "
            lines.append(f"{each.name}:{space}{_brief(value)}".replace("\n", "\n  "))
    return "\n  ".join(lines)


def _brief(value: Any) -> str:
    if isinstance(value, (Tensor, np.ndarray)):
        return _numbers(value)
    if isinstance(value, Mapping):
        return "".join(f"\n  {key}: {_brief(inner)}" for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        shown = ", ".join(map(_brief, value[:3]))
        return f"{shown}, ... {len(value)} in all" if len(value) > 3 else shown
    plain = isinstance(value, str) or hasattr(value, "__dataclass_fields__")
    return repr(value) if plain else type(value).__name__


def _numbers(value: Any) -> str:
    """Return shape, dtype, range and device of a tensor or an array."""
    shown = f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    device = f", {value.device}" if isinstance(value, Tensor) else ""
    if device == ", meta" or 0 in value.shape:
        return shown + device
    numbers = torch.as_tensor(value).detach()
    numbers = numbers.byte() if numbers.dtype == torch.bool else numbers
    finite = numbers[numbers.isfinite()]
    if len(finite):
        low, high = (end.item() for end in finite.aminmax())
        shown += f", {low:.3g} to {high:.3g}"
    if bad := numbers.numel() - len(finite):
        shown += f", {bad} not finite"
    return shown + device


def _documented(cls: type[T]) -> type[T]:
    """Append the fields to the docstring, and print objects briefly."""
    cls.__repr__ = brief  # type: ignore[method-assign]
    lines = []
    for each in fields(cls):  # type: ignore[arg-type]
        shape, about = each.metadata.get("shape"), each.metadata.get("about", "")
        shown = f"({', '.join(shape.split())}) " if shape else ""
        lines.append(f"    {each.name}: {shown}{about}")
    cls.__doc__ = f"{cls.__doc__ or ''}\n\nAttributes:\n" + "\n".join(lines)
    return cls


def _check(obj: Any) -> None:
    """Check the ranks and the shared letters of the tensor fields of ``obj``."""
    sizes: dict[str, int] = {}
    for each in fields(obj):
        value, letters = getattr(obj, each.name), each.metadata.get("shape")
        if value is None or letters is None:
            continue
        dims = letters.split()
        wanted = f"{type(obj).__name__}.{each.name} must be ({', '.join(dims)})"
        if value.ndim != len(dims):
            raise ValueError(f"{wanted}, got {tuple(value.shape)}.")
        for letter, size in zip(dims, value.shape):
            right = int(letter) if letter.isdigit() else sizes.setdefault(letter, size)
            if size != right:
                known = "" if letter.isdigit() else f" with {letter} = {right}"
                raise ValueError(f"{wanted}{known}, got {tuple(value.shape)}.")


def need(obj: Any, name: str, produced_by: str = "") -> Any:
    """Return ``obj.name``.

    Args:
        obj: one of the dataclasses below, or None if that is missing too.
        name: its field, or ``extra.<name>``.
        produced_by: what fills that field, if the caller knows more than its metadata.

    Raises:
        MissingFieldError: the field is None.
    """
    own, _, key = name.partition(".")
    value = None if obj is None else getattr(obj, own)
    if key:
        value = (value or {}).get(key)
    if value is None:
        place = "" if obj is None else f"{type(obj).__name__}."
        by = produced_by or producer(type(obj), own) or "a part of the pipeline"
        raise MissingFieldError(
            f"{place}{name} is missing; it is produced by {by}. "
            "Add that component to the config, or remove what needs it."
        )
    return value


def producer(cls: Any, name: str) -> str:
    """Return what produces a field of a contract class, from its metadata; '' if unknown."""
    found = {each.name: each.metadata.get("by", "") for each in fields(cls)}
    return str(found.get(name, ""))


@_documented
@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One batch of data."""

    source: Tensor | None = tensor("B 3 H W", "image that gives appearance.", DATA)
    driving: Tensor | None = tensor("B 3 H W", "image that gives pose.", DATA)
    target: Tensor | None = tensor(
        "B 3 H W", "pixels to reproduce; same as ``driving`` unless that was perturbed.", DATA
    )
    warped: Tensor | None = tensor(
        "B 3 H W", "another view of ``driving``: the image under a known warp.", WARPED
    )
    warp: Any = field(
        default=None,
        metadata={
            "about": "that warp: called with points (B, P, 2) of ``warped``, it returns where they "
            "come from in ``driving``; see ``components.ops.tps.Spline`` for grid and slope.",
            "by": WARPED,
        },
    )
    weight: Tensor | None = tensor(
        "B 1 H W", "weight of each pixel of ``target`` in the reconstruction; None: all 1.", DATA
    )
    frames: Tensor | None = tensor(
        "B T 3 H W", "a clip instead of single images.", "a data set of clips (data.train)"
    )
    states: Tensor | None = tensor(
        "B T K S",
        "landmarks of a clip, S numbers each: 5 for mean and Cholesky factor (l11, l21, l22) of "
        "the covariance; or 6 for mean and affine map (or covariance) row by row.",
        FORECAST,
    )
    poses: Tensor | None = tensor(
        "B K 2", "unpaired sample of the pose prior.", "the pose prior (data.prior)"
    )
    keypoints: Tensor | None = tensor(
        "B J 2",
        "annotation of ``driving``, NaN if missing; never used in training.",
        "a data set with annotations",
    )
    visible: Tensor | None = tensor(
        "B J", "1 where ``keypoints`` is annotated and visible.", "a data set with annotations"
    )
    mask: Tensor | None = tensor(
        "B 1 H W", "1 = foreground of ``driving``.", "a data set with foreground masks (data.test)"
    )
    flow: Tensor | None = tensor(
        "B 2 h w",
        "displacement from each pixel of ``driving`` to the same point in ``source``, (x, y) in "
        "contract coordinates.",
        "datasets/flow_pairs (data.train)",
    )
    size: Tensor | None = tensor(
        "B 2", "width and height of the crop that ``driving`` shows, in original pixels.", DATA
    )
    name: tuple[str, ...] | None = field(
        default=None, metadata={"about": "B names ``<clip>/<frame>``.", "by": DATA}
    )
    extra: Mapping[str, Tensor] = extras("anything else that a data set or a transform passes on.")

    def __post_init__(self) -> None:
        _check(self)


@_documented
@dataclass(frozen=True, slots=True, kw_only=True)
class Landmarks:
    """Discovered or predicted points."""

    xy: Tensor = tensor("B K 2", "positions.", required=True)
    cov: Tensor | None = tensor(
        "B K 2 2", "covariances, (x, y) order.", "bottlenecks/gaussian or bottlenecks/monkeynet"
    )
    affine: Tensor | None = tensor(
        "B K 2 2", "local affine maps.", "a bottleneck with local maps, such as bottlenecks/affine"
    )
    score: Tensor | None = tensor(
        "B K",
        "confidence in each, in (0, 1]; not calibrated; its producer documents what it measures.",
        "a bottleneck with scores, or a pipeline that predicts",
    )
    prob: Tensor | None = tensor(
        "B K h w",
        "the maps they were read from, each summing to 1.",
        "a bottleneck that reads probability maps",
    )
    extra: Mapping[str, Tensor] = extras("anything else that a bottleneck passes on, batch first.")

    def __post_init__(self) -> None:
        _check(self)


@_documented
@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """What an encoder read from an image; the encoder's ``fills`` names the fields it sets."""

    maps: Tensor | None = tensor(
        "B C h w", "logits of landmarks, a pose image, or an appearance.", "an encoder of maps"
    )
    features: Tensor | None = tensor(
        "B D i j",
        "features for the appearance encoder.",
        "encoders/unet, encoders/residual_hourglass or encoders/timm_features",
    )
    codes: Tensor | None = tensor("B K D", "one appearance vector per part.", "an encoder of parts")

    def __post_init__(self) -> None:
        _check(self)


@_documented
@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """The pose of one image in all its forms."""

    encoding: Encoding = field(metadata={"about": "from the encoder."})
    landmarks: Landmarks = field(metadata={"about": "from the bottleneck."})
    drawn: Tensor = tensor("B C H W", "from the rasterizer.", required=True)

    def __post_init__(self) -> None:
        _check(self)


@_documented
@dataclass(frozen=True, slots=True, kw_only=True)
class Appearance:
    """What the source looks like."""

    codes: Tensor | None = tensor("B K D", "one vector per part.", "an encoder of parts")
    image: Tensor | None = tensor("B D h w", "one map.", "an encoder of maps")

    def __post_init__(self) -> None:
        _check(self)


@_documented
@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """The parts of a composed image."""

    foreground: Tensor = tensor("B 3 H W", "what was decoded.", required=True)
    background: Tensor = tensor("B 3 H W", "what lies behind it.", required=True)
    mask: Tensor | None = tensor("B 1 H W", "1 = foreground.", "compositors/mask_blend")

    def __post_init__(self) -> None:
        _check(self)


@_documented
@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """How the source moves to look like the driving image."""

    grid: Tensor = tensor(
        "B h w 2", "where each pixel of the driving image comes from in the source.", required=True
    )
    weights: Tensor | None = tensor(
        "B M h w",
        "share of each landmark's motion, M = K + 1, background first; they sum to 1.",
        "motions/dense_motion",
    )
    visibility: Tensor | None = tensor(
        "B 1 h w",
        "1 where the source shows the pixel, 0 where it must be painted.",
        "motions/dense_motion with occlusion=True",
    )
    drawn: Tensor | None = tensor(
        "B K h w",
        "maps of the driving landmarks minus those of the source's.",
        "motions/monkeynet or motions/dense_motion",
    )

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a critic saw.

    Attributes:
        scores: one tensor per scale.
        features: the outputs of its layers, in order; empty if it does not expose them.
    """

    scores: tuple[Tensor, ...]
    features: tuple[Tensor, ...] = ()

    __repr__ = brief


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticScores:
    """What a critic said; each tuple has one tensor per scale.

    Attributes:
        generator: scores of the generated sample, with gradients for the sample, not the critic.
        fake: scores of the generated (or replayed) sample, with gradients for the critic only.
        real: scores of the real sample, with gradients for the critic only.
        generator_features, real_features: of the generated and the real sample, one tensor per
            layer, with gradients for the sample (and a condition), not the critic.
    """

    generator: tuple[Tensor, ...]
    fake: tuple[Tensor, ...]
    real: tuple[Tensor, ...]
    generator_features: tuple[Tensor, ...] = ()
    real_features: tuple[Tensor, ...] = ()

    __repr__ = brief


@_documented
@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What a pipeline computed; losses and metrics read from it."""

    landmarks: Landmarks | None = field(
        default=None, metadata={"about": "of ``driving``.", "by": "a pipeline with a bottleneck"}
    )
    source_landmarks: Landmarks | None = field(
        default=None,
        metadata={
            "about": "of ``source``, if its pose is needed.",
            "by": "pipelines/motion_transfer, or a reconstruction that reads the source's pose",
        },
    )
    warped_landmarks: Landmarks | None = field(
        default=None, metadata={"about": "of ``warped``.", "by": WARPED}
    )
    layers: Layers | None = field(
        default=None,
        metadata={
            "about": "foreground, background and mask of the render.",
            "by": "a pipeline with a compositor",
        },
    )
    pose_image: Tensor | None = tensor(
        "B 1 H W",
        "the encoder's picture of the pose, range [-1, 1].",
        "a pipeline whose encoder returns one map, such as encoders/image_to_skeleton",
    )
    drawn: Tensor | None = tensor(
        "B C h w",
        "what the rasterizer drew from ``landmarks``, usually at image size.",
        "a pipeline with a rasterizer",
    )
    edges: Tensor | None = tensor(
        "N N",
        "strength of the limb between two landmarks, at least 0, fixed or learned.",
        "a rasterizer with edges, such as rasterizers/skeleton",
    )
    render: Tensor | None = tensor(
        "B 3 H W",
        "the reconstruction of ``target``, in [0, 1] up to overshoot.",
        "a pipeline with a decoder",
    )
    motion: Motion | None = field(
        default=None,
        metadata={
            "about": "from the source to the driving image.",
            "by": "pipelines/motion_transfer",
        },
    )
    deformed: Tensor | None = tensor(
        "B 3 H W",
        "the source warped by ``motion``, with nothing painted in.",
        "pipelines/motion_transfer",
    )
    prior_landmarks: Landmarks | None = field(
        default=None,
        metadata={"about": "what the bottleneck reads from the drawn prior poses.", "by": PRIOR},
    )
    prior_drawn: Tensor | None = tensor(
        "B C h w", "what the rasterizer drew from the prior poses.", PRIOR
    )
    redrawn: Tensor | None = tensor(
        "B C h w",
        "drawn from landmarks whose gradients reach the bottleneck's own weights only.",
        "a reconstruction pipeline with bottleneck_apart=True",
    )
    prior_cycle: Tensor | None = tensor(
        "B 1 H W",
        "the pose image that the encoder reads from a render of the prior poses.",
        "a reconstruction pipeline with prior_cycle=True",
    )
    pose_critic: CriticScores | None = field(
        default=None,
        metadata={
            "about": "scores of ``pose_image`` against the drawn prior poses.",
            "by": "a pipeline with a prior, given data.prior",
        },
    )
    image_critic: CriticScores | None = field(
        default=None,
        metadata={
            "about": "scores of rendered against real images.",
            "by": "a pipeline with an image critic",
        },
    )
    states: Tensor | None = tensor("B T K S", "predicted landmarks, as ``Batch.states``.", FORECAST)
    true_states: Tensor | None = tensor("B T K S", "the same, read from the true frames.", FORECAST)
    frames: Tensor | None = tensor("B T 3 H W", "predicted frames.", FORECAST)
    extra: Mapping[str, Tensor] = extras("anything else that a pipeline passes to losses.")

    def __post_init__(self) -> None:
        _check(self)
