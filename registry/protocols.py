"""The interfaces of components, one per role.

A constructor takes parts by annotating an argument with one of these classes: ``encoder: Encoder``.
:func:`registry.build.build` follows the annotations, so a part in the wrong place is refused before
anything is built. A component need not inherit from its protocol: it is enough to have the methods,
with the same argument names in the same order (extra arguments need defaults).

Attributes and methods with a value here are optional. Registering a class adds those that it lacks,
so users of a component can rely on them. For shapes and fields see :mod:`registry.contract`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

if TYPE_CHECKING:  # a data set is registered without torch
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from registry.contract import (
        Appearance,
        Batch,
        CriticScores,
        Encoding,
        Judgement,
        Landmarks,
        Layers,
        Motion,
        Outputs,
        Pose,
    )

    Player = Callable[[Batch], Outputs]


class Network(Protocol):
    """Every part with weights: an ``nn.Module``.

    Attributes:
        example: makes the inputs with which :func:`registry.check` calls the part, if those of its
            role do not fit: a method that takes the :class:`registry.testing.examples.Example` and
            returns the positional arguments.
        fetches_weights: it has an argument ``weights`` and starts from pretrained weights that are
            not in this package; ``"random"`` builds it without them.
    """

    example: ClassVar[Any] = None
    fetches_weights: ClassVar[bool] = False

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """As of nn.Module."""

    def train(self, mode: bool = True) -> Any:
        """As of nn.Module."""

    def eval(self) -> Any:
        """As of nn.Module."""

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """As of nn.Module."""


class Encoder(Network, Protocol):
    """Image -> maps of landmarks, a pose image or an appearance.

    Attributes:
        fills: fields of Encoding that it returns.
        needs_pose: whether it is an :class:`AppearanceEncoder`.
        in_channels: 3 for images in [0, 1], 1 for pose images in [-1, 1], other numbers for maps.
        out_channels: channels of ``maps``, if other parts depend on them; None if not stated.
    """

    fills: tuple[str, ...] = ("maps",)
    needs_pose: bool = False
    in_channels: int = 3
    out_channels: int | None = None

    @abstractmethod
    def __call__(self, image: Tensor) -> Encoding:
        """(B, in_channels, H, W) -> Encoding."""


class AppearanceEncoder(Network, Protocol):
    """Image and its pose -> appearance; a class of the role ``encoders`` with ``needs_pose``.

    Attributes:
        fills: ``maps`` or ``codes``.
        needs_pose: True.
    """

    fills: tuple[str, ...] = ("maps",)
    needs_pose: bool = True

    @abstractmethod
    def __call__(self, image: Tensor, pose: Pose) -> Encoding:
        """(B, 3, H, W), its Pose -> Encoding."""


class Bottleneck(Network, Protocol):
    """Maps of landmarks, a pose image or (for a finished detector) images -> landmarks.

    Attributes:
        fills: fields of Landmarks that it returns besides ``xy``.
    """

    fills: tuple[str, ...] = ()

    @abstractmethod
    def __call__(self, maps: Tensor) -> Landmarks:
        """(B, C, h, w) -> Landmarks."""


class Rasterizer(Network, Protocol):
    """Landmarks -> a drawing of them.

    Attributes:
        blank: value of empty pixels; drawn pixels are about 1.
    """

    blank: float = 0.0

    @abstractmethod
    def __call__(self, landmarks: Landmarks) -> Tensor:
        """Landmarks -> (B, C, H, W): one picture, or one map per landmark."""

    def edges(self) -> Tensor | None:
        """Return the strengths (N, N) of the limbs it draws, fixed or learned; None: no limbs."""
        return None


class Decoder(Network, Protocol):
    """Drawn pose and appearance -> image."""

    @abstractmethod
    def __call__(self, drawn: Tensor, appearance: Appearance | None) -> Tensor:
        """(B, C, H, W), Appearance -> (B, 3, H, W) in [0, 1] up to overshoot."""


class MotionDecoder(Network, Protocol):
    """Source image and motion -> image; a class of the role ``decoders``."""

    @abstractmethod
    def __call__(self, source: Tensor, motion: Motion) -> Tensor:
        """(B, 3, H, W), Motion -> (B, 3, H, W): ``decode(encode(source), motion)``."""

    @abstractmethod
    def encode(self, source: Tensor) -> Any:
        """(B, 3, H, W) -> what ``decode`` takes: tensors, batch first."""

    @abstractmethod
    def decode(self, features: Any, motion: Motion) -> Tensor:
        """Encoded source, Motion -> (B, 3, H, W)."""

    @abstractmethod
    def deform(self, source: Tensor, motion: Motion) -> Tensor:
        """(B, C, i, j), Motion -> (B, C, i, j), warped, with nothing painted in."""


class Compositor(Network, Protocol):
    """Decoded foreground and source -> image and its layers.

    Attributes:
        fills: fields of Layers that it returns besides foreground and background.
    """

    fills: tuple[str, ...] = ()

    @abstractmethod
    def __call__(
        self, foreground: Tensor, drawn: Tensor, source: Tensor, source_drawn: Tensor
    ) -> tuple[Tensor, Layers]:
        """(B, 3, H, W), (B, C, H, W), (B, 3, H, W), (B, C, H, W) -> (B, 3, H, W), Layers."""


class MotionNetwork(Network, Protocol):
    """Source image and both poses -> dense motion.

    Attributes:
        fills: fields of Motion that it returns besides ``grid``.
    """

    fills: tuple[str, ...] = ()

    @abstractmethod
    def __call__(self, source: Tensor, landmarks: Landmarks, source_landmarks: Landmarks) -> Motion:
        """(B, 3, H, W), Landmarks of the driving image, Landmarks of the source -> Motion."""


class Critic(Network, Protocol):
    """Sample -> scores at one or several scales.

    Attributes:
        conditional: it also takes a condition: an image or drawn landmarks of the same batch and
            image size.
        fills: ``features`` if its judgement exposes the features of its layers.
    """

    conditional: bool = False
    fills: tuple[str, ...] = ()

    @abstractmethod
    def __call__(self, image: Tensor) -> Judgement:
        """(B, C, H, W) -> Judgement; a conditional one: (B, C, H, W), condition -> Judgement."""


class Prior(Network, Protocol):
    """Predicted poses and prior poses -> scores of both."""

    @abstractmethod
    def __call__(self, pose_image: Tensor, prior_drawn: Tensor) -> CriticScores:
        """(B, C, H, W) twice -> CriticScores."""


class Predictor(Network, Protocol):
    """Past landmark states -> future states.

    Attributes:
        state: the form of a state; see ``components/ops/states.py``.
    """

    state: Literal["cholesky", "covariance", "affine"] = "cholesky"

    @abstractmethod
    def __call__(self, states: Tensor, steps: int) -> Tensor:
        """(B, T, K, S) -> (B, T - 1 + steps, K, S), for the times 2 ... T + steps."""


class Loss(Network, Protocol):
    """Outputs of a pipeline and their batch -> a scalar.

    Attributes:
        reads: what it needs: fields of Outputs, a dot for a part of one (``landmarks.prob``), and
            fields of the batch (``batch.flow``). A pipeline that does not fill them is refused
            before training.
        undivided: for a loss that is divided by its own running mean, and so need not fall while
            training goes well: the error of the last batch before the division, a scalar without
            gradient.
    """

    reads: tuple[str, ...] = ()
    undivided: Tensor | None = None

    @abstractmethod
    def __call__(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Outputs, Batch -> scalar, weighted."""


