"""What flows between components: frozen dataclasses whose shapes are checked once, at construction.

Letters, here and in every docstring: B batch, T time, K landmarks, J annotated keypoints, D
appearance channels, C feature channels, H W image size, h w map size, E edges.

Images are (B, 3, H, W) RGB in [0, 1]. Points are (x, y) in [-1, 1]; the centre of pixel i of a side
with S pixels is at (2 i + 1) / S - 1 (``align_corners=False``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor


class MissingFieldError(AttributeError):
    """A component asked for something that nothing upstream produced."""


def _check(obj: Any, shapes: dict[str, str]) -> None:
    """Check the ranks and the shared letters of the tensor fields of ``obj``."""
    sizes: dict[str, int] = {}
    for name, letters in shapes.items():
        value = getattr(obj, name)
        if value is None:
            continue
        dims = letters.split()
        if value.ndim != len(dims):
            raise ValueError(
                f"{type(obj).__name__}.{name} must be ({', '.join(dims)}), "
                f"got {tuple(value.shape)}."
            )
        for letter, size in zip(dims, value.shape):
            wanted = int(letter) if letter.isdigit() else sizes.setdefault(letter, size)
            if size != wanted:
                known = "" if letter.isdigit() else f" with {letter} = {wanted}"
                raise ValueError(
                    f"{type(obj).__name__}.{name} must be ({', '.join(dims)}){known}, "
                    f"got {tuple(value.shape)}."
                )


def need(obj: Any, name: str, produced_by: str) -> Any:
    """Return ``obj.name``.

    Args:
        obj: one of the dataclasses below, or None where even that is missing.
        name: its field.
        produced_by: who fills that field, for the message.

    Raises:
        MissingFieldError: the field is None.
    """
    value = None if obj is None else getattr(obj, name)
    if value is None:
        place = "" if obj is None else f"{type(obj).__name__}."
        raise MissingFieldError(
            f"{place}{name} is missing; it is produced by {produced_by}. "
            "Add that part to the config, or remove what asks for it."
        )
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One batch of data.

    Attributes:
        source: (B, 3, H, W) image that gives appearance.
        driving: (B, 3, H, W) image that gives pose.
        target: (B, 3, H, W) pixels to reproduce; ``driving`` itself unless driving was perturbed.
        warped: (B, 3, H, W) another view of ``driving``: the image under a known warp.
        warp: that warp: called with points (B, P, 2) of ``warped`` it returns where they come from
            in ``driving``; ``components.ops.tps.Spline`` has its grid and its slope.
        weight: (B, 1, H, W) of each pixel of ``target`` in the reconstruction; None: all count.
        frames: (B, T, 3, H, W) a clip instead of single images.
        states: (B, T, K, S) landmarks of a clip as S numbers each: 5, mean and Cholesky factor
            (l11, l21, l22) of the covariance; or 6, mean and affine map (or covariance) row by row.
        poses: (B, K, 2) unpaired sample of the pose prior.
        keypoints: (B, J, 2) annotation of ``driving``, NaN where missing; never used in training.
        visible: (B, J) 1 where ``keypoints`` is annotated and visible.
        mask: (B, 1, H, W) 1 = foreground of ``driving``.
        flow: (B, 2, h, w) from each pixel of ``driving`` to where that point is in ``source``, as
            the difference (x, y) of contract coordinates.
        size: (B, 2) width and height, in original pixels, of the crop that ``driving`` shows.
        name: B names ``<clip>/<frame>``.
    """

    source: Tensor | None = None
    driving: Tensor | None = None
    target: Tensor | None = None
    warped: Tensor | None = None
    warp: Any = None
    weight: Tensor | None = None
    frames: Tensor | None = None
    states: Tensor | None = None
    poses: Tensor | None = None
    keypoints: Tensor | None = None
    visible: Tensor | None = None
    mask: Tensor | None = None
    flow: Tensor | None = None
    size: Tensor | None = None
    name: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        image = "B 3 H W"
        _check(
            self,
            {
                "source": image,
                "driving": image,
                "target": image,
                "warped": image,
                "weight": "B 1 H W",
                "frames": "B T 3 H W",
                "states": "B T K S",
                "poses": "B K 2",
                "keypoints": "B J 2",
                "visible": "B J",
                "mask": "B 1 H W",
                "flow": "B 2 h w",
                "size": "B 2",
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Landmarks:
    """Discovered or predicted points.

    Attributes:
        xy: (B, K, 2) positions.
        cov: (B, K, 2, 2) covariances, (x, y) order.
        affine: (B, K, 2, 2) local affine maps.
        score: (B, K) confidence in [0, 1].
        prob: (B, K, h, w) the maps they were read from, each summing to 1.
    """

    xy: Tensor
    cov: Tensor | None = None
    affine: Tensor | None = None
    score: Tensor | None = None
    prob: Tensor | None = None

    def __post_init__(self) -> None:
        _check(
            self,
            {
                "xy": "B K 2",
                "cov": "B K 2 2",
                "affine": "B K 2 2",
                "score": "B K",
                "prob": "B K h w",
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """What an encoder read from an image; an encoder that has only the first may return the tensor.

    Attributes:
        pose: (B, C, h, w) logits of landmarks, or a pose image.
        features: (B, D, h, w) features for the appearance encoder.
    """

    pose: Tensor
    features: Tensor | None = None

    def __post_init__(self) -> None:
        _check(self, {"pose": "B C h w", "features": "B D i j"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """The pose of one image in all its forms.

    Attributes:
        encoding: of the encoder.
        landmarks: of the bottleneck.
        drawn: (B, C, h, w) of the rasterizer.
    """

    encoding: Encoding
    landmarks: Landmarks
    drawn: Tensor

    def __post_init__(self) -> None:
        _check(self, {"drawn": "B C H W"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Appearance:
    """What the source looks like.

    Attributes:
        codes: (B, K, D) one vector per part.
        image: (B, D, h, w) one map.
    """

    codes: Tensor | None = None
    image: Tensor | None = None

    def __post_init__(self) -> None:
        _check(self, {"codes": "B K D", "image": "B D h w"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """The parts of a composed image.

    Attributes:
        foreground, background: (B, 3, H, W).
        mask: (B, 1, H, W), 1 = foreground.
    """

    foreground: Tensor
    background: Tensor
    mask: Tensor | None = None

    def __post_init__(self) -> None:
        _check(self, {"foreground": "B 3 H W", "background": "B 3 H W", "mask": "B 1 H W"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """How the source moves to look like the driving image.

    Attributes:
        grid: (B, h, w, 2) where each pixel of the driving image comes from in the source.
        weights: (B, K + 1, h, w) share of each landmark's motion, the background's first; their sum
            is 1.
        visibility: (B, 1, h, w) 1 where the source shows it, 0 where it must be painted.
        drawn: (B, K, h, w) maps of the driving landmarks minus those of the source's.
    """

    grid: Tensor
    weights: Tensor | None = None
    visibility: Tensor | None = None
    drawn: Tensor | None = None

    def __post_init__(self) -> None:
        _check(
            self,
            {
                "grid": "B h w 2",
                "weights": "B M h w",
                "visibility": "B 1 h w",
                "drawn": "B K h w",
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a critic saw; a critic without features may return the tuple of scores.

    Attributes:
        scores: one tensor per scale.
        features: what its layers gave on the way, in their order.
    """

    scores: tuple[Tensor, ...]
    features: tuple[Tensor, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticScores:
    """What a critic said; each tuple has one tensor per scale.

    Attributes:
        generator: scores of the generated sample, differentiable to the sample, not to the critic.
        fake: scores of the generated (or replayed) sample, differentiable to the critic only.
        real: scores of the real sample, differentiable to the critic only.
        generator_features, real_features: of the generated and the real sample, one tensor per
            layer, differentiable to the sample (and a condition), not to the critic.
    """

    generator: tuple[Tensor, ...]
    fake: tuple[Tensor, ...]
    real: tuple[Tensor, ...]
    generator_features: tuple[Tensor, ...] = ()
    real_features: tuple[Tensor, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What a pipeline computed; losses and metrics read from it.

    Attributes:
        landmarks: of ``driving``.
        source_landmarks: of ``source``, where its pose is needed.
        warped_landmarks: of ``warped``.
        layers: foreground, background and mask of the render.
        pose_image: (B, 1, H, W) the encoder's picture of the pose, range [-1, 1].
        drawn: (B, C, h, w) what the rasterizer drew from ``landmarks``, mostly at image size.
        render: (B, 3, H, W) the reconstruction of ``target``, in [0, 1] up to overshoot.
        motion: from the source to the driving image.
        deformed: (B, 3, H, W) the source moved by ``motion``, nothing painted.
        prior_landmarks: bottleneck's reading of the drawn prior poses.
        prior_drawn: (B, C, h, w) what the rasterizer drew from the prior poses.
        redrawn: (B, C, h, w) drawn from landmarks that only the bottleneck's own weights receive
            gradients through.
        prior_cycle: (B, 1, H, W) the pose image read back from a render of the prior poses.
        pose_critic: scores of ``pose_image`` against the drawn prior poses.
        image_critic: scores of rendered against real images.
        states: (B, T, K, S) predicted landmarks, as ``Batch.states``.
        true_states: (B, T, K, S) the same, read from the true frames.
        frames: (B, T, 3, H, W) predicted frames.
    """

    landmarks: Landmarks | None = None
    source_landmarks: Landmarks | None = None
    warped_landmarks: Landmarks | None = None
    layers: Layers | None = None
    pose_image: Tensor | None = None
    drawn: Tensor | None = None
    render: Tensor | None = None
    motion: Motion | None = None
    deformed: Tensor | None = None
    prior_landmarks: Landmarks | None = None
    prior_drawn: Tensor | None = None
    redrawn: Tensor | None = None
    prior_cycle: Tensor | None = None
    pose_critic: CriticScores | None = None
    image_critic: CriticScores | None = None
    states: Tensor | None = None
    true_states: Tensor | None = None
    frames: Tensor | None = None

    def __post_init__(self) -> None:
        _check(
            self,
            {
                "states": "B T K S",
                "true_states": "B T K S",
                "frames": "B T 3 H W",
                "pose_image": "B 1 H W",
                "drawn": "B C h w",
                "render": "B 3 H W",
                "deformed": "B 3 H W",
                "prior_drawn": "B C h w",
                "redrawn": "B C h w",
                "prior_cycle": "B 1 H W",
            },
        )
