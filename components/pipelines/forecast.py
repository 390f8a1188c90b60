"""Video prediction: a predictor continues the landmarks, and a trained pipeline draws them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from components.data.state_cache import fingerprint, read_clips
from components.data.states import StateClips
from components.ops.states import constant_velocity, from_states, to_states
from registry.contract import Batch, Landmarks, Outputs, need
from registry.loading import Cache
from registry.protocols import Pipeline, Predictor
from registry.roles import PIPELINES

if TYPE_CHECKING:
    from registry.protocols import Player

# for each kind of state: what landmarks must have, and the bottlenecks that provide it
SHAPES = {
    "cholesky": ("cov", "covariances", "bottlenecks/gaussian or bottlenecks/monkeynet"),
    "covariance": ("cov", "covariances", "bottlenecks/gaussian or bottlenecks/monkeynet"),
    "affine": ("affine", "affine maps", "bottlenecks/affine"),
}


@PIPELINES.register_module("pipelines/forecast")
class Forecast(nn.Module):
    """States of the seen frames -> predictor -> future states -> images that look like the last.

    Args:
        image_pipeline: trained and frozen; detects landmarks in images and redraws an image with
            other landmarks.
        predictor: maps states and a number of steps to predictions; its ``state`` is the kind of
            state (components/ops/states.py).
        seen: number of true states that the predictor sees in training.
        steps: number of further states that it predicts from its own predictions in training.
        given: number of frames that it sees at inference; None for as many as in training.

    Source: factorized sec D; factorized fig 8; monkeynet sec 3.5
    """

    task = "forecasting"
    fills = frozenset({"states", "true_states"})
    infers = frozenset({"states", "true_states", "frames"})

    def __init__(
        self,
        *,
        image_pipeline: Pipeline,
        predictor: Predictor,
        seen: int = 10,
        steps: int = 10,
        given: int | None = None,
    ) -> None:
        super().__init__()
        self.image_pipeline = image_pipeline.requires_grad_(False).eval()
        self.predictor = predictor
        self.seen, self.steps = seen, steps
        self.given = self.frames = given or seen

    def train(self, mode: bool = True) -> Forecast:
        """Set the mode of the predictor; the image pipeline stays in evaluation mode."""
        super().train(mode)
        self.image_pipeline.eval()
        return self

    def forward(self, batch: Batch) -> Outputs:
        """Predict every next state of a clip, first from true states, then from predicted ones."""
        states = batch.states
        if states is None:
            states = self.read(need(batch, "frames", "a data set of clips (data.train)"))
        wanted = self.seen + self.steps
        if states.shape[1] < wanted:
            raise ValueError(
                f"pipelines/forecast: clips of {states.shape[1]} frames are too short for seen="
                f"{self.seen} and steps={self.steps}. Set data.train.length={wanted}."
            )
        predicted = self.predictor(states[:, : self.seen], self.steps)
        return Outputs(states=predicted, true_states=states[:, 1:wanted])

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the predictor's parameters as the only group."""
        return {"predictor": list(self.predictor.parameters())}

    @torch.no_grad()
    def read(self, frames: Tensor) -> Tensor:
        """Return the landmark states of clips.

        Shapes:
            (B, T, 3, H, W) -> (B, T, K, S)

        Raises:
            ValueError: the landmarks have no covariances, or no affine maps.
        """
        states = []
        for images in frames.unbind(dim=1):
            found = self.image_pipeline.predict(images).landmarks
            field, words, bottlenecks = SHAPES[self.predictor.state]
            matrix = getattr(found, field)
            if matrix is None:
                raise ValueError(
                    f"pipelines/forecast: the image_pipeline's landmarks have no {words}; its "
                    f"bottleneck must be {bottlenecks}."
                )
            states.append(to_states(found.xy, matrix, self.predictor.state))
        return torch.stack(states, dim=1)

    @torch.no_grad()
    def render(self, last: Tensor, states: Tensor) -> Tensor:
        """Redraw the last seen frame in each predicted state, with its appearance and background.

        Shapes:
            (B, 3, H, W), (B, T, K, S) -> (B, T, 3, H, W) in [0, 1]
        Source: factorized sec D
        """
        field, path = SHAPES[self.predictor.state][0], []
        for state in states.unbind(dim=1):
            xy, matrix = from_states(state, self.predictor.state)
            shape: dict[str, Any] = {field: matrix}
            path.append(Landmarks(xy=xy, **shape))
        frames = self.image_pipeline.animate(last, path)
        return torch.stack(frames, dim=1).clamp(0, 1)

    @torch.no_grad()
    def forecast(self, frames: Tensor, steps: int) -> Tensor:
        """Predict the frames that follow.

        Shapes:
            (B, T, 3, H, W) in [0, 1] -> (B, steps, 3, H, W)
        Source: factorized sec 4.3
        """
        return self.render(frames[:, -1], self.predictor(self.read(frames), steps)[:, -steps:])

    def limbs(self) -> list[tuple[int, int]]:
        """Return the limbs of the image pipeline."""
        return self.image_pipeline.limbs()

    def predict(self, images: Tensor) -> Outputs:
        """Find the landmarks of images, as the image pipeline does.

        Shapes:
            (B, 3, H, W) in [0, 1] -> Outputs with landmarks
        """
        return self.image_pipeline.predict(images)

    def infer(self, batch: Batch) -> Outputs:
        """Return what metrics read: predictions for all frames after the ``given`` ones.

        Shapes:
            Batch with frames (B, T, 3, H, W) -> Outputs with states, true_states, frames, each of
            T - given steps
        """
        return self._played(batch, self.predictor)

    def baselines(self, untrained: Forecast) -> dict[str, Player]:
        """Return the baselines that a forecast is compared with.

        Args:
            untrained: pipeline built from the same config; it receives the trained image pipeline,
                so that only its predictor is untrained.
        """
        untrained.image_pipeline = self.image_pipeline
        return {
            "copy_last": self.copy_last,
            "constant_velocity": lambda batch: self._played(batch, constant_velocity),
            "untrained": untrained.infer,
        }

    def copy_last(self, batch: Batch) -> Outputs:
        """Predict that nothing moves: repeat the last given frame and its state."""
        last, states, steps = self._split(batch)
        still = states[:, self.given - 1 : self.given].expand(-1, steps, -1, -1)
        frames = last[:, None].expand(-1, steps, -1, -1, -1)
        return Outputs(states=still, true_states=states[:, self.given :], frames=frames)

    @torch.no_grad()
    def _played(self, batch: Batch, predictor: Callable[[Tensor, int], Tensor]) -> Outputs:
        last, states, steps = self._split(batch)
        predicted = predictor(states[:, : self.given], steps)[:, -steps:]
        return Outputs(
            states=predicted,
            true_states=states[:, self.given :],
            frames=self.render(last, predicted),
        )

    def _split(self, batch: Batch) -> tuple[Tensor, Tensor, int]:
        """Return the last given frame, the states of all frames, and the number of steps ahead."""
        frames = need(batch, "frames", "a data set of clips (data.test)")
        steps = frames.shape[1] - self.given
        if steps < 1:
            raise ValueError(
                f"pipelines/forecast: nothing is left to predict in clips of {frames.shape[1]} "
                f"frames, of which {self.given} are given. Increase data.test.length."
            )
        return frames[:, self.given - 1], self.read(frames), steps

    def prepare(self, dataset: Any, cache: Cache) -> StateClips:
        """Return the states of all frames of a data set, so that training no longer needs images.

        Args:
            dataset: a datasets/clips.
            cache: stores the states, so that a resumed or repeated run need not compute them again.
        """
        mark = fingerprint(self.image_pipeline.state_dict(), f"{self.predictor.state}")
        device = next(self.parameters()).device

        def read(images: Tensor) -> Tensor:
            return self.read(images[:, None])[:, 0]

        return read_clips(dataset, read, mark, device, cache)
