"""Motion transfer: warp the source image as its landmarks move, then repair it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from components.steps.adversarial import critic_scores
from components.steps.transfer import follow, repeated
from registry.contract import Batch, Landmarks, Outputs, need
from registry.protocols import (
    Bottleneck,
    Critic,
    Encoder,
    MotionDecoder,
    MotionNetwork,
    Rasterizer,
)
from registry.roles import PIPELINES

SHOWN = ("deformed", "render")


@PIPELINES.register_module("pipelines/motion_transfer")
class MotionTransfer(nn.Module):
    """Landmarks of both images -> dense motion -> the source's features moved and decoded.

    Args:
        encoder: maps an image to the maps of its landmarks.
        bottleneck: maps these to landmarks.
        motion: source image and both images' landmarks to the motion between the images.
        decoder: source image and motion to the driving image; ``encode`` reads the source,
            ``decode`` draws it moved, ``deform`` only moves it.
        rasterizer: draws the driving landmarks for the critic.
        image_critic: judges renders against their targets, given drawn landmarks if there is a
            rasterizer.
        through_critic: landmarks also learn through the critic that sees them (Monkey-Net).
        joint: in training, both images pass through the encoder as one batch, sharing its batch
            statistics (Monkey-Net).

    Source: fomm fig 2; monkeynet fig 2; lee fig 1
    """

    task = "motion-transfer"

    def __init__(
        self,
        *,
        encoder: Encoder,
        bottleneck: Bottleneck,
        motion: MotionNetwork,
        decoder: MotionDecoder,
        rasterizer: Rasterizer | None = None,
        image_critic: Critic | None = None,
        through_critic: bool = False,
        joint: bool = False,
    ) -> None:
        super().__init__()
        if image_critic is not None and image_critic.conditional != (rasterizer is not None):
            raise ValueError(
                "a conditional image_critic needs a rasterizer's drawing: set both or neither "
                "(critics/feature_patch is conditional if num_landmarks is not 0)."
            )
        self.encoder = encoder
        self.bottleneck = bottleneck
        self.motion = motion
        self.decoder = decoder
        self.rasterizer = rasterizer
        self.image_critic = image_critic
        self.through_critic = through_critic
        self.joint = joint
        read = [f"landmarks.{name}" for name in bottleneck.fills]
        moved = [f"motion.{name}" for name in motion.fills]
        seen = [f"image_critic.{name}" for name in image_critic.fills] if image_critic else []
        self.infers = frozenset({"landmarks", *read, "source_landmarks", "motion", *moved, *SHOWN})
        critic = {"image_critic", *seen} if image_critic is not None else set()
        self.fills = self.infers | {"warped_landmarks", *critic}

    def forward(self, batch: Batch) -> Outputs:
        """Return everything the losses read."""
        data = "the training dataset (data.train)"
        driving, source = need(batch, "driving", data), need(batch, "source", data)

        if self.joint:
            source_landmarks, landmarks = _halves(self._landmarks(torch.cat((source, driving))))
        else:
            source_landmarks = self._landmarks(source)
            landmarks = self._landmarks(driving)
        motion = self.motion(source, landmarks, source_landmarks)  # T_{S <- D}
        render = self.decoder(source, motion)

        outputs: dict[str, Any] = {}
        if batch.warped is not None:
            outputs["warped_landmarks"] = self._landmarks(batch.warped)
        if self.image_critic is not None:
            target = need(batch, "target", data)
            drawn = self._drawn(landmarks)
            outputs["image_critic"] = critic_scores(self.image_critic, render, target, *drawn)
        return Outputs(
            landmarks=landmarks,
            source_landmarks=source_landmarks,
            motion=motion,
            deformed=self.decoder.deform(source, motion),
            render=render,
            **outputs,
        )

    def _landmarks(self, image: Tensor) -> Landmarks:
        return self.bottleneck(need(self.encoder(image), "maps"))

    def _drawn(self, landmarks: Landmarks) -> tuple[Tensor, ...]:
        """Return what the critic sees in addition to the image."""
        if self.rasterizer is None:
            return ()
        drawn = self.rasterizer(landmarks)
        return (drawn if self.through_critic else drawn.detach(),)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the trained parameters, one group per network, like the official optimizers."""
        groups = {
            "detector": (self.encoder, self.bottleneck),
            "generator": (self.motion, self.decoder),
            "image_critic": (self.image_critic,),
        }
        found = {
            name: [p for part in parts if part is not None for p in part.parameters()]
            for name, parts in groups.items()
        }
        return {name: [p for p in part if p.requires_grad] for name, part in found.items() if part}

    @torch.no_grad()
    def predict(self, images: Tensor) -> Outputs:
        """Find the landmarks of images.

        Shapes:
            (B, 3, H, W) in [0, 1] -> Outputs with landmarks
        """
        return Outputs(landmarks=self._landmarks(images))

    @torch.no_grad()
    def infer(self, batch: Batch) -> Outputs:
        """Return what metrics read: driving's landmarks and, given a source, its reconstruction.

        Shapes:
            Batch with driving (B, 3, H, W) -> Outputs with landmarks
            and with source (B, 3, H, W) -> also source_landmarks, motion, deformed, render
        """
        driving = need(batch, "driving")
        if batch.source is None:
            return self.predict(driving)
        landmarks, source_landmarks = self._landmarks(driving), self._landmarks(batch.source)
        motion = self.motion(batch.source, landmarks, source_landmarks)
        return Outputs(
            landmarks=landmarks,
            source_landmarks=source_landmarks,
            motion=motion,
            deformed=self.decoder.deform(batch.source, motion),
            render=self.decoder(batch.source, motion),
        )

    @torch.no_grad()
    def animate(self, image: Tensor, path: Sequence[Landmarks]) -> list[Tensor]:
        """Redraw ``image`` once per step of a path of landmarks; its appearance is encoded once.

        Shapes:
            image (B, 3, H, W), T Landmarks -> T of (B, 3, H, W)
        """
        own, features = self._landmarks(image), self.decoder.encode(image)
        return [
            self.decoder.decode(features, self.motion(image, landmarks, own)) for landmarks in path
        ]

    def edit(self, image: Tensor, landmarks: Landmarks) -> Tensor:
        """Redraw ``image`` with its landmarks moved to ``landmarks``.

        Shapes:
            (B, 3, H, W), Landmarks -> (B, 3, H, W)
        """
        return self.animate(image, [landmarks])[0]

    def reconstruct(self, source: Tensor, driving: Tensor) -> Tensor:
        """Draw ``source`` in ``driving``'s pose.

        Shapes:
            (B, 3, H, W), (B, 3, H, W) -> (B, 3, H, W)
        """
        return need(self.infer(Batch(source=source, driving=driving)), "render")

    @torch.no_grad()
    def animator(
        self, source: Tensor, initial: Tensor | None = None, adapt_scale: bool = False
    ) -> Callable[[Tensor], Tensor]:
        """Return a function that animates one source image, encoded once, by driving frames.

        Args:
            source: (3, H, W).
            initial: (3, H, W) driving frame in the source's pose: the source then moves as the
                driving frames do relative to this frame; None copies the driving poses.
            adapt_scale: scale movements by the source's size relative to ``initial``.

        Shapes:
            -> function of (T, 3, H, W) to (T, 3, H, W)
        Source: fomm sec 3.4
        """
        image = source[None]
        own, features = self._landmarks(image), self.decoder.encode(image)
        start = None if initial is None else self._landmarks(initial[None])

        @torch.no_grad()
        def move(frames: Tensor) -> Tensor:
            landmarks = self._landmarks(frames)
            if start is not None:
                landmarks = follow(own, landmarks, start, adapt_scale)
            still = repeated((image, own, features), len(frames))
            motion = self.motion(still[0], landmarks, still[1])
            return self.decoder.decode(still[2], motion)

        return move

    def transfer(
        self, source: Tensor, driving_frames: Tensor, initial: Tensor | None = None
    ) -> Tensor:
        """Animate one source image by the frames of a clip: ``animator`` for all of them at once.

        Shapes:
            (3, H, W), (T, 3, H, W), (3, H, W) -> (T, 3, H, W)
        """
        return self.animator(source, initial)(driving_frames)


def _halves(both: Landmarks) -> list[Landmarks]:
    """Return the landmarks of each half of a batch."""
    split = {f.name: getattr(both, f.name) for f in fields(both) if f.name != "extra"}
    parts = {name: value.chunk(2) for name, value in split.items() if value is not None}
    extra = {name: value.chunk(2) for name, value in both.extra.items()}
    return [
        Landmarks(
            **{name: halves[i] for name, halves in parts.items()},
            extra={name: halves[i] for name, halves in extra.items()},
        )
        for i in (0, 1)
    ]