class Pipeline(Network, Protocol):
    """The parts wired together: Batch -> Outputs in training, images -> Outputs in use.

    Attributes:
        task: of the finished model, as the Hub names tasks.
        version: raised when weights of an earlier version no longer fit.
        frames: how many frames a prediction needs.
        fills: fields of Outputs that ``forward`` fills; a dot for a part of one.
        infers: the same for ``infer``, which metrics read; empty if it has no ``infer``.
        blank: of its rasterizer.
    """

    task: ClassVar[str] = "keypoint-detection"
    version: ClassVar[int] = 1
    frames: int = 1
    fills: frozenset[str] = frozenset()
    infers: frozenset[str] = frozenset()
    blank: float = 0.0

    @abstractmethod
    def __call__(self, batch: Batch) -> Outputs:
        """Batch -> Outputs, everything that the losses read."""

    @abstractmethod
    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the trained parameters by group (generator, critic); clipping is per group."""

    def limbs(self) -> list[tuple[int, int]]:
        """Return the limbs between its landmarks, for drawings, cards and tables."""
        return []

    def baselines(self, untrained: Any) -> dict[str, Player]:
        """Return players that need no training, by name; empty if those of the metrics suffice.

        Args:
            untrained: the same pipeline with fresh weights.
        """
        return {}

    def prepare(self, dataset: Any, cache: Any) -> Any:
        """Return the data set to train on: ``dataset`` itself, or one computed from it.

        Args:
            dataset: ``data.train``.
            cache: :class:`registry.loading.Cache`, for what takes long to compute.
        """
        return dataset


class Dataset(Protocol):
    """Images, clips or poses by number, with their keypoints if annotated.

    This is enough for poses; a data set with images is an :class:`ImageDataset` or a
    :class:`ClipDataset`.

    Attributes:
        keypoint_names: J names.
        edges: limbs, as pairs of keypoint numbers.
        flip_pairs: pairs of left and right keypoints.
    """

    keypoint_names: Sequence[str]
    edges: Sequence[tuple[int, int]]
    flip_pairs: Sequence[tuple[int, int]]

    @abstractmethod
    def __len__(self) -> int:
        """Number of items."""

    @abstractmethod
    def keypoints(self, index: int) -> NDArray[np.float32] | None:
        """Return the pose (J, 2) in [-1, 1] of an item; None if a keypoint is missing."""


class ImageDataset(Dataset, Protocol):
    """Images, pairs of images or clips.

    Attributes:
        random_target: the target depends on the random generator too, not only on the index.
    """

    random_target: bool = False

    @abstractmethod
    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Return the arrays of an item by field of Batch, images (H, W, 3) uint8, and its name."""


