"""Checkpoints of a training run: plain types, written atomically, read without running any code.

The file is torch's zip file. Its comment holds a digest of all bytes before the comment, which
every load checks. Files without a comment, written by earlier versions, have the zip's own sums.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor, nn

from registry.atomic import replacing
from registry.errors import ConfigError

MARK = b"keypoint-zoo sha256 "  # followed by 64 hexadecimal digits
LENGTH = len(MARK) + 64
END = b"PK\x05\x06"  # of the zip file's last record: 22 bytes, then the comment
RESUMED = (
    "iteration",
    "config",
    "ranks",
    "ema_count",
)  # what a checkpoint with an optimizer also has
COPY = "Use a copy, or another checkpoint"
MOMENTS = ("exp_avg", "exp_avg_sq")  # of Adam, besides its "step"


def save(state: Mapping[str, Any], path: Path) -> None:
    """Write ``state`` atomically: ``path`` holds either the old or the whole new checkpoint."""
    with replacing(path, sync=True) as temporary, temporary.open("w+b") as file:
        torch.save({**state, "sealed": True}, file)
        file.seek(-2, 2)  # the length of the comment, so far 0
        file.write(LENGTH.to_bytes(2, "little"))
        digest = _digest(file, file.tell())
        file.write(MARK + digest)


def load(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint written by :func:`save` onto the CPU, and check bytes, kinds and names.

    Returns:
        ``model``: name -> tensor; and, unless only weights were saved, what
        :meth:`registry.job.Job.save` writes.

    Raises:
        ConfigError: the file does not exist, is damaged, or is not a checkpoint of this library.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(
            f"there is no checkpoint '{path}'. Train first: keypoint-zoo train CONFIG --work-dir "
            f"{path.parent}"
        )
    with path.open("rb") as file:
        sealed = _end(file)[22:].startswith(MARK)
        reason = _damage(file, sealed)
        file.seek(0)
        try:
            if not reason:
                with warnings.catch_warnings():  # of torch, on kinds of tensors refused below
                    warnings.simplefilter("ignore")
                    state = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:
            reason = _refusal(error)
    if reason:
        raise ConfigError(f"{path} cannot be read safely, so it is not loaded: {reason}.")
    if not isinstance(state, dict) or "model" not in state:
        raise ConfigError(f"{path} is not a checkpoint of keypoint-zoo: it has no 'model'.")
    if state.pop("sealed", False) and not sealed:
        raise ConfigError(f"{path} was changed by another program: its digest is missing. {COPY}.")
    for problem in _problems(state):
        raise ConfigError(
            f"{path} is not a checkpoint of keypoint-zoo: {problem}. Use another checkpoint."
        )
    return state


def _digest(file: BinaryIO, size: int) -> bytes:
    """Return the digest of the first ``size`` bytes, and leave the file there."""
    file.seek(0)
    found = hashlib.sha256()
    while size:
        block = file.read(min(size, 1 << 20))
        if not block:
            break  # somebody shortens the file; the digest will differ
        found.update(block)
        size -= len(block)
    return found.hexdigest().encode()


def _end(file: BinaryIO) -> bytes:
    """Return the last bytes of a file: those of a zip's last record with our comment."""
    file.seek(max(file.seek(0, 2) - LENGTH - 22, 0))
    return file.read()


def _damage(file: BinaryIO, sealed: bool) -> str:
    """Return what is wrong with the bytes of a checkpoint, or ''."""
    end, size = _end(file), file.tell()
    file.seek(0)
    if file.read(4) != b"PK\x03\x04":
        return "it is not a checkpoint"
    if sealed and _digest(file, size - LENGTH) != end[22 + len(MARK) :]:
        return f"it is damaged: its bytes do not match its digest. {COPY}"
    if not sealed and end[-22:-18] + end[-2:] != END + b"\0\0":
        return f"it is damaged or incomplete. {COPY}"
    try:
        archive = zipfile.ZipFile(file)
        records = archive.infolist()
        if any(record.compress_type != zipfile.ZIP_STORED for record in records):
            return "its records are compressed, which those of a checkpoint are not"
        if sum(record.file_size for record in records) > size:
            return "its records are stated to be larger than the file"
        if not sealed and (bad := archive.testzip()) is not None:
            return f"it is damaged: {bad} does not match its sum. {COPY}"
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, RuntimeError) as error:
        return f"it is damaged ({error}). {COPY}"
    return ""


def _refusal(error: Exception) -> str:
    """Say why torch does not load a file, without its advice on how to load it nevertheless."""
    text = str(error) or type(error).__name__
    if found := re.search(r"\bGLOBAL (\S+)", text):
        return f"it asks for '{found[1][:80]}', but may hold plain data only"
    if "weights_only" in text or "Weights" in text:
        return "it holds more than plain data"
    return text.splitlines()[0].rstrip(".")


