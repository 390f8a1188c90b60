"""From datasets to batches: every item depends on (seed, draw number) alone.

Draw number n of a run is item n mod len of pass n // len, in that pass's own order and with its
own random generator. So results do not depend on workers, ranks or where a run was resumed.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from registry.build import build
from registry.config import Data
from registry.contract import Batch
from registry.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Cache:
    """Where a run keeps what takes long to compute.

    Attributes:
        folder: of the run.
        source: identifies data and model; decides whether cached files are still valid.
        workers: loader processes.
        say: called with the progress, as text and as a fraction of 1.
    """

    folder: Path
    source: str
    workers: int
    say: Callable[[str, float], None]


ANNOTATION = ("keypoints", "visible", "mask")


class Draws(Dataset[dict[str, Any]]):
    """Training items by draw number: an image pair and an unpaired prior pose.

    Annotations of the images are dropped here, so that nothing can learn from them.

    Args:
        images: dataset of image pairs, or None to train on the prior alone.
        prior: dataset whose ``keypoints(index)`` are the prior poses, or None.
        prior_size: number of prior poses used, or None for all.
        seed: for order, augmentation and prior.
    """

    def __init__(self, images: Any, prior: Any, prior_size: int | None, seed: int) -> None:
        if images is None and prior is None:
            raise ConfigError("data: there is nothing to train on. Add 'train', 'prior' or both.")
        self.images, self.prior, self.seed = images, prior, seed
        if images is not None and len(images) == 0:
            raise ConfigError("data.train: the dataset has no items.")
        if prior is not None:
            if len(prior) == 0:
                raise ConfigError("data.prior: the dataset has no poses.")
            self.kept = np.arange(len(prior))
            if prior_size is not None:
                if prior_size > len(prior):
                    raise ConfigError(
                        f"data.prior_size is {prior_size}, but there are {len(prior)} poses."
                    )
                self.kept = np.random.default_rng((seed, 1)).choice(
                    self.kept, prior_size, replace=False
                )

    def __getitem__(self, draw: int) -> dict[str, Any]:
        rng = np.random.default_rng((self.seed, 0, draw))
        item: dict[str, Any] = {"seed": int(rng.integers(2**62))}
        if self.images is not None:
            epoch, place = divmod(draw, len(self.images))
            pair = self.images.sample(int(_order(self.seed, epoch, len(self.images))[place]), rng)
            item |= {key: value for key, value in pair.items() if key not in ANNOTATION}
        if self.prior is not None:
            item["poses"] = self._pose(rng)
        return item

    def _pose(self, rng: np.random.Generator) -> Any:
        for _ in range(100):  # skip incomplete poses
            pose = self.prior.keypoints(int(rng.choice(self.kept)))
            if pose is not None:
                return pose
        raise ConfigError(
            "data.prior: of 100 poses drawn, not one is complete; a prior needs every keypoint."
        )


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, length: int) -> Any:
    return np.random.default_rng((seed, 2, epoch)).permutation(length)


class DrawNumbers(Sampler[int]):
    """The draw numbers of one rank: rank, rank + ranks, ... from ``start`` on.

    Attributes:
        start: first iteration; a resumed run sets it, so that nothing is loaded in vain.
    """

    def __init__(self, iterations: int, batch_size: int, rank: int, ranks: int) -> None:
        self.iterations, self.batch_size, self.rank, self.ranks = (
            iterations,
            batch_size,
            rank,
            ranks,
        )
        self.start = 0

    def __iter__(self) -> Iterator[int]:
        step = self.batch_size * self.ranks
        return iter(range(self.start * step + self.rank, self.iterations * step, self.ranks))

    def __len__(self) -> int:
        return (self.iterations - self.start) * self.batch_size


def collate(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Stack items into a batch: names become a tuple; images stay uint8 until on the device."""
    keys = items[0].keys()
    arrays = {k: default_collate([item[k] for item in items]) for k in keys if k != "name"}
    if "name" in keys:
        arrays["name"] = tuple(item["name"] for item in items)
    return arrays


