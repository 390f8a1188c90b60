"""40 hostile packages, resealed so that every digest fits, through info, verify and predict.

Wrong kinds, huge sizes, limbs, padding, crops, frames, and files of tensors that lie. ``predict``
and ``verify --deep`` must refuse what cannot be computed with one line, in little memory; what
loads must give a row for the picture.

    python tests/attacks/packages.py --seed 7 --out packages.json
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cases
import common
from cases import Case
from common import Outcome

BUNDLED = common.ROOT / "zoo/bundled"
COMMANDS = {
    "info": ["info", "./package"],
    "verify": ["verify", "./package", "--deep"],
    "predict": ["predict", "./package", "picture.png", "--out", "found"],
}


def reseal(folder: Path) -> None:
    """Write a manifest, and the digest in the weights, that fit the files."""
    weights = folder / "model.safetensors"
    with contextlib.suppress(Exception):  # weights that cannot be read stay as they are
        own = hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()
        weights.write_bytes(tensors(weights.read_bytes(), lambda header, _: header[
            "__metadata__"].update(config_sha256=own)))  # fmt: skip
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != "manifest.json":
            data = path.read_bytes()
            files[name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    name = json.loads((BUNDLED / "factorized-puppets/manifest.json").read_text())["name"]
    if (folder / "config.json").is_file():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            name = json.loads((folder / "config.json").read_text())["name"]
    manifest = {"format_version": 1, "name": name, "files": files}
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    (folder / "manifest.json").write_text(text)


def put(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    """Return what changes one place of a config; KeyError removes it."""

    def change(config: dict[str, Any]) -> None:
        *parents, last = path
        node: Any = config
        for key in parents:
            node = node[key]
        if value is KeyError:
            del node[last]
        else:
            node[last] = value

    return change


def configs() -> Iterator[tuple[str, str, Callable[[dict[str, Any]], None]]]:
    """Yield the package, what, and the change of its config.json."""
    args = ("architecture", "args")
    one, gan, fomm = "factorized-puppets", "keypointgan-puppets", "fomm-puppets"
    yield one, "nothing", lambda config: None
    for value in (8191, 16384, 0, -1, 1, "x", None, [64], {"a": 1}, 64.5, True, 4096, 65):
        yield one, f"rasterizer.image_size {value!r}", put(*args, "rasterizer", "image_size",
                                                           value=value)  # fmt: skip
    for value in (8191, 0, 7, -1):
        yield one, f"rasterizer.stride {value!r}", put(*args, "rasterizer", "stride", value=value)
    for value in ([], None, "x", 0, -1, {}, 1e308):
        yield one, f"temperature {value!r}", put(*args, "bottleneck", "temperature", value=value)
    yield one, "variance 0", put(*args, "bottleneck", "variance", value=0)
    yield one, "rasterizer 8191", put(*args, "rasterizer", value=8191)
    yield one, "encoder null", put(*args, "encoder", value=None)
    yield one, "decoder a list", put(*args, "decoder", value=[])
    yield one, "decoder an encoder", put(*args, "decoder", value={"type": "encoders/stem",
                                                                  "width": 2})  # fmt: skip
    yield one, "a dotted type", put(*args, "encoder", "type", value="os.getcwd")
    yield one, "its own pipeline inside", put(*args, "encoder", value={
        "type": "pipelines/reconstruction"})  # fmt: skip
    yield one, "16384 widths", put(*args, "encoder", "widths", value=[1] * 16384)
    yield one, "widths of 16384", put(*args, "encoder", "widths", value=[16384] * 3)
    yield one, "version 99", put("architecture", "version", value=99)
    for value in ([[0, {}]], [[{}, {}]], [[0]], [[0, 0]], [[0, 99]], [0], {}, "x", [[-1, 0]],
                  [[0.5, 1]], [[True, False]], [[0, 1]] * 20000):  # fmt: skip
        shown = str(value)[:20]
        yield gan, f"keypoints.edges {shown}", put("keypoints", "edges", value=value)
        yield gan, f"rasterizer.edges {shown}", put(*args, "rasterizer", "edges", value=value)
    for value in (None, "x", -1, 8191, [], 1.5):
        yield fomm, f"padding {value!r}", put(*args, "encoder", "padding", value=value)
    for key in ("stride", "depth", "width", "max_width"):
        for value in (0, 8191, None):
            yield fomm, f"encoder.{key} {value!r}", put(*args, "encoder", key, value=value)
    for value in ([0, 0, 16384, 16384], [0, 0, 16384, 1], [-5, -5, 4, 4], [10**9, 0, 4, 4],
                  [0, 0, 1, 1], [0, 0], None, "x"):  # fmt: skip
        yield one, f"crop {value!r}", put("preprocess", "crop", value=value)
    for value in (10**9, -1, 0, 2, "x", None, 10**30):
        yield one, f"frames {value!r}", put("preprocess", "frames", value=value)
    for value in (4096, 1, 63, None, 0):
        yield one, f"preprocess.image_size {value!r}", put("preprocess", "image_size", value=value)
    for value in (4096, 1, 15, 17):
        yield one, f"count {value}", lambda config, n=value: config["keypoints"].update(
            count=n, names=[f"k{i}" for i in range(n)], groups={})  # fmt: skip
    yield one, "names with escape codes", lambda c: c["keypoints"]["names"].__setitem__(
        0, "a\x1b[31m")  # fmt: skip
    yield one, "names that are formulas", lambda c: c["keypoints"]["names"].__setitem__(
        0, "=1+1,\"x\"")  # fmt: skip
    yield one, "flip_pairs nested", put("keypoints", "flip_pairs", value=[[[0], 1]])
    yield one, "groups texts", put("keypoints", "groups", value={"a": ["x"]})
    yield one, "training with escape codes", put("training", "dataset", value="a\x1b[31m")
    yield one, "flops huge", put("weights", "model.safetensors", "flops", value=10**400)
    yield one, "parameters a text", put("weights", "model.safetensors", "parameters", value="x")
    yield one, "usual empty", put("usual", "quantiles", value={})
    yield one, "usual of an unknown name", put("usual", "quantiles", value={"a": [0, 0, 0, 0, 0]})
    yield one, "usual texts", put("usual", "quantiles", "score", value=["x"] * 5)
    yield (
        one,
        "a plugin to install",
        put(
            "plugins",
            value=[
                {
                    "component": "encoders/acme/x",
                    "distribution": "acme",
                    "requires": "acme; rm -rf /",
                }
            ],
        ),
    )
    yield one, "a further key", put("more", value=1)


def tensors(data: bytes, change: Callable[[dict[str, Any], bytearray], Any]) -> bytes:
    """Return a safetensors file with its header or its numbers changed."""
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), bytearray(data[8 + length :])
    found = change(header, body)
    if isinstance(found, bytes):
        return found
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(body)


def weights() -> Iterator[tuple[str, Callable[[bytes], bytes]]]:
    """Yield what, and the change of model.safetensors."""

    def first(**parts: Any) -> Callable[[bytes], bytes]:
        def change(header: dict[str, Any], _: bytearray) -> None:
            key = next(key for key in header if key != "__metadata__")
            header[key].update(parts)

        return lambda data: tensors(data, change)

    yield "empty", lambda data: b""
    yield "cut", lambda data: data[:-100]
    yield "a header of 2^63 bytes", lambda data: b"\xff" * 8 + data[8:]
    yield "a header of 0 bytes", lambda data: bytes(8) + data[8:]
    yield "a header that is a list", lambda data: struct.pack("<Q", 2) + b"[]"
    yield "a huge shape", first(shape=[2**40, 2**40])
    yield "a negative shape", first(shape=[-1])
    yield "a shape of texts", first(shape=["x"])
    yield "a nested shape", first(shape=[[1]])
    yield "offsets beyond the end", first(data_offsets=[0, 2**50])
    yield "offsets backwards", first(data_offsets=[100, 0])
    yield "offsets null", first(data_offsets=None)
    yield "an unknown dtype", first(dtype="F999")
    yield "dtype null", first(dtype=None)
    yield "another dtype", first(dtype="I16")
    yield "a further key", first(more=1)
    yield "all NaN", lambda data: tensors(
        data, lambda h, b: b.__setitem__(slice(None), b"\xff\x7f" * (len(b) // 2)))  # fmt: skip
    yield "bytes behind", lambda data: data + b"x" * 100
    yield "a pickle", lambda data: b"\x80\x02cposix\nsystem\nU\x0ftouch code-ranq\x01\x85R."


def cases_of(rng: random.Random, _: Path) -> Iterator[Case]:
    """Yield 40 packages through three commands, and those that :mod:`configs` has besides."""

    def all_of(kind: str, what: str, make: Callable[[Path], Any], right: bool) -> Iterator[Case]:
        def both(folder: Path) -> None:
            import numpy as np
            from PIL import Image

            pixels = np.random.default_rng(0).integers(0, 255, (48, 40, 3), np.uint8)
            Image.fromarray(pixels).save("picture.png")
            make(folder / "package")

        def row(folder: Path, _: Outcome) -> str | None:
            table = folder / "found/picture_landmarks.csv"
            rows = len(table.read_text().splitlines()) - 1
            return None if rows == 1 else f"{rows} rows for 1 picture"

        def said(outcome: Outcome) -> None:
            """The problems that ``verify`` found are its answer, on stdout."""
            found = [line for line in outcome.stdout.splitlines() if line.startswith("problem: ")]
            if outcome.status == 1 and found and "error:" not in outcome.stderr:
                outcome.stderr += "error: " + "; ".join(line[9:] for line in found) + "\n"

        def ran(folder: Path, _: Outcome) -> str | None:
            return "code in the package ran" if (folder / "code-ran").exists() else None

        for name, words in COMMANDS.items():
            yield Case(kind, f"{what}: {name}", words, "ok" if right else "either", make=both,
                       check=row if name == "predict" else None, amend=said, after=ran,
                       kept=("package",), absent=("found",), memory=2, timeout=40)  # fmt: skip

    def with_config(base: str, change: Callable[[dict[str, Any]], None]) -> Any:
        def make(folder: Path) -> None:
            shutil.copytree(BUNDLED / base, folder)
            config = json.loads((folder / "config.json").read_text())
            change(config)
            (folder / "config.json").write_text(json.dumps(config))
            reseal(folder)

        return make

    def with_file(name: str, change: Callable[[bytes], bytes]) -> Any:
        def make(folder: Path) -> None:
            shutil.copytree(BUNDLED / "factorized-puppets", folder)
            (folder / name).write_bytes(change((folder / name).read_bytes()))
            reseal(folder)

        return make

    found = list(configs())
    known = [one for one in found if any(word in one[1] for word in (
        "nothing", "8191", "edges [[0, {}]]", "padding None", "temperature []", "crop [0, 0, 16384",
        "frames 1000000000"))]  # fmt: skip
    others = [one for one in found if one not in known]
    for base, what, change in [*known, *rng.sample(others, 40 - min(len(known), 10))]:
        yield from all_of("config", what, with_config(base, change), what == "nothing")
    for what, change in rng.sample(list(weights()), 9):
        yield from all_of("weights", what, with_file("model.safetensors", change), False)
    for what, change in rng.sample(list(weights()), 4):
        yield from all_of("golden", what, with_file("golden.safetensors", change), False)

    def linked(folder: Path) -> None:
        shutil.copytree(BUNDLED / "factorized-puppets", folder)
        (folder / "README.md").unlink()
        os.symlink("/dev/zero", folder / "README.md")

    def piped(folder: Path) -> None:
        shutil.copytree(BUNDLED / "factorized-puppets", folder)
        (folder / "config.json").unlink()
        os.mkfifo(folder / "config.json")

    def piped_manifest(folder: Path) -> None:
        shutil.copytree(BUNDLED / "factorized-puppets", folder)
        (folder / "manifest.json").unlink()
        os.mkfifo(folder / "manifest.json")

    def endless(folder: Path) -> None:
        shutil.copytree(BUNDLED / "factorized-puppets", folder)
        (folder / "manifest.json").unlink()
        os.symlink("/dev/zero", folder / "manifest.json")

    for what, make in {"the card /dev/zero": linked, "the config a named pipe": piped,
                       "the manifest a named pipe": piped_manifest,
                       "the manifest /dev/zero": endless}.items():  # fmt: skip
        yield from all_of("kind of file", what, make, False)


if __name__ == "__main__":
    sys.exit(cases.main("packages", __doc__, cases_of))