def _problems(state: Mapping[Any, Any]) -> Iterator[str]:
    """Yield what differs from the parts that :class:`registry.job.Job` writes."""
    yield from _tensors(state["model"], "'model'")
    if state.get("ema") is not None:
        yield from _tensors(state["ema"], "'ema'")
    for key in ("iteration", "ema_count"):
        if not _is_count(state.get(key, 0)):
            yield f"'{key}' must be a number of at least 0"
    if "config" in state:
        text, config = state["config"], None
        with suppress(ValueError, RecursionError):
            config = json.loads(text) if isinstance(text, str) else None
        if not isinstance(config, dict):
            yield "'config' must be the JSON text of a config"
    if "optimizer" not in state:
        return
    if missing := [key for key in RESUMED if key not in state]:
        yield f"it has no '{missing[0]}'"
    yield from _optimizer(state["optimizer"])
    if not isinstance(state["ranks"], list) or not state["ranks"]:
        yield "'ranks' must be a list with an item for each process"
    for rank, own in enumerate(state["ranks"]):
        if not isinstance(own, dict) or not {"random", "buffers"} <= own.keys():
            yield f"item {rank} of 'ranks' must have 'random' and 'buffers'"
        yield from _tensors(own["buffers"], f"the buffers of process {rank}")
        try:
            states = _unpacked(own["random"])
            torch.Generator().set_state(states[0])
            np.random.RandomState().set_state(states[2])
            random.Random().setstate(states[3])
        except (TypeError, ValueError, KeyError, RuntimeError, OverflowError, AttributeError):
            yield f"the states of the random generators of process {rank} are not valid"


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _tensors(part: Any, what: str) -> Iterator[str]:
    if not isinstance(part, dict):
        yield f"{what} must be a dict of names and tensors"
        return
    for name, value in part.items():
        if not isinstance(name, str):
            yield f"{what} must have names as keys, but has {str(name)[:40]!r}"
        if not _is_plain(value):
            yield f"{what} must hold plain tensors, but '{str(name)[:80]}' is not one"


def _is_plain(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout is torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
        and not value.is_nested
    )


def _optimizer(part: Any) -> Iterator[str]:
    if not isinstance(part, dict) or not {"state", "param_groups"} <= part.keys():
        yield "'optimizer' must have 'state' and 'param_groups'"
        return
    state, groups = part["state"], part["param_groups"]
    if not isinstance(groups, list) or not all(
        isinstance(group, dict) and isinstance(group.get("params"), list) for group in groups
    ):
        yield "the optimizer's 'param_groups' must be a list of dicts with 'params'"
    if not isinstance(state, dict) or not all(
        _is_count(key)
        and isinstance(own, dict)
        and own.keys() == {"step", *MOMENTS}
        and all(map(_is_plain, own.values()))
        for key, own in state.items()
    ):
        yield f"the optimizer's 'state' must hold step, {', '.join(MOMENTS)} of each parameter"


def weights(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pipeline's state dict, with averaged weights if the run kept them."""
    if state.get("ema"):
        return dict(state["ema"])
    prefix = "pipeline."
    return {k.removeprefix(prefix): v for k, v in state["model"].items() if k.startswith(prefix)}


def load_part(module: nn.Module, state: Mapping[str, Any], part: str, where: str) -> None:
    """Load the weights of one part of a trained pipeline, strictly.

    Args:
        module: the part to load into.
        state: a loaded checkpoint.
        part: its name in that checkpoint's pipeline; ``pipeline`` for all of it.
        where: what errors call it.

    Raises:
        ConfigError: names or shapes differ.
    """
    prefix = "" if part == "pipeline" else f"{part}."
    own = {k.removeprefix(prefix): v for k, v in weights(state).items() if k.startswith(prefix)}
    check_fit(own, module.state_dict(), where)
    module.load_state_dict(own)


def check_fit(own: Mapping[str, Tensor], wanted: Mapping[str, Tensor], where: str) -> None:
    """Check that saved tensors are those that a module needs.

    Args:
        own: the saved ones.
        wanted: the state dict of the module.
        where: what errors call it.

    Raises:
        ConfigError: names, shapes or kinds of numbers differ.
    """
    problems = [f"missing {k}" for k in wanted if k not in own]
    problems += [f"unexpected {k}" for k in own if k not in wanted]
    both = [(k, own[k], v) for k, v in wanted.items() if k in own]
    problems += [
        f"{k} is {tuple(a.shape)}, needs {tuple(b.shape)}" for k, a, b in both if a.shape != b.shape
    ]
    problems += [
        f"{k} is {a.dtype}, needs {b.dtype}"
        for k, a, b in both
        if (a.is_complex(), a.is_floating_point()) != (b.is_complex(), b.is_floating_point())
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ConfigError(
            f"{where}: the weights do not fit the model: {'; '.join(problems[:3])}{more}."
        )


def random_state() -> dict[str, Any]:
    """Return the state of every random generator that training may use, as plain types."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [
            kind,
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            int(position),
            int(has_gauss),
            float(gauss),
        ],
        "python": list(random.getstate()),
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Restore what :func:`random_state` returned."""
    own, cuda, numbers, python = _unpacked(state)
    torch.set_rng_state(own)
    if torch.cuda.is_available():
        for device, found in zip(range(torch.cuda.device_count()), cuda):
            torch.cuda.set_rng_state(found, device)
    np.random.set_state(numbers)  # noqa: NPY002
    random.setstate(python)


def _unpacked(state: Any) -> tuple[Tensor, list[Tensor], Any, Any]:
    """Return the states of torch, CUDA, NumPy and Python, as these take them.

    Raises:
        TypeError, ValueError, KeyError, AttributeError: they are not states.
    """
    kind, keys, position, has_gauss, gauss = state["numpy"]
    version, numbers, second = state["python"]
    cuda = state["cuda"]
    valid = (
        _is_plain(state["torch"])
        and isinstance(cuda, list)
        and all(_is_plain(v) and (v.dtype, v.shape) == (torch.uint8, (16,)) for v in cuda)
        and _is_plain(keys)
        and (keys.dtype, keys.shape) == (torch.int64, (624,))
        and 0 <= int(keys.min()) <= int(keys.max()) < 2**32
        and _is_count(position)
        and position <= 624  # NumPy would read beyond its state
        and has_gauss in (0, 1)
        and isinstance(gauss, float)
        and isinstance(second, float | None)
    )
    if not valid:
        raise ValueError
    numpy = (kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss)
    return state["torch"], cuda, numpy, (version, tuple(numbers), second)
