"""Video prediction: landmarks go on through time, and a trained pipeline draws them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from components.data.states import StateClips, load_states, save_states
from components.ops.states import Kind, constant_velocity, from_states, to_states
from registry.contract import Batch, Landmarks, Outputs, need
from registry.loading import frames_of, to_batch
from registry.roles import PIPELINES

IMAGES = 16  # read at a time: many would fragment the memory of the CPU
# of each kind of state: what landmarks must have, and the bottlenecks that give it
SHAPES = {
    "cholesky": ("cov", "covariances", "bottlenecks/gaussian or bottlenecks/monkeynet"),
    "covariance": ("cov", "covariances", "bottlenecks/gaussian or bottlenecks/monkeynet"),
    "affine": ("affine", "affine maps", "bottlenecks/affine"),
}


@PIPELINES.register_module("pipelines/forecast")
class Forecast(nn.Module):
    """States of the seen frames -> predictor -> states to come -> images with the last look.

    Args:
        image_pipeline: trained; reads landmarks off images and redraws an image with other
            landmarks; frozen.
        predictor: states and number of steps to the predictions; an attribute ``state`` says what
            of the landmarks a state holds (components/ops/states.py), ``cholesky`` without it.
        seen: true states that the predictor follows in training.
        steps: states after them that it predicts from its own predictions in training.
        given: frames that it sees when it predicts; None for as many as in training.

    Source: factorized sec D; factorized fig 8; monkeynet sec 3.5
    """

    task = "forecasting"
    version = 1

    def __init__(
        self,
        *,
        image_pipeline: nn.Module,
        predictor: nn.Module,
        seen: int = 10,
        steps: int = 10,
        given: int | None = None,
    ) -> None:
        super().__init__()
        self.image_pipeline = image_pipeline.requires_grad_(False).eval()
        self.predictor = predictor
        self.state: Kind = getattr(predictor, "state", "cholesky")
        self.seen, self.steps, self.given = seen, steps, given or seen
        self.frames = self.given

    def train(self, mode: bool = True) -> Forecast:
        """Set the mode of the predictor; what draws images stays as it was trained."""
        super().train(mode)
        self.image_pipeline.eval()
        return self

    def forward(self, batch: Batch) -> Outputs:
        """Predict every next state of a clip, first from true states, then from its own."""
        states = batch.states
        if states is None:
            states = self.read(need(batch, "frames", "a data set of clips (data.train)"))
        wanted = self.seen + self.steps
        if states.shape[1] < wanted:
            raise ValueError(
                f"pipelines/forecast: clips of {states.shape[1]} frames are too short for seen="
                f"{self.seen} and steps={self.steps}. Give data.train length={wanted}."
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
            field, words, bottlenecks = SHAPES[self.state]
            matrix = getattr(found, field)
            if matrix is None:
                raise ValueError(
                    f"pipelines/forecast: the image_pipeline's landmarks have no {words}; its "
                    f"bottleneck must be {bottlenecks}."
                )
            states.append(to_states(found.xy, matrix, self.state))
        return torch.stack(states, dim=1)

    @torch.no_grad()
    def render(self, last: Tensor, states: Tensor) -> Tensor:
        """Redraw the last seen frame in each predicted state; its looks and background stay.

        Shapes:
            (B, 3, H, W), (B, T, K, S) -> (B, T, 3, H, W) in [0, 1]
        Source: factorized sec D
        """
        field, path = SHAPES[self.state][0], []
        for state in states.unbind(dim=1):
            xy, matrix = from_states(state, self.state)
            path.append(Landmarks(xy=xy, **{field: matrix}))
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
        """Return those of the image pipeline."""
        return self.image_pipeline.limbs()  # type: ignore[no-any-return]

    def predict(self, images: Tensor) -> Outputs:
        """Find the landmarks of images, as the image pipeline does.

        Shapes:
            (B, 3, H, W) in [0, 1] -> Outputs with landmarks
        """
        return self.image_pipeline.predict(images)  # type: ignore[no-any-return]

    def infer(self, batch: Batch) -> Outputs:
        """Return what metrics read: predictions of all frames after the ``given`` ones.

        Shapes:
            Batch with frames (B, T, 3, H, W) -> Outputs with states, true_states, frames, each of
            T - given steps
        """
        return self._played(batch, self.predictor)

    def baselines(self, untrained: Forecast) -> dict[str, Callable[[Batch], Outputs]]:
        """Return what a forecast is compared with.

        Args:
            untrained: built from the same config; it gets the trained image pipeline, so that
                only its predictor is untrained.
        """
        untrained.image_pipeline = self.image_pipeline
        return {
            "copy_last": self.copy_last,
            "constant_velocity": lambda batch: self._played(batch, constant_velocity),
            "untrained": untrained.infer,
        }

    def copy_last(self, batch: Batch) -> Outputs:
        """Predict that nothing moves any more: the last given frame and its state."""
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
                f"frames of which {self.given} are given. Give data.test a greater length=."
            )
        return frames[:, self.given - 1], self.read(frames), steps

    def prepare(
        self, clips: Any, file: Path, source: str, workers: int, say: Callable[[str, float], None]
    ) -> StateClips:
        """Read the states of all frames of a data set once; training needs no image after that.

        Args:
            clips: a datasets/clips.
            file: keeps the states, so that a resumed or repeated run need not read them again.
            source: what the data set is; together with the weights that read it, it decides
                whether the file still holds.
            workers: loader processes.
            say: told about the progress, as text and as a share of 1.
        """
        counts = [(name, len(frames)) for name, frames in clips.clips]
        mark = self._fingerprint(f"{source} {counts}")
        states = load_states(file, mark)
        if states is None:
            states = self._read_all(clips, workers, say)
            save_states(file, states, mark)
        return StateClips(states, counts, clips.length)

    def _read_all(
        self, clips: Any, workers: int, say: Callable[[str, float], None]
    ) -> NDArray[np.float32]:
        """Return the states (F, K, S) of all frames of all clips, one after the other."""
        numbers = [number for _, frames in clips.clips for number in frames]
        total, done = len(numbers), 0
        states = np.empty((0,), np.float32)
        device = next(self.parameters()).device
        for arrays in frames_of(_Stills(clips.frame_dataset), numbers, IMAGES, workers):
            images = to_batch(arrays, device).driving
            found = self.read(images[:, None])[:, 0].float().cpu().numpy()
            if not done:  # now K is known
                states = np.empty((total, *found.shape[1:]), np.float32)
            before, done = done, done + len(found)
            states[before:done] = found
            if 10 * done // total > 10 * before // total:
                say(f"landmarks of {done}/{total} frames", done / total)
        return states

    def _fingerprint(self, source: str) -> str:
        """Return a hash of the weights that read the states, of their kind and of their origin."""
        found = hashlib.sha256(f"{self.state} {source}".encode())
        for name, value in sorted(self.image_pipeline.state_dict().items()):
            found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            found.update(value.cpu().contiguous().numpy().tobytes())
        return found.hexdigest()


class _Stills:
    """The frames of a data set one by one, without partners."""

    def __init__(self, frame_dataset: Any) -> None:
        self.frame_dataset = frame_dataset

    def sample(self, index: int, rng: Any) -> dict[str, Any]:
        return {"target": self.frame_dataset.image(index)}