class ClipDataset(ImageDataset, Protocol):
    """Images in clips."""

    @abstractmethod
    def clip_ranges(self) -> Sequence[tuple[str, range]]:
        """Return the name of each clip and the numbers of its frames."""

    @abstractmethod
    def image(self, index: int) -> NDArray[np.uint8]:
        """Return the image (H, W, 3) of an item alone."""

    @abstractmethod
    def size(self, index: int) -> NDArray[np.float32]:
        """Return width and height (2,) of that image in original pixels."""


class Transform(Protocol):
    """Batch -> batch, on the device, each item with its own random numbers.

    Attributes:
        copies: factor by which the batch grows.
        fills: fields of Batch that it adds.
    """

    copies: int = 1
    fills: tuple[str, ...] = ()

    @abstractmethod
    def __call__(self, batch: Batch, seeds: Tensor) -> Batch:
        """Batch, seeds (B,) -> Batch."""


class Spline(Protocol):
    """One warp of the plane per item of a batch, such as ``components.ops.tps.Spline``."""

    @abstractmethod
    def __call__(self, xy: Tensor) -> Tensor:
        """(B, P, 2) -> (B, P, 2)."""

    @abstractmethod
    def grid(self, height: int, width: int, grid: Any = "half_pixel") -> Tensor:
        """Return where each pixel comes from (B, H, W, 2)."""


class Warp(Protocol):
    """Seeds -> random splines that deform images."""

    @abstractmethod
    def __call__(self, seeds: Tensor, stream: int, device: torch.device) -> Any:
        """Seeds (B,), number of the random stream -> Spline of B warps."""


