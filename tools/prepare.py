#!/usr/bin/env python
"""Compute once what training would compute again and again: ``tools/prepare.py flow CONFIG``.

``flow`` writes the optical flow of every frame of a config's data.train to its partners, for
datasets/flow_pairs. It goes on where an earlier call stopped.
"""

import argparse
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from registry import ConfigError, load_config
from registry.config import parse_options

CHUNK = 16  # frames of one clip that are read together
# only a terminal shows a bar, and other lines come below it
NEXT_LINE = "\n" if sys.stdout.isatty() else ""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    one = names.add_parser("flow", help="optical flow, of a config with datasets/flow_pairs")
    one.add_argument("config", help="a .py config, or the config.json of a run")
    one.add_argument(
        "--estimator",
        choices=("dis", "raft_small", "raft_large"),
        default="dis",
        help="dense inverse search, or RAFT: the one of losses/flow_agreement if that has weights",
    )
    one.add_argument("--weights", help="of RAFT: torchvision (downloads once), or a file")
    one.add_argument("--out", metavar="DIR", help="default: data.train.flow of the config")
    one.add_argument("--device", help="of RAFT; default: cuda if there is one, else cpu")
    one.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    try:
        prepare_flow(args)
    except (ConfigError, OSError, ValueError) as error:
        return fail(error)
    except KeyboardInterrupt:
        print("\nStopped; what is complete stays. The same command goes on from there.")
        return 130
    return 0


def prepare_flow(args: argparse.Namespace) -> None:
    """Fill a folder with the flow of one data set, one file per clip."""
    import numpy as np

    from components.data.flow import INDEX, clip_file, difference, read_index
    from registry.atomic import replacing
    from registry.build import build

    cfg = load_config(args.config, parse_options(args.cfg_options))
    node = cfg.get("data", {}).get("train") or {}
    if node.get("type") != "datasets/flow_pairs":
        raise ConfigError(
            f"{args.config}: data.train is {node.get('type')}, not datasets/flow_pairs: nothing "
            "there reads optical flow."
        )
    for loss in cfg.get("losses", {}).values():
        network = loss.get("network", "raft_small")
        reads = loss["type"] == "losses/flow_agreement" and loss.get("weights")
        if reads and network != args.estimator:
            print(
                f"note: {args.config} compares this flow with that of {network} in renders, which "
                f"is not the same by {args.estimator}. Give --estimator {network}, or train with "
                "weights=None of that loss.",
                file=sys.stderr,
            )
    out = args.out or node.get("flow", "exact")
    if out in ("exact", "dis"):
        raise ConfigError(
            f"{args.config}: data.train.flow is '{out}', which needs no preparation. Give --out "
            "DIR, and train with --cfg-options data.train.flow=DIR."
        )
    folder = Path(out)
    # the folder itself is only about to be filled
    pairs = build({**node, "flow": "dis"}, "data.train", "datasets")
    origin, estimate = estimator(args)
    index = {**pairs.description, "estimator": origin}
    before = read_index(folder)
    if before is None:
        with replacing(folder / INDEX) as temporary:
            temporary.write_text(json.dumps(index))
    else:
        other = difference(before, index)
        if not other and before.get("estimator") != origin:
            other = f"by {before.get('estimator')}, not by {origin}"
        if other:
            raise ConfigError(
                f"the optical flow in '{folder}' is {other}. Give another --out, or move it away."
            )
    lengths = [frames for _, frames in index["clips"]]
    shape = (len(index["gaps"]), *index["size"], 2)
    left = [c for c in range(len(lengths)) if not clip_file(folder, c).is_file()]
    announce(folder, index, left)
    flows = flow_of_chunks(pairs, index["gaps"], left, estimate, cfg["data"].get("workers", 0))
    total, done, started = sum(lengths[c] for c in left), 0, time.time()
    for place, clip in enumerate(left):
        with replacing(clip_file(folder, clip)) as temporary:
            size = (lengths[clip], *shape)
            array = np.lib.format.open_memmap(temporary, "w+", np.float16, size)
            for start in range(0, lengths[clip], CHUNK):
                flow = next(flows)
                array[start : start + len(flow)] = flow
                show(done, done + len(flow), total, started, f"{place} of {len(left)} clips")
                done += len(flow)
            array.flush()
    print(f"{NEXT_LINE}{folder}: the optical flow of {len(lengths)} clips is complete")


