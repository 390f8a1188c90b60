"""The reconstruction family: pose from one image, appearance from another, redraw the first.

KeypointGAN, the factorized model and every row of their ablations are configs of this file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from components.layers.history import History
from components.ops.flips import nearer_flip
from components.ops.score import agreement
from components.steps.adversarial import critic_scores, frozen_call
from components.steps.limbs import limbs_of
from components.steps.transfer import follow, repeated
from registry.contract import Appearance, Batch, Landmarks, Layers, Outputs, Pose, need
from registry.protocols import (
    AppearanceEncoder,
    Bottleneck,
    Compositor,
    Critic,
    Decoder,
    Encoder,
    Prior,
    Rasterizer,
)
from registry.roles import PIPELINES

# fields that ``infer`` fills; those of landmarks and layers are included
INFERRED = {
    *("landmarks", "landmarks.cov", "landmarks.affine", "landmarks.score", "landmarks.prob"),
    *("pose_image", "drawn", "render", "layers", "layers.mask"),
}


@PIPELINES.register_module("pipelines/reconstruction")
class Reconstruction(nn.Module):
    """encoder -> bottleneck -> rasterizer -> decoder, with the appearance from another image.

    Args:
        encoder: maps the driving image to the pose representation (KeypointGAN's Phi).
        bottleneck: maps the pose representation to landmarks (eta).
        rasterizer: maps landmarks to the drawn pose (beta).
        decoder: maps drawn pose and appearance to the image (Psi).
        appearance_encoder: maps the source image (and its pose, if ``needs_pose``) to the
            appearance; None for an unconditional decoder.
        compositor: joins the decoded foreground with a background taken from the source.
        prior: scores predicted pose images against drawn prior poses (D_Y).
        prior_image_critic: judges images rendered from prior poses, given the source (D_X).
        prior_image_history: number of earlier ones, each with its source, kept to train that
            critic; 0 for none.
        prior_image_side: side in pixels of the images in that pool.
        image_critic: judges renders against their targets (the factorized model's on KTH).
        through_bottleneck: the decoder sees the drawn landmarks; if False, it sees the encoder's
            pose image itself and the bottleneck only reads points (the CycleGAN rows).
        bottleneck_apart: the bottleneck's weights learn only from its own losses (the regressor
            of KeypointGAN); gradients of reconstruction and prior pass through without changing it.
        prior_cycle: also encode the image rendered from a prior pose (CycleGAN's second cycle).
        reference_bottleneck: frozen copy of the pre-trained bottleneck that tells front from back
            at test time.
        flip_pairs: left and right landmarks that this correction exchanges.

    Source: keypointgan eq 1; keypointgan eq 3; keypointgan eq 6; keypointgan fig 2
    Source: factorized fig 1
    """

    def __init__(
        self,
        *,
        encoder: Encoder,
        bottleneck: Bottleneck,
        rasterizer: Rasterizer,
        decoder: Decoder,
        appearance_encoder: Encoder | AppearanceEncoder | None = None,
        compositor: Compositor | None = None,
        prior: Prior | None = None,
        prior_image_critic: Critic | None = None,
        prior_image_history: int = 0,
        prior_image_side: int = 0,
        image_critic: Critic | None = None,
        through_bottleneck: bool = True,
        bottleneck_apart: bool = False,
        prior_cycle: bool = False,
        reference_bottleneck: Bottleneck | None = None,
        flip_pairs: Sequence[Sequence[int]] = (),
    ) -> None:
        super().__init__()
        if image_critic is not None and prior_image_critic is not None:
            raise ValueError(
                "image_critic and prior_image_critic both fill Outputs.image_critic; set only one."
            )
        if image_critic is not None and image_critic.conditional:
            raise ValueError("image_critic sees only images; use one that is not conditional.")
        self.encoder = encoder
        self.bottleneck = bottleneck
        self.rasterizer = rasterizer
        self.decoder = decoder
        self.appearance_encoder = appearance_encoder
        self.compositor = compositor
        self.prior = prior
        self.prior_image_critic = prior_image_critic
        self.prior_image_history = None
        if prior_image_critic is not None and prior_image_history:
            if not prior_image_side:
                raise ValueError("prior_image_history stores images: set prior_image_side.")
            shape = (6, prior_image_side, prior_image_side)
            self.prior_image_history = History(size=prior_image_history, shape=shape)
        self.image_critic = image_critic
        self.through_bottleneck = through_bottleneck
        self.bottleneck_apart = bottleneck_apart
        self.prior_cycle = prior_cycle
        if reference_bottleneck is not None:
            reference_bottleneck.requires_grad_(False)
        self.reference_bottleneck = reference_bottleneck
        self.flip_pairs = [tuple(pair) for pair in flip_pairs]
        self.blank = rasterizer.blank
        self.reads_prior = (
            bottleneck_apart or prior_cycle or prior is not None or prior_image_critic is not None
        )
        # the source's pose is computed only if a part needs it
        self.needs_pose = appearance_encoder is not None and appearance_encoder.needs_pose
        self.fills = frozenset(self._filled())
        self.infers = self.fills & INFERRED
        if encoder.out_channels == 1:
            self.infers |= {"landmarks.score"}

    def _filled(self) -> Iterator[str]:
        """Yield the fields of Outputs that these parts fill."""
        read = [f"landmarks.{name}" for name in self.bottleneck.fills]
        yield from ("landmarks", *read, "warped_landmarks", "drawn", "render")
        if self.rasterizer.edges() is not None:
            yield "edges"
        if self.encoder.out_channels == 1:
            yield "pose_image"
        if self.needs_pose or self.compositor is not None:
            yield "source_landmarks"
        if self.compositor is not None:
            yield from ("layers", *(f"layers.{name}" for name in self.compositor.fills))
        if self.reads_prior:
            yield "prior_drawn"
        if self.bottleneck_apart:
            yield from ("redrawn", "prior_landmarks")
        if self.prior_cycle:
            yield "prior_cycle"
        if self.prior is not None:
            yield "pose_critic"
        if critic := self.image_critic or self.prior_image_critic:
            yield from ("image_critic", *(f"image_critic.{name}" for name in critic.fills))

    def forward(self, batch: Batch) -> Outputs:
        """Return everything the losses read: one line per arrow of the paper's figure 2."""
        data = "the training dataset (data.train)"
        driving, source = need(batch, "driving", data), need(batch, "source", data)

        pose = self._pose(driving)  # y = Phi(x), p = eta(y), y* = beta(p)
        source_pose = self._source_pose(source)
        appearance = self._appearance(source, source_pose)
        render, layers = self._render(
            pose.drawn, appearance, source, source_pose
        )  # x^ = Psi(y*, x')

        maps, edges = need(pose.encoding, "maps"), self.rasterizer.edges()
        outputs: dict[str, Any] = {
            "landmarks": pose.landmarks,
            "source_landmarks": source_pose.landmarks if source_pose else None,
            "pose_image": _picture(maps, driving),
            "drawn": pose.drawn,
            "edges": edges if edges is None else edges.to(pose.drawn),
            "render": render,
            "layers": layers,
        }
        if batch.warped is not None:
            outputs["warped_landmarks"] = self._pose(batch.warped).landmarks
        if self.image_critic is not None:
            target = need(batch, "target", data)
            outputs["image_critic"] = critic_scores(self.image_critic, render, target)
        if self.reads_prior and batch.poses is not None:
            outputs |= self._prior_terms(maps, batch.poses, appearance, driving, source)
        return Outputs(**outputs)

    def _prior_terms(
        self,
        pose_image: Tensor,
        poses: Tensor,
        appearance: Appearance | None,
        driving: Tensor,
        source: Tensor,
    ) -> dict[str, Any]:
        prior_drawn = self.rasterizer(Landmarks(xy=poses))  # y_bar = beta(p_bar)
        terms: dict[str, Any] = {"prior_drawn": prior_drawn}
        if self.prior is not None:
            terms["pose_critic"] = self.prior(pose_image, prior_drawn)
        if self.bottleneck_apart:
            terms["redrawn"] = self.rasterizer(self.bottleneck(pose_image.detach()))
            terms["prior_landmarks"] = self.bottleneck(prior_drawn)
        if self.prior_image_critic is not None or self.prior_cycle:
            prior_render = self.decoder(prior_drawn, appearance)  # Psi(y_bar, x')
            if self.prior_cycle:
                terms["prior_cycle"] = self.encoder(prior_render).maps
            if self.prior_image_critic is not None:
                terms["image_critic"] = critic_scores(
                    self.prior_image_critic,
                    prior_render,
                    driving,
                    source,
                    replay=self.prior_image_history,
                )
        return terms

    def _pose(self, image: Tensor) -> Pose:
        encoding = self.encoder(image)
        maps = need(encoding, "maps")
        read = partial(frozen_call, self.bottleneck) if self.bottleneck_apart else self.bottleneck
        landmarks = read(maps)
        drawn = self.rasterizer(landmarks) if self.through_bottleneck else maps
        return Pose(encoding=encoding, landmarks=landmarks, drawn=drawn)

    def _source_pose(self, source: Tensor) -> Pose | None:
        return self._pose(source) if self.needs_pose or self.compositor is not None else None

    def _appearance(self, source: Tensor, pose: Pose | None) -> Appearance | None:
        if self.appearance_encoder is None:
            return None
        found = self.appearance_encoder(*((source, pose) if self.needs_pose else (source,)))
        return Appearance(codes=found.codes, image=found.maps)

    def _render(
        self, drawn: Tensor, appearance: Appearance | None, source: Tensor, source_pose: Pose | None
    ) -> tuple[Tensor, Layers | None]:
        foreground = self.decoder(drawn, appearance)
        if self.compositor is None:
            return foreground, None
        return self.compositor(foreground, drawn, source, need(source_pose, "drawn"))

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the trained parameters, one group per player; clipping is per group."""
        names = ("prior", "prior_image_critic", "image_critic")
        apart = {name: getattr(self, name) for name in names}
        if self.bottleneck_apart:
            apart["bottleneck"] = self.bottleneck
        groups = {k: list(m.parameters()) for k, m in apart.items() if m is not None}
        taken = {id(p) for group in groups.values() for p in group}
        rest = [p for p in self.parameters() if p.requires_grad and id(p) not in taken]
        return {"generator": rest, **groups}

    def limbs(self) -> list[tuple[int, int]]:
        """Return the limbs that the rasterizer draws, including learned ones."""
        return limbs_of(self.rasterizer.edges())

    @torch.no_grad()
    def predict(self, images: Tensor) -> Outputs:
        """Find the landmarks of images.

        Their scores are the bottleneck's. If it has none, like KeypointGAN's, they measure how well
        the skeleton drawn from the landmarks fits the pose image around each; not calibrated.

        Shapes:
            (B, 3, H, W) in [0, 1] -> Outputs with landmarks, drawn and, if any, pose_image
        Source: keypointgan sec 5
        """
        pose = self._pose(images)
        landmarks, drawn = pose.landmarks, pose.drawn
        if not self.through_bottleneck:
            drawn = self.rasterizer(landmarks)
        if self.reference_bottleneck is not None:
            reference = self.reference_bottleneck(drawn)
            xy = nearer_flip(landmarks.xy, reference.xy, self.flip_pairs)
            landmarks = replace(landmarks, xy=xy)
            drawn = self.rasterizer(landmarks)
        pose_image = _picture(need(pose.encoding, "maps"), images)
        if landmarks.score is None and pose_image is not None and drawn.shape == pose_image.shape:
            score = agreement(landmarks.xy, pose_image, drawn)
            landmarks = replace(landmarks, score=score)
        return Outputs(landmarks=landmarks, pose_image=pose_image, drawn=drawn)

    @torch.no_grad()
    def compose(self, source: Tensor, drawn: Tensor) -> Outputs:
        """Draw ``source``'s appearance in a drawn pose, with all layers.

        Shapes:
            (B, 3, H, W), (B, C, H, W) -> Outputs with drawn, render and, if any, layers
        """
        source_pose = self._source_pose(source)
        appearance = self._appearance(source, source_pose)
        render, layers = self._render(drawn, appearance, source, source_pose)
        return Outputs(drawn=drawn, render=render, layers=layers)

    @torch.no_grad()
    def infer(self, batch: Batch) -> Outputs:
        """Return what metrics read: driving's landmarks and, given a source, its reconstruction.

        Shapes:
            Batch with driving (B, 3, H, W) -> Outputs with landmarks, drawn
            and with source (B, 3, H, W) -> also render, layers
        """
        found = self.predict(need(batch, "driving"))
        if batch.source is None:
            return found
        composed = self.compose(batch.source, self._decoded(found))
        return replace(found, render=composed.render, layers=composed.layers)

    def _decoded(self, found: Outputs) -> Tensor:
        """Return the decoder's input for predicted landmarks."""
        return need(found, "drawn" if self.through_bottleneck else "pose_image")

    def edit(self, image: Tensor, landmarks: Landmarks) -> Tensor:
        """Redraw ``image`` with its landmarks moved to ``landmarks``; their shapes are kept.

        Shapes:
            (B, 3, H, W), Landmarks -> (B, 3, H, W)
        Source: keypointgan sec 5.6; keypointgan fig 12
        """
        if landmarks.cov is None:
            landmarks = replace(landmarks, cov=need(self.predict(image), "landmarks").cov)
        return self.animate(image, [landmarks])[0]

    @torch.no_grad()
    def animate(self, image: Tensor, path: Sequence[Landmarks]) -> list[Tensor]:
        """Redraw ``image`` once per step of a path of landmarks; its appearance is encoded once.

        Shapes:
            (B, 3, H, W), T Landmarks -> T of (B, 3, H, W)
        """
        source_pose = self._source_pose(image)
        appearance = self._appearance(image, source_pose)
        steps = (self.rasterizer(landmarks) for landmarks in path)
        return [self._render(drawn, appearance, image, source_pose)[0] for drawn in steps]

    def reconstruct(self, source: Tensor, driving: Tensor) -> Tensor:
        """Draw ``source``'s appearance in ``driving``'s pose.

        Shapes:
            (B, 3, H, W), (B, 3, H, W) -> (B, 3, H, W)
        Source: keypointgan sec 5.6; keypointgan fig 11
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
        """
        image = source[None]
        pose = self._source_pose(image)
        appearance = self._appearance(image, pose)
        start = None if initial is None else self.predict(initial[None]).landmarks
        own = None if initial is None else self.predict(image).landmarks

        @torch.no_grad()
        def move(frames: Tensor) -> Tensor:
            found = self.predict(frames)
            if start is not None and own is not None:
                now = need(found, "landmarks")
                drawn = self.rasterizer(follow(own, now, start, adapt_scale))
            else:
                drawn = self._decoded(found)
            still = repeated((appearance, image, pose), len(frames))
            return self._render(drawn, *still)[0]

        return move

    def transfer(
        self, source: Tensor, driving_frames: Tensor, initial: Tensor | None = None
    ) -> Tensor:
        """Animate one source image by the frames of a clip: ``animator`` for all of them at once.

        Shapes:
            (3, H, W), (T, 3, H, W), (3, H, W) -> (T, 3, H, W)
        """
        return self.animator(source, initial)(driving_frames)


def _picture(maps: Tensor, images: Tensor) -> Tensor | None:
    """Return the maps if they are one picture of the pose, as large as the images, else None."""
    return maps if maps.shape[1] == 1 and maps.shape[2:] == images.shape[2:] else None