class Competitors(Protocol):
    """Keypoint predictors without learning, from the annotated frames of ``data.fit``."""

    @abstractmethod
    def fit(self, batch: Batch) -> None:
        """Add a batch of ``data.fit``; called only if the config has it."""

    @abstractmethod
    def update(self, batch: Batch) -> None:
        """Add a batch of frames to predict."""

    @abstractmethod
    def predict(self) -> Mapping[str, tuple[NDArray[Any] | None, str]]:
        """Return, by name, the keypoints (N, J, 2) of the frames to predict, and a remark.

        If the keypoints are None, the remark says why there is no prediction.
        """


class Metric(Protocol):
    """Scores over a data set, beside a baseline.

    Attributes:
        reads: fields of Outputs that it reads, as for a loss, ``a|b`` for one of two; anything but
            landmarks makes the pipeline render.
        baseline: name of what ``guess`` predicts.
        fits: it has ``fit(outputs, batch)``, which is called first, with the frames of
            ``data.fit``.
        higher_is_better: decides which checkpoint is ``best.pth``, and who wins.
        competitors: class of the :class:`Competitors` of a keypoint metric, which then has
            ``score(points, of_landmarks=False) -> float``: the value of the given points, (N, J, 2)
            for all frames seen by ``update``, in order, or (J, 2) for every frame; numbered like
            the annotation, or with ``of_landmarks`` like the model's landmarks.
    """

    reads: tuple[str, ...] = ("landmarks",)
    baseline: str = "baseline"
    fits: bool = False
    higher_is_better: bool = False
    competitors: Callable[[], Competitors] | None = None

    @abstractmethod
    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Add a batch."""

    @abstractmethod
    def compute(self) -> Mapping[str, Any]:
        """Return metric, unit, value, interval and n.

        Other figures are under ``extra``, means of groups of clips under ``activities``.
        """

    def guess(self, batch: Batch) -> Outputs | None:
        """Return a guess made without a model, which ``update`` scores too; None for no guess."""
        return None


class Hook(Protocol):
    """Called by the training loop; see ``registry.runner.Hook`` for all of its methods."""


PROTOCOLS: dict[str, tuple[type, ...]] = {
    "encoders": (Encoder, AppearanceEncoder),
    "bottlenecks": (Bottleneck,),
    "rasterizers": (Rasterizer,),
    "decoders": (Decoder, MotionDecoder),
    "compositors": (Compositor,),
    "motions": (MotionNetwork,),
    "losses": (Loss,),
    "priors": (Prior,),
    "critics": (Critic,),
    "predictors": (Predictor,),
    "pipelines": (Pipeline,),
    "datasets": (Dataset, ImageDataset, ClipDataset),
    "transforms": (Transform,),
    "warps": (Warp,),
    "metrics": (Metric,),
    "hooks": (Hook,),
}


def defaults_of(role: str) -> dict[str, Any]:
    """Return the optional attributes and methods of a role, with their defaults."""
    found: dict[str, Any] = {}
    for protocol in reversed(PROTOCOLS[role]):  # the first one has priority
        for base in reversed(protocol.__mro__):
            if base is Network:
                found |= {"example": None, "fetches_weights": False}
            elif base not in (object, Protocol) and base.__module__ == __name__:
                own = {k: v for k, v in vars(base).items() if not k.startswith("_")}
                found |= {k: v for k, v in own.items() if not _is_required(v)}
    return found


def _is_required(value: Any) -> bool:
    return bool(getattr(value, "__isabstractmethod__", False))


def methods_of(protocol: type) -> dict[str, Any]:
    """Return the methods that a component of a protocol must have, by name."""
    found = {name: value for base in protocol.__mro__ for name, value in vars(base).items()}
    return {name: value for name, value in found.items() if _is_required(value)}


def role_of(protocol: Any) -> str | None:
    """Return the role of a protocol; None for anything else."""
    return next((role for role, own in PROTOCOLS.items() if protocol in own), None)
