"""Example inputs of every role, for :func:`registry.testing.checks.check`."""

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
    """Return the first entry called ``key``, outer ones first; None if there is none."""
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
        self.takes = getattr(part, "takes", None) or getattr(
            getattr(part, "encoder", None), "takes", None
        )
        self.part = part
        self.random = torch.Generator().manual_seed(0)

    def uniform(self, *shape: int, low: float = 0.0) -> Tensor:
        return low + (1 - low) * torch.rand(BATCH, *shape, generator=self.random)

    def picture(self, kind: str) -> Tensor:
        if kind == "maps":
            return self.uniform(self.landmarks, self.height // 8, self.width // 8, low=-1)
        if kind == "affine_maps":
            return self.uniform(5 * self.landmarks, self.height // 8, self.width // 8, low=-1)
        if kind == "image":
            return self.uniform(3, self.height, self.width)
        return self.uniform(1, self.height, self.width, low=-1)

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
        return 0.9 * self.uniform(3, self.landmarks, getattr(self.part, "numbers", 5), low=-1)

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
        logits = self.picture("maps")
        prob = logits.flatten(2).softmax(dim=-1).view_as(logits)
        return replace(self.points(), prob=prob)

    def batch(self) -> Batch:
        driving = self.picture("image")
        return Batch(
            source=self.picture("image"),
            driving=driving,
            target=driving,
            warped=self.picture("image"),
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
            field: self.picture("pose_image")
            for field in ("pose_image", "drawn", "prior_drawn", "redrawn", "prior_cycle")
        }
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
            render=self.picture("image"),
            motion=self.motion(),
            deformed=self.picture("image"),
            layers=Layers(
                foreground=self.picture("image"),
                background=self.picture("image"),
                mask=0.05 + 0.9 * self.uniform(1, self.height, self.width),
            ),
            **pose,
            **scores,
        )

    def encoded(self) -> tuple[Any, ...]:
        image = self.picture(self.takes or "image")
        if not getattr(self.part, "needs_pose", False):
            return (image,)
        logits = self.picture("maps")
        features = self.uniform(self.node.get("features", 8), *logits.shape[-2:], low=-1)
        pose = Pose(
            encoding=Encoding(pose=logits, features=features),
            landmarks=self.mapped(),
            drawn=self.uniform(self.landmarks, self.height, self.width),
        )
        return image, pose

    def drawn(self) -> Tensor:
        if self.takes == "maps":
            return self.picture("maps")
        if not self.node.get("num_landmarks"):
            return self.picture("pose_image")
        return self.uniform(self.landmarks, self.height, self.width)

    def decoded(self) -> tuple[Any, ...]:
        if self.takes == "motion":
            return self.picture("image"), self.motion()
        drawn, channels = self.drawn(), self.node.get("appearance_channels")
        if not channels:
            return (drawn,)
        image = self.uniform(channels, self.height // 8, self.width // 8, low=-1)
        codes = self.uniform(self.landmarks, channels, low=-1)
        return drawn, Appearance(image=image, codes=codes)

    def composed(self) -> tuple[Any, ...]:
        if self.takes == "landmarks":
            return self.picture("image"), self.points(), self.points()
        return self.picture("image"), self.drawn(), self.picture("image"), self.drawn()

    def judged(self) -> tuple[Tensor, ...]:
        image = self.uniform(self.node.get("in_channels", 3), self.height, self.width)
        if len(inspect.signature(self.part.forward).parameters) == 1:
            return (image,)
        if (count := self.node.get("num_landmarks")) is not None:
            return (image, self.uniform(count, self.height, self.width))[: 2 if count else 1]
        return image, self.picture("image")
