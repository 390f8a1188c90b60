"""Example inputs for every role, for :func:`registry.testing.checks.check`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from registry.contract import (
    Appearance,
    Batch,
    CriticScores,
    Encoding,
    Landmarks,
    Layers,
    Motion,
    Outputs,
    Pose,
)

BATCH = 3
NUMBERS = {"covariance": 6, "affine": 6}  # numbers per state; other states have 5


@dataclass(frozen=True, slots=True)
class Stretch:
    """A warp with the three methods of ``components.ops.tps.Spline``.

    Attributes:
        matrix: (B, 2, 2), of the map z -> A z.
    """

    matrix: Tensor

    def __call__(self, xy: Tensor) -> Tensor:
        return (self.matrix[:, None] * xy[..., None, :]).sum(dim=-1)

    def slope(self, xy: Tensor) -> Tensor:
        return self.matrix[:, None].expand(*xy.shape, 2)

    def grid(self, height: int, width: int) -> Tensor:
        y, x = torch.linspace(-0.9, 0.9, height), torch.linspace(-0.9, 0.9, width)
        xy = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).to(self.matrix)
        return self(xy.reshape(1, -1, 2)).reshape(-1, height, width, 2)


def find(node: Any, key: str) -> Any:
    """Return the first entry called ``key``, outer ones first; None if not found."""
    if isinstance(node, Mapping):
        if node.get(key) is not None:
            return node[key]
        return next((v for n in node.values() if (v := find(n, key)) is not None), None)
    if isinstance(node, Sequence) and not isinstance(node, str):
        return next((v for n in node if (v := find(n, key)) is not None), None)
    return None


class Example:
    """Sizes that fit one component, and random inputs of these sizes."""

    def __init__(self, node: Mapping[str, Any], part: Any) -> None:
        parameters = inspect.signature(type(part)).parameters.values()
        self.node = {p.name: p.default for p in parameters if p.default is not p.empty} | {**node}
        side = find(self.node, "image_size")
        self.height: int = side or 64
        self.width: int = side or 96
        edges = find(self.node, "edges")
        self.landmarks: int = find(self.node, "num_landmarks") or (
            1 + max(max(edge) for edge in edges) if edges else 4
        )
        self.part = part
        self.random = torch.Generator().manual_seed(0)

    def uniform(self, *shape: int, low: float = 0.0) -> Tensor:
        return low + (1 - low) * torch.rand(BATCH, *shape, generator=self.random)

    def image(self) -> Tensor:
        """Images (B, 3, H, W) in [0, 1]."""
        return self.uniform(3, self.height, self.width)

    def pose_image(self) -> Tensor:
        """Pictures (B, 1, H, W) in [-1, 1]."""
        return self.uniform(1, self.height, self.width, low=-1)

    def maps(self, channels: int | None = None, stride: int = 8) -> Tensor:
        """Maps (B, K or channels, H / stride, W / stride) in [-1, 1]."""
        size = (self.height // stride, self.width // stride)
        return self.uniform(channels or self.landmarks, *size, low=-1)

    def points(self) -> Landmarks:
        count = self.landmarks
        near_one = torch.eye(2) + 0.1 * self.uniform(count, 2, 2, low=-1)
        return Landmarks(
            xy=0.9 * self.uniform(count, 2, low=-1),
            cov=0.01 * near_one @ near_one.transpose(-1, -2),
            affine=near_one,
            score=self.uniform(count),
        )

    def states(self) -> Tensor:
        numbers = NUMBERS.get(getattr(self.part, "state", ""), 5)
        return 0.9 * self.uniform(3, self.landmarks, numbers, low=-1)

    def warp(self) -> Stretch:
        return Stretch(torch.eye(2) + 0.1 * self.uniform(2, 2, low=-1))

    def motion(self) -> Motion:
        size = (self.height // 4, self.width // 4)
        return Motion(
            grid=0.9 * self.uniform(*size, 2, low=-1),
            weights=self.uniform(self.landmarks + 1, *size) / (self.landmarks + 1),
            visibility=self.uniform(1, *size),
            drawn=self.uniform(self.landmarks, *size, low=-1),
        )

    def mapped(self) -> Landmarks:
        logits = self.maps()
        prob = logits.flatten(2).softmax(dim=-1).view_as(logits)
        return replace(self.points(), prob=prob)

    def batch(self) -> Batch:
        driving = self.image()
        return Batch(
            source=self.image(),
            driving=driving,
            target=driving,
            warped=self.image(),
            warp=self.warp(),
            flow=0.1 * self.uniform(2, self.height // 4, self.width // 4, low=-1),
            weight=self.uniform(1, self.height, self.width),
            poses=self.points().xy,
            keypoints=self.points().xy,
            visible=torch.ones(BATCH, self.landmarks),
            mask=self.uniform(1, self.height, self.width).round(),
            frames=self.uniform(3, 3, self.height, self.width),
            states=self.states(),
            size=torch.tensor([[320.0, 240.0]]).expand(BATCH, 2),
            name=tuple(f"clip/{i:06d}" for i in range(BATCH)),
        )

    def outputs(self) -> Outputs:
        pose: dict[str, Any] = {
            field: self.pose_image()
            for field in ("pose_image", "drawn", "prior_drawn", "redrawn", "prior_cycle")
        }
        strengths = self.uniform(self.landmarks, self.landmarks)[0]
        scores: dict[str, Any] = {
            field: CriticScores(
                generator=(self.uniform(1, 4, 4), self.uniform(1, 2, 2)),
                fake=(self.uniform(1, 4, 4), self.uniform(1, 2, 2)),
                real=(self.uniform(1, 4, 4), self.uniform(1, 2, 2)),
                generator_features=(self.uniform(2, 4, 4, low=-1), self.uniform(3, 2, 2, low=-1)),
                real_features=(self.uniform(2, 4, 4, low=-1), self.uniform(3, 2, 2, low=-1)),
            )
            for field in ("pose_critic", "image_critic")
        }
        return Outputs(
            landmarks=self.mapped(),
            source_landmarks=self.mapped(),
            warped_landmarks=self.mapped(),
            prior_landmarks=self.points(),
            states=self.uniform(1, self.landmarks, 5, low=-1),
            true_states=self.uniform(1, self.landmarks, 5, low=-1),
            render=self.image(),
            edges=strengths + strengths.T,
            motion=self.motion(),
            deformed=self.image(),
            layers=Layers(
                foreground=self.image(),
                background=self.image(),
                mask=0.05 + 0.9 * self.uniform(1, self.height, self.width),
            ),
            **pose,
            **scores,
        )

    def of(self, role: str) -> tuple[Any, ...]:
        """Return the inputs of the part: its own example, otherwise that of its role."""
        own = type(self.part).example
        inputs: tuple[Any, ...] = own(self.part, self) if own is not None else getattr(self, role)()
        return inputs

    def encoders(self) -> tuple[Any, ...]:
        if not self.part.needs_pose:
            channels = self.part.in_channels
            return ({3: self.image, 1: self.pose_image}.get(channels, self.maps)(),)
        logits = self.maps()
        features = self.uniform(self.node.get("features", 8), *logits.shape[-2:], low=-1)
        pose = Pose(
            encoding=Encoding(maps=logits, features=features),
            landmarks=self.mapped(),
            drawn=self.uniform(self.landmarks, self.height, self.width),
        )
        return self.image(), pose

    def bottlenecks(self) -> tuple[Any, ...]:
        return (self.maps(),)

    def rasterizers(self) -> tuple[Any, ...]:
        return (self.points(),)

    def drawn(self) -> Tensor:
        if not self.node.get("num_landmarks"):
            return self.pose_image()
        return self.uniform(self.landmarks, self.height, self.width)

    def decoders(self) -> tuple[Any, ...]:
        if hasattr(self.part, "deform"):  # a MotionDecoder
            return self.image(), self.motion()
        channels = self.node.get("appearance_channels")
        if not channels:
            return self.drawn(), None
        image, codes = self.maps(channels), self.uniform(self.landmarks, channels, low=-1)
        return self.drawn(), Appearance(image=image, codes=codes)

    def compositors(self) -> tuple[Any, ...]:
        return self.image(), self.drawn(), self.image(), self.drawn()

    def motions(self) -> tuple[Any, ...]:
        return self.image(), self.points(), self.points()

    def priors(self) -> tuple[Any, ...]:
        return self.pose_image(), self.pose_image()

    def predictors(self) -> tuple[Any, ...]:
        return self.states(), 2

    def losses(self) -> tuple[Any, ...]:
        return self.outputs(), self.batch()

    def pipelines(self) -> tuple[Any, ...]:
        return (self.batch(),)

    def critics(self) -> tuple[Any, ...]:
        image = self.uniform(self.node.get("in_channels", 3), self.height, self.width)
        if not self.part.conditional:
            return (image,)
        return image, self.drawn() if self.node.get("num_landmarks") else self.image()