def estimator(args: argparse.Namespace) -> tuple[str, Callable | None]:
    """Return what the index calls the estimator, and what turns frames into flow; None: DIS."""
    if args.estimator == "dis":
        if args.weights:
            raise ConfigError("--weights: dis has none. Leave it out, or give --estimator.")
        return "dis", None
    if not args.weights:
        raise ConfigError(f"{args.estimator} needs --weights: torchvision, or a file.")
    import torch

    from components.layers.raft import Raft

    net = Raft(args.estimator, args.weights, updates=12)
    mark = hashlib.sha256()
    for value in net.buffers():
        mark.update(value.numpy().tobytes())
    net.to(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))

    @torch.no_grad()
    def estimate(targets: object, sources: object) -> Iterator:
        device = next(net.buffers()).device
        for start in range(0, len(targets), CHUNK):
            pair = [
                torch.from_numpy(images[start : start + CHUNK]).to(device).movedim(-1, 1) / 255
                for images in (targets, sources)
            ]
            yield from net(*pair).movedim(1, -1).cpu().numpy()

    return f"{args.estimator} {mark.hexdigest()[:16]}", estimate


def flow_of_chunks(
    pairs: object, gaps: list[int], clips: list[int], estimate: Callable | None, workers: int
) -> Iterator:
    """Yield the flow of CHUNK frames after the other; loader processes read, and compute DIS."""
    from torch.utils.data import DataLoader

    from components.data.flow import Chunks, dis_each, flow_of
    from registry.loading import one_thread

    lengths = {clip: len(pairs.clips[clip][1]) for clip in clips}
    chunks = [
        (clip, start, min(start + CHUNK, length))
        for clip, length in lengths.items()
        for start in range(0, length, CHUNK)
    ]
    for found in DataLoader(
        Chunks(pairs, gaps, chunks, None if estimate else dis_each),
        batch_size=None,
        num_workers=workers,
        collate_fn=as_it_is,
        worker_init_fn=one_thread,
    ):
        yield flow_of(*found, estimate, pairs.stride) if estimate else found


def as_it_is(found: object) -> object:
    return found


def announce(folder: Path, index: dict, left: list[int]) -> None:
    """Say what is to be done and how large it will be; refuse a disk that is too small."""
    height, width = index["size"]
    clips, frames = len(index["clips"]), sum(index["clips"][c][1] for c in left)
    size = 2 * 2 * frames * len(index["gaps"]) * height * width / 1e9
    free = shutil.disk_usage(folder).free / 1e9
    print(
        f"{folder}: {len(left)} of {clips} clips to do, {frames} frames, gaps {index['gaps']}, "
        f"{width} x {height} displacements: {size:.3g} GB, {free:.3g} GB are free",
        flush=True,
    )
    if size > free:
        raise ConfigError(
            "the disk is too small. Give a larger data.train.stride, fewer data.train.gaps, or "
            "another --out."
        )


def show(before: int, done: int, total: int, started: float, text: str) -> None:
    """Redraw the line of a terminal; elsewhere print one per tenth."""
    left = timedelta(seconds=round((time.time() - started) / done * (total - done)))
    line = f"{text}, {done}/{total} frames, {left} left"
    if NEXT_LINE:
        filled, columns = "#" * (20 * done // total), shutil.get_terminal_size().columns
        print("\r\x1b[K" + f"|{filled:<20}| {line}"[: columns - 1], end="", flush=True)
    elif 10 * done // total > 10 * before // total:
        print(line, flush=True)


def fail(error: Exception) -> int:
    text = str(error)
    if text.startswith("Caught "):  # in a loader process: its traceback, whose end is the error
        text = text.strip().splitlines()[-1].partition(": ")[2]
    print(f"{NEXT_LINE}error: {text}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