def to_batch(
    arrays: Mapping[str, Any], device: torch.device, transforms: Sequence[Any] = ()
) -> Batch:
    """Move a collated batch to the device and make a :class:`Batch` of it.

    Args:
        arrays: from :func:`collate`: images (B, H, W, 3) and frames (B, T, H, W, 3) uint8, mask
            (B, H, W), flow (B, h, w, 2), points (B, J, 2), states (B, T, K, S); anything else goes
            into ``extra``.
        device: where the batch goes.
        transforms: applied in order, each (Batch, per-item seeds (B,)) -> Batch.
    """
    values: dict[str, Any] = {}
    dtype = torch.get_default_dtype()
    for key, value in arrays.items():
        if isinstance(value, Tensor):
            value = value.to(device, non_blocking=True)
        if key in ("source", "target", "driving", "frames"):
            # NHWC in memory viewed as NCHW: channels-last without a copy
            value = value.movedim(-1, -3).to(dtype) / 255
        elif key == "flow":
            value = value.movedim(-1, -3).to(dtype)
        elif key == "mask":
            value = value[:, None].to(dtype)
        elif isinstance(value, Tensor) and value.is_floating_point():
            value = value.to(dtype)
        values[key] = value
    seeds = values.pop("seed", None)
    values.setdefault("driving", values.get("target"))
    known = Batch.__dataclass_fields__
    extra = {key: values.pop(key) for key in list(values) if key not in known}
    batch = Batch(**values, extra=extra)
    for transform in transforms:
        batch = transform(batch, seeds)
    return batch


class Datasets:
    """The datasets of a config, each built once, when first needed.

    An optional one (``data.optional``) counts as absent if none of its files and folders exist.

    Args:
        data: the ``data`` section.
    """

    def __init__(self, data: Data) -> None:
        self.data = data
        self.built: dict[str, Any] = {}

    def replace(self, name: str, dataset: Any) -> None:
        """Use this data set instead of the one of the config."""
        self.built[name] = dataset

    def __call__(self, name: str) -> Any:
        """Return a dataset of the section by its key; None if it is absent."""
        if name not in self.built:
            node = None if self.absence(name) else getattr(self.data, name)
            self.built[name] = build(node, f"data.{name}", "datasets")
        return self.built[name]

    def absence(self, name: str) -> str:
        """Say why a dataset is absent; the empty string if it is not."""
        node = getattr(self.data, name)
        if not node:
            return f"the config has no data.{name}"
        paths = list(_paths(node)) if name in self.data.optional else []
        if not paths or any(Path(path).exists() for path in paths):
            return ""
        return f"there is no {' and no '.join(paths)} (data.{name})"


def _paths(node: Any) -> Iterator[str]:
    """Yield the files and folders that a dataset names: strings with a slash, except types."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _paths(value if key != "type" else None)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _paths(value)
    elif isinstance(node, str) and "/" in node:
        yield node


class Loader(DataLoader[dict[str, Any]]):
    """A DataLoader whose processes never run this process's handlers of Ctrl-C and SIGTERM."""

    def __iter__(self) -> Any:
        """Start the loader processes; they inherit which signals are held back."""
        if not hasattr(signal, "pthread_sigmask"):  # Windows
            return super().__iter__()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
        try:
            return super().__iter__()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def close(self) -> None:
        """End the loader processes."""
        if (iterator := getattr(self, "_iterator", None)) is not None:
            self._iterator = None
            iterator._shutdown_workers()


def train_loader(
    datasets: Datasets, *, iterations: int, batch_size: int, seed: int, rank: int, ranks: int
) -> Loader:
    """Return the loader of a whole training run."""
    data = datasets.data
    return Loader(
        Draws(datasets("train"), datasets("prior"), data.prior_size, seed),
        batch_size=batch_size,
        sampler=DrawNumbers(iterations, batch_size, rank, ranks),
        num_workers=data.workers,
        persistent_workers=data.workers > 0,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=one_thread,
        # its own generator: creating the iterator must not advance the one that training uses
        generator=torch.Generator().manual_seed(seed),
    )


def one_thread(worker: int) -> None:
    """Keep a loader process from using every core, and leave Ctrl-C to the training process."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):  # by now SIGTERM has torch's handler, which ends quietly
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    sys.excepthook = _unless_alone


def _unless_alone(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Print an error, unless it says that the training process has gone.

    multiprocessing's thread that shares memory reports that with a traceback.
    """
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)


class _Frames(Dataset[dict[str, Any]]):
    """Items of a dataset, each with a random generator seeded by its index."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __getitem__(self, place: int) -> dict[str, Any]:
        index = self.indices[place]
        return dict(self.dataset.sample(index, np.random.default_rng((7, index))))

    def __len__(self) -> int:
        return len(self.indices)


def frames_of(dataset: Any, indices: Sequence[int], batch_size: int, workers: int = 0) -> Loader:
    """Return the collated batches of the given items, in order."""
    return Loader(
        _Frames(dataset, indices),
        batch_size=batch_size,
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=one_thread,
        # its own generator: validation must not advance the one that training uses
        generator=torch.Generator().manual_seed(0),
    )


def spread(length: int, limit: int | None) -> list[int]:
    """Return at most ``limit`` indices of ``length`` items, evenly spaced."""
    if limit is None or limit >= length:
        return list(range(length))
    return [round(i * (length - 1) / max(limit - 1, 1)) for i in range(limit)]
