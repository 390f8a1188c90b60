"""Optical flow of a data set's frames, computed once and kept in files: one per clip."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch.utils.data import DataLoader

from components.data.flow import (
    INDEX,
    Chunks,
    clip_file,
    difference,
    dis_each,
    flow_of,
    read_index,
)
from components.layers.raft import Raft
from registry.atomic import leftovers, replacing
from registry.build import build
from registry.errors import ConfigError
from registry.loading import one_thread
from registry.progress import bar

CHUNK = 16  # frames of one clip that are read together


def prepare_flow(
    cfg: Mapping[str, Any],
    *,
    out: str | Path | None = None,
    estimator: str = "dis",
    weights: str | None = None,
    device: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[Path, int]:
    """Fill a folder with the flow of ``data.train``, one file per clip; resume where it stopped.

    Args:
        cfg: resolved config whose ``data.train`` is a datasets/flow_pairs.
        out: the folder; ``data.train.flow`` if None.
        estimator: ``dis`` (dense inverse search), ``raft_small`` or ``raft_large``.
        weights: weights of RAFT: ``torchvision``, or a file.
        device: device for RAFT; default cuda if available, else cpu.
        say: called with lines about the work ahead.

    Returns:
        The folder, and the number of clips whose flow it holds.

    Raises:
        ConfigError: the config does not read flow, or the folder holds the flow of other frames.
    """
    node = cfg.get("data", {}).get("train") or {}
    if node.get("type") != "datasets/flow_pairs":
        raise ConfigError(
            f"data.train is {node.get('type')}, not datasets/flow_pairs: it reads no optical flow."
        )
    for loss in cfg.get("losses", {}).values():
        network = loss.get("network", "raft_small")
        reads = loss["type"] == "losses/flow_agreement" and loss.get("weights")
        if reads and network != estimator:
            say(
                f"note: the config compares this flow with that of {network} in renders, which is "
                f"not the same with {estimator}. Give --estimator {network}, or train with "
                "weights=None of that loss."
            )
    out = out or node.get("flow", "exact")
    if out in ("exact", "dis"):
        raise ConfigError(
            f"data.train.flow is '{out}', which needs no preparation. Pass --out DIR, and train "
            "with --cfg-options data.train.flow=DIR."
        )
    folder = Path(out)
    # the folder itself is yet to be filled
    pairs = build({**node, "flow": "dis"}, "data.train", "datasets")
    origin, estimate = estimator_of(estimator, weights, device)
    index = {**pairs.description, "estimator": origin}
    before = read_index(folder)
    if before is not None:
        other = difference(before, index)
        if not other and before.get("estimator") != origin:
            other = f"by {before.get('estimator')}, not by {origin}"
        if other:
            raise ConfigError(
                f"the optical flow in '{folder}' is {other}. Choose another --out, or move that "
                "folder away."
            )
    lengths = [frames for _, frames in index["clips"]]
    shape = (len(index["gaps"]), *index["size"], 2)
    left = [c for c in range(len(lengths)) if not clip_file(folder, c).is_file()]
    announce(folder, index, left, say)
    leftovers(folder, remove=True)
    if before is None:
        with replacing(folder / INDEX) as temporary:
            temporary.write_text(json.dumps(index), encoding="utf-8")
    flows = flow_of_chunks(pairs, index["gaps"], left, estimate, cfg["data"].get("workers", 0))
    with bar(sum(lengths[c] for c in left), "optical flow") as progress:
        for clip in left:
            with replacing(clip_file(folder, clip)) as temporary, temporary.open("wb") as file:
                # not a memory map, through which a full disk would kill the process
                header = {"descr": "<f2", "fortran_order": False, "shape": (lengths[clip], *shape)}
                np.lib.format.write_array_header_1_0(file, header)
                for _ in range(0, lengths[clip], CHUNK):
                    flow = next(flows)
                    file.write(flow.astype("<f2").tobytes())
                    progress.update(len(flow))
    return folder, len(lengths)


def estimator_of(
    name: str, weights: str | None, device: str | None
) -> tuple[str, Callable[..., Any] | None]:
    """Return the estimator's name in the index, and a function from frames to flow; None: DIS."""
    if name == "dis":
        if weights:
            raise ConfigError(
                "--weights: dis has no weights. Leave it out, or choose another --estimator."
            )
        return "dis", None
    if not weights:
        raise ConfigError(f"{name} needs --weights: torchvision, or a file.")
    net: Any = Raft(cast(Any, name), weights, updates=12)
    mark = hashlib.sha256()
    for value in net.buffers():
        mark.update(value.numpy().tobytes())
    net.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))

    @torch.no_grad()
    def estimate(targets: Any, sources: Any) -> Iterator[Any]:
        at = next(net.buffers()).device
        for start in range(0, len(targets), CHUNK):
            pair = [
                torch.from_numpy(images[start : start + CHUNK]).to(at).movedim(-1, 1) / 255
                for images in (targets, sources)
            ]
            yield from net(*pair).movedim(1, -1).cpu().numpy()

    return f"{name} {mark.hexdigest()[:16]}", estimate


def flow_of_chunks(
    pairs: Any,
    gaps: list[int],
    clips: list[int],
    estimate: Callable[..., Any] | None,
    workers: int,
) -> Iterator[Any]:
    """Yield the flow CHUNK frames at a time; loader processes read, and compute DIS."""
    lengths = {clip: len(pairs.clips[clip][1]) for clip in clips}
    chunks = [
        (clip, start, min(start + CHUNK, length))
        for clip, length in lengths.items()
        for start in range(0, length, CHUNK)
    ]
    source: Any = Chunks(pairs, gaps, chunks, None if estimate else dis_each)
    for found in DataLoader(
        source,
        batch_size=None,
        num_workers=workers,
        collate_fn=as_it_is,
        worker_init_fn=one_thread,
    ):
        yield flow_of(found[0], found[1], estimate, pairs.stride) if estimate else found


def as_it_is(found: Any) -> Any:
    """Return what a loader process read, unchanged."""
    return found


def announce(
    folder: Path, index: Mapping[str, Any], left: list[int], say: Callable[[str], None]
) -> None:
    """Report the work ahead and its size; refuse if the disk is too small."""
    height, width = index["size"]
    clips, frames = len(index["clips"]), sum(index["clips"][c][1] for c in left)
    size = 2 * 2 * frames * len(index["gaps"]) * height * width / 1e9
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(there).free / 1e9
    say(
        f"{folder}: {len(left)} of {clips} clips to do, {frames} frames, gaps {index['gaps']}, "
        f"{width} x {height} displacements: {size:.3g} GB, {free:.3g} GB are free"
    )
    if size > free:
        raise ConfigError(
            "not enough disk space. Use a larger data.train.stride, fewer data.train.gaps, or "
            "another --out."
        )
