"""The package format: a folder of plain files that describe, and prove, one model.

``config.json`` says what to build, ``model.safetensors`` has its weights, ``evaluation.json`` the
measured numbers, ``golden.safetensors`` an input with its outputs, ``README.md`` is the card, and
``manifest.json``, written last, has size and sha256 of all the others. Nothing is executed or
unpickled, or trusted before it is checked. All of this module works without torch.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from mmap import mmap
from pathlib import Path
from typing import Any

from zoo import errors, schema
from zoo.errors import IncompleteEntryError, IntegrityError, PublishRefusedError, ZooError
from zoo.folder import beside, state_of
from zoo.refs import is_run
from zoo.tensors import DTYPES, Buffer, Stored, read_header

REQUIRED = (
    *("README.md", "config.json", "model.safetensors", "evaluation.json", "golden.safetensors"),
)
PATTERNS = (*REQUIRED, "LICENSE", "manifest.json", "assets/*.png")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt", "*.tar")

MAX_FILES = 64
MAX_SMALL = 32 << 20  # bytes of a file that does not hold tensors
PIECE = 8 << 20  # bytes read at a time


@dataclass(frozen=True, slots=True)
class Package:
    """A checked package."""

    root: Path  # its folder
    config: dict[str, Any] = field(repr=False)  # the files of these names
    evaluation: dict[str, Any] = field(repr=False)
    manifest: dict[str, Any] = field(repr=False)
    digest: str  # sha256 of the manifest, which identifies the whole content
    # name -> what model.safetensors stores, in the order of its bytes
    tensors: dict[str, Stored] = field(default_factory=dict, repr=False)
    # the checked bytes of the two files of tensors; empty if not requested
    weights: Buffer = field(default_factory=bytearray, repr=False)
    golden: Buffer = field(default_factory=bytearray, repr=False)


def open_package(
    root: str | Path,
    name: str | None = None,
    *,
    weights: bool = True,
    links: Path | None = None,
    edited: str | None = None,
) -> Package:
    """Check a package folder byte by byte and return its content.

    Args:
        root: its folder.
        name: the entry's name in messages; default: that of the folder.
        weights: also read and check the weights.
        links: files may be links into this folder, as in the Hub's cache, but no others.
        edited: a file that its owner has changed; it is not checked.

    Raises:
        UnknownEntryError, IncompleteEntryError: the folder does not exist, or files are missing.
        UnsafeWeightsError: there are only pickled weights.
        FormatTooNewError: it was written by a later version.
        IntegrityError: anything else is wrong.
    """
    while True:
        before = state_of(Path(root))
        try:
            return _open(Path(root), name, weights, links, edited)
        except (ZooError, OSError):
            if state_of(Path(root)) == before:  # else a writer has replaced it: try again
                raise


def _open(
    root: Path, name: str | None, weights: bool, links: Path | None, edited: str | None
) -> Package:
    where = f"'{name or root.absolute().name}'"  # of dir:. too
    root = _present(root)
    manifest_file = root / "manifest.json"
    if not manifest_file.is_file():
        _refuse_without_manifest(root, where)
    manifest = schema.read_json(_unlinked(manifest_file, links, where), where)
    schema.check_version(manifest, where)
    schema.conform(manifest, schema.MANIFEST, f"{where}: manifest.json")
    if schema.canonical(manifest) != manifest_file.read_bytes():
        raise IntegrityError(
            f"{where}: manifest.json is damaged or was modified. Fetch the package again."
        )
    _check_names(manifest["files"], where)
    _check_presence(root, manifest["files"], where, links, weights)
    found: dict[str, Buffer] = {}
    for path, stated in sorted(manifest["files"].items()):
        if path != edited and (weights or path != "model.safetensors"):
            found[path] = _read_checked(root / path, stated, where)
    config = schema.parse_json(bytes(found["config.json"]), f"{where}: config.json")
    schema.check_version(config, where)
    schema.conform(config, schema.CONFIG, f"{where}: config.json")
    schema.check_config(config, where)
    if config["name"] != manifest["name"]:
        raise IntegrityError(
            f"{where}: manifest.json belongs to '{manifest['name']}', config.json to "
            f"'{config['name']}'. Fetch the package again."
        )
    evaluation = schema.parse_json(bytes(found["evaluation.json"]), f"{where}: evaluation.json")
    schema.check_evaluation(evaluation, where)
    digest = hashlib.sha256(schema.canonical(manifest)).hexdigest()
    if not weights:
        return Package(root, config, evaluation, manifest, digest)
    data, golden = found["model.safetensors"], found["golden.safetensors"]
    read_header(golden, f"{where}: golden.safetensors")
    tensors, metadata = read_header(data, f"{where}: model.safetensors")
    own = hashlib.sha256(bytes(found["config.json"])).hexdigest()
    if metadata.get("config_sha256") != own:
        raise IntegrityError(
            f"{where}: config.json does not belong to these weights (they were made for config "
            f"{str(metadata.get('config_sha256'))[:8]}, found {own[:8]})."
        )
    stated, numbers = (
        config["weights"]["model.safetensors"],
        [math.prod(one.shape) for one in tensors.values()],
    )
    # only the model itself knows which of them are learned
    if len(tensors) != stated["tensors"] or sum(numbers) < stated["parameters"]:
        raise IntegrityError(
            f"{where}: model.safetensors has {len(tensors)} tensors with {sum(numbers)} numbers, "
            f"but config.json states {stated['tensors']} with {stated['parameters']}."
        )
    return Package(root, config, evaluation, manifest, digest, tensors, data, golden)


def _present(root: Path) -> Path:
    """Return the folder, or the old one set aside by an interrupted replacement."""
    if root.is_dir():
        return root
    if aside := beside(root, "old"):
        return aside[0]
    raise errors.UnknownEntryError(f"there is no folder '{root}'. Give the folder of a package.")


def _refuse_without_manifest(root: Path, where: str) -> None:
    files = [path.name for path in root.iterdir()]
    if is_run(root):
        raise errors.NotAPackageError(
            f"{where}: {root} is the folder of a training run, not a package. Make a package: "
            f"keypoint-zoo publish {root} --license L."
        )
    if any(fnmatchcase(name, pattern) for name in files for pattern in PICKLES):
        raise errors.UnsafeWeightsError(
            f"{where}: {root} has only pickled weights, which are never loaded. Their owner can "
            "convert them offline: keypoint-zoo convert SOURCE FILE --license L --out DIR."
        )
    raise IncompleteEntryError(
        f"{where}: {root} has no manifest.json, so it is not a package or was not copied "
        "completely. Copy it again."
    )


def _check_names(files: Mapping[str, Any], where: str) -> None:
    if len(files) > MAX_FILES:
        raise IntegrityError(
            f"{where}: it has {len(files)} files; at most {MAX_FILES} are allowed."
        )
    for path in files:
        plain = re.fullmatch(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)?", path) and ".." not in path
        if not plain or not any(fnmatchcase(path, pattern) for pattern in PATTERNS):
            raise IntegrityError(f"{where}: {path!r} cannot be a file of a package.")
    if missing := [path for path in REQUIRED if path not in files]:
        raise IncompleteEntryError(f"{where}: the manifest does not list {', '.join(missing)}.")


def _check_presence(
    root: Path, files: Mapping[str, Any], where: str, links: Path | None, weights: bool
) -> None:
    needed = [path for path in files if weights or path != "model.safetensors"]
    if missing := [path for path in needed if not os.path.lexists(root / path)]:
        raise IncompleteEntryError(
            f"{where}: {len(missing)} of {len(files) + 1} files are missing "
            f"({', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}) in {root}; a "
            "download or copy was probably interrupted. Fetch it again."
        )
    for folder, folders, names in os.walk(root):
        linked = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in (*names, *linked):
            file = Path(folder) / name
            path = file.relative_to(root).as_posix()
            if path.startswith("."):  # files of git and of the Hub's client
                continue
            if path not in files and path != "manifest.json":
                if links:  # other tools share the Hub's cache; their files are not read
                    continue
                raise IntegrityError(
                    f"{where}: '{path}' is in {root} but not in the manifest. Remove it."
                )
            _unlinked(file, links, where)


def _unlinked(file: Path, links: Path | None, where: str) -> Path:
    """Return a file after checking that it is not a link, except into ``links``."""
    real, expected = file.resolve(), file.parent.resolve() / file.name
    if file.parent.is_symlink() or (real != expected and not (links and real.parent == links)):
        raise IntegrityError(f"{where}: '{file}' is a link. A package may hold plain files only.")
    if not real.is_file():
        raise IntegrityError(f"{where}: '{file}' is not a plain file.")
    return file


def _hashed(file: Path, size: int) -> tuple[Buffer, str]:
    """Read a file, hashing one piece while the next is read; return its content and hash."""
    if size <= PIECE:
        small = bytearray(file.read_bytes())
        return small, hashlib.sha256(small).hexdigest()
    found, data, done = hashlib.sha256(), mmap(-1, size), 0  # memory that is not zeroed first
    with file.open("rb", buffering=0) as stream, ThreadPoolExecutor(1) as worker:
        view = memoryview(data)
        while count := stream.readinto(view[done : done + PIECE]):
            worker.submit(found.update, view[done : done + count])
            done += count
    return data, found.hexdigest()


def _read_checked(file: Path, stated: Mapping[str, Any], where: str) -> Buffer:
    expected, actual = stated["sha256"], file.stat().st_size
    if file.suffix != ".safetensors" and actual > MAX_SMALL:
        raise IntegrityError(f"{where}: {file.name} is larger than {MAX_SMALL} bytes.")
    state = f"it has {actual} bytes instead of {stated['size']}"
    if actual == stated["size"]:
        data, found = _hashed(file, actual)
        if found == expected:
            return data
        state = f"its sha256 is {found[:8]}... instead of {expected[:8]}..."
    if file.name == "README.md":
        state += "; if you edited its notes, run keypoint-zoo card DIR --write"
    raise IntegrityError(
        f"{where}: {file.name} is damaged or was modified: {state}. Remove {file} and fetch it "
        "again; if this happens again, do not use it, and tell its publisher."
    )


SECRET = re.compile(rb"hf_[A-Za-z0-9]{30,}")
PERSONAL = re.compile(rb"(?:/home/|/Users/|/root/|[A-Z]:[\\/]{1,2}Users[\\/]{1,2})[A-Za-z0-9._-]*")


def check_publishable(package: Package) -> None:
    """Check that a package has a licence and holds nothing private or broken.

    Raises:
        PublishRefusedError: it has no licence, leftovers, a token, a private path, or NaN in the
            weights.
    """
    name = f"'{package.config['name']}'"
    for file in sorted(package.root.rglob("*")):
        path = file.relative_to(package.root).as_posix()
        if path not in package.manifest["files"] and path != "manifest.json" and file.is_file():
            raise PublishRefusedError(f"{name}: '{path}' is not part of the package. Remove it.")
    card = (package.root / "README.md").read_text("utf-8", "replace")
    schema.check_license(schema.licence_of(card), "LICENSE" in package.manifest["files"], name)
    for path in package.manifest["files"]:
        if path.endswith((".md", ".json", "LICENSE")):
            text = (package.root / path).read_bytes()
            for what, pattern in (("an access token", SECRET), ("a private path", PERSONAL)):
                if found := pattern.search(text):
                    shown = "" if pattern is SECRET else f" ({found[0].decode(errors='replace')})"
                    raise PublishRefusedError(f"{name}: {path} contains {what}{shown}. Remove it.")
    _check_finite(package, name)


def _check_finite(package: Package, name: str) -> None:
    import numpy as np

    for key, one in package.tensors.items():
        kind = DTYPES[one.dtype][0]
        if "float" not in kind:
            continue
        # numpy has no bfloat16; all bits of the exponent set means infinite or NaN
        half = kind == "bfloat16"
        values = np.frombuffer(package.weights[one.begin : one.end], "uint16" if half else kind)
        finite = (values & 0x7F80) != 0x7F80 if half else np.isfinite(values)
        if not finite.all():
            raise PublishRefusedError(f"{name}: the weights of '{key}' are not all finite.")
