"""Package folders: written atomically, and cleaned up after writers that were killed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from zoo.errors import IntegrityError, ZooError
from zoo.schema import FORMAT_VERSION, canonical, read_json

HIDDEN = re.compile(r"\.(.+)\.(\d+-)?[0-9a-f]{8}\.(staging|old)")  # name, process, kind


def write_folder(
    dest: str | Path,
    files: Mapping[str, bytes | Path],
    *,
    overwrite: bool = False,
    expected: str | None = None,
) -> str:
    """Write a package so that ``dest`` is always the whole old one, the whole new one, or missing.

    The files are written to a folder beside ``dest``, the manifest last, and then renamed. An old
    package is first set aside and deleted afterwards; readers in between get the old one, and the
    next call cleans up after a killed one. Other writers of ``dest``, on any machine that shares
    the file system, wait.

    Args:
        dest: the folder.
        files: path in the package -> content, or the file to copy; without manifest.json.
        overwrite: replace an existing package; other folders are never replaced.
        expected: the digest that it must have, or None.

    Returns:
        The digest of the package.

    Raises:
        FileExistsError: ``dest`` exists.
        IntegrityError: its digest is not the expected one.
        OSError: the disk is full or not writable; ``dest`` is unchanged.
    """
    from registry.atomic import explaining  # not sooner, here and below: it imports mmengine

    dest = Path(dest).absolute()
    with staging(dest) as made:
        _require_free(dest, overwrite)
        with explaining(dest):
            stated = {path: _write(made / path, files[path]) for path in sorted(files)}
            name = json.loads((made / "config.json").read_bytes())["name"]
            manifest = {"format_version": FORMAT_VERSION, "name": name, "files": stated}
            _write(made / "manifest.json", canonical(manifest))
            _sync(made)
        digest = hashlib.sha256(canonical(manifest)).hexdigest()
        if expected not in (None, digest):
            raise IntegrityError(f"Files changed while being copied to '{dest}'. Copy them again.")
        old = _beside(dest, "old")
        try:
            if dest.exists():
                os.rename(dest, old)
            os.rename(made, dest)
            _sync(dest.parent)
        finally:
            _recover(old, dest)
    return digest


@contextmanager
def staging(dest: Path) -> Iterator[Path]:
    """Yield a new folder beside ``dest``, deleted afterwards; other writers of ``dest`` wait.

    What dead writers of ``dest`` left is removed first.
    """
    from registry.claim import claim

    with claim(_claim_of(dest)) as alone:
        _tidy(dest, alone)
        made = _beside(dest, "staging")
        made.mkdir()
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)


def check_free(dest: Path, overwrite: bool) -> None:
    """Check that ``dest`` is free, or a package that may be replaced, and can be written.

    Raises:
        FileExistsError: it is neither; the text names what is there.
        OSError: the folder that holds it does not permit it.
    """
    with staging(dest):
        _require_free(dest, overwrite)


def _require_free(dest: Path, overwrite: bool) -> None:
    if problem := _problem(dest, overwrite):
        raise FileExistsError(f"'{dest}' {problem}")


def _claim_of(dest: Path) -> Path:
    return dest.with_name(f".{dest.name}.claim")


def _beside(dest: Path, kind: str) -> Path:
    """Return a new hidden name."""
    return dest.with_name(f".{dest.name}.{uuid.uuid4().hex[:8]}.{kind}")


def _recover(path: Path, dest: Path) -> None:
    """Rename the old package back if nothing took its place, else delete what a writer left."""
    if path.name.endswith(".old") and not dest.exists():
        with suppress(OSError):
            os.rename(path, dest)
        return
    going = _beside(dest, "staging")
    with suppress(OSError):  # it does not exist, or the system refuses
        os.rename(path, going)  # so that readers do not use what is half deleted
        shutil.rmtree(going, ignore_errors=True)


def state_of(dest: Path) -> tuple[Any, ...]:
    """Return a value that changes when a writer replaces ``dest``.

    The inode alone is not enough: a new folder may reuse that of a deleted one.
    """
    with suppress(FileNotFoundError):
        found = os.lstat(dest)
        return found.st_ino, found.st_ctime_ns, found.st_mtime_ns, *beside(dest, "old")
    return None, *beside(dest, "old")


def _problem(dest: Path, overwrite: bool) -> str | None:
    if not os.path.lexists(dest):
        return None
    if not dest.is_dir() or dest.is_symlink():
        return "exists and is not a folder. Give another path."
    inside = any(dest.iterdir())
    if inside and not overwrite:
        return "already exists. Give another folder, or (in Python) overwrite=True."
    if inside and (foreign := _foreign(dest)):
        return (
            f"contains {foreign}, so it is not replaced. Give another folder, or remove the file."
        )
    return None


def _foreign(dest: Path) -> str | None:
    """Return a file that is not part of the package; replacing the folder would delete it."""
    listed: set[str] = set()
    with suppress(OSError, ZooError, KeyError, TypeError):
        listed = {*read_json(dest / "manifest.json", dest.name)["files"], "manifest.json"}
    found = (path.relative_to(dest).as_posix() for path in dest.rglob("*") if not path.is_dir())
    return next((path for path in sorted(found) if path not in listed), None)


def _write(file: Path, content: bytes | Path) -> dict[str, Any]:
    """Write and sync one file with the permissions of the umask; return its manifest row."""
    file.parent.mkdir(exist_ok=True)
    data = content.read_bytes() if isinstance(content, Path) else content
    with open(file, "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _sync(folder: Path) -> None:
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def beside(dest: Path, kinds: str = "staging|old") -> Sequence[Path]:
    """Return the hidden folders of writers of ``dest`` itself, not of ``dest.more``."""
    there = sorted(dest.parent.iterdir()) if dest.parent.is_dir() else []
    found = ((path, HIDDEN.fullmatch(path.name)) for path in there)
    return [path for path, m in found if m and m[1] == dest.name and re.fullmatch(kinds, m[3])]


def unfinished(top: Path) -> Sequence[Path]:
    """Return the packages below a folder, there or not, beside which hidden folders lie."""
    walked = ((Path(at), HIDDEN.fullmatch(name)) for at, names, _ in os.walk(top) for name in names)
    return sorted({at / m[1] for at, m in walked if m})


def leftovers(dest: Path) -> Sequence[Path]:
    """Return what dead writers of ``dest`` left beside it; nothing while another writes there."""
    from registry.claim import abandoned

    file = _claim_of(dest)
    if file.exists() and not abandoned(file):
        return []
    return beside(dest)


def tidy(dest: Path) -> Sequence[Path]:
    """Complete or undo what dead writers of ``dest`` left behind; return what was found."""
    from registry.claim import claim

    with claim(_claim_of(dest)) as alone:
        return _tidy(dest, alone)


def _tidy(dest: Path, alone: bool) -> Sequence[Path]:
    from registry.claim import HOUR

    found = beside(dest)
    if not alone:  # a file system without locks
        found = [path for path in found if time.time() - path.stat().st_mtime > HOUR]
    for path in found:
        _recover(path, dest)
    return found
