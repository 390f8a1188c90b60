"""Package folders: written atomically, and cleaned up after writers that were killed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from zoo.errors import IntegrityError, ZooError
from zoo.schema import FORMAT_VERSION, canonical, read_json


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
    next call cleans up after a killed one.

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
    dest = Path(dest).absolute()
    tidy(dest)
    check_free(dest, overwrite)
    dest.parent.mkdir(parents=True, exist_ok=True)
    staging, aside = _beside(dest, "staging"), []
    try:
        staging.mkdir()
        stated = {path: _write(staging / path, files[path]) for path in sorted(files)}
        name = json.loads((staging / "config.json").read_bytes())["name"]
        manifest = {"format_version": FORMAT_VERSION, "name": name, "files": stated}
        _write(staging / "manifest.json", canonical(manifest))
        _sync(staging)
        digest = hashlib.sha256(canonical(manifest)).hexdigest()
        if expected not in (None, digest):
            raise IntegrityError(f"Files changed while being copied to '{dest}'. Copy them again.")
        while True:
            try:
                os.rename(staging, dest)
                break
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not overwrite:
                    raise
            with suppress(FileNotFoundError):  # another writer set it aside
                old = _beside(dest, "old")
                os.rename(dest, old)
                aside.append(old)
        _sync(dest.parent)
    except BaseException:
        if aside and not dest.exists():
            _put_back(aside.pop(), dest)
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        for old in aside:
            _discard(old, dest)
    return digest


def _discard(path: Path, dest: Path) -> None:
    """Delete a folder beside ``dest``, first renaming it so that readers do not use it."""
    going = _beside(dest, "staging")
    with suppress(OSError):  # another writer deletes it, or the system refuses
        os.rename(path, going)
        shutil.rmtree(going, ignore_errors=True)


def _put_back(old: Path, dest: Path) -> None:
    """Rename the old package back; if another writer was faster, it is left over."""
    with suppress(OSError):
        os.rename(old, dest)


def _beside(dest: Path, kind: str) -> Path:
    """Return a new hidden name that contains the writer's process id."""
    return dest.with_name(f".{dest.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.{kind}")


def check_free(dest: Path, overwrite: bool) -> None:
    """Check that ``dest`` is free, or a package that may be replaced.

    Raises:
        FileExistsError: it is neither; the text names what is there.
    """
    while (before := _identity(dest)) is not None:
        try:
            problem = _problem(dest, overwrite)
        except FileNotFoundError:  # another writer set it aside
            continue
        if problem is None:
            return
        if _identity(dest) == before:
            raise FileExistsError(f"'{dest}' {problem}")


def _identity(path: Path) -> tuple[int, int, int] | None:
    """Return a value that changes when another folder takes this name; None if nothing is there.

    The inode alone is not enough: a new folder may reuse that of a deleted one.
    """
    with suppress(FileNotFoundError):
        found = os.lstat(path)
        return found.st_ino, found.st_ctime_ns, found.st_mtime_ns
    return None


def state_of(dest: Path) -> tuple[Any, ...]:
    """Return a value that changes when a writer replaces ``dest``."""
    return _identity(dest), *beside(dest, "old")


def _problem(dest: Path, overwrite: bool) -> str | None:
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
    own = re.compile(rf"\.{re.escape(dest.name)}\.\d+-[0-9a-f]{{8}}\.({kinds})")
    there = sorted(dest.parent.iterdir()) if dest.parent.is_dir() else []
    return [path for path in there if own.fullmatch(path.name)]


def leftovers(dest: Path) -> Sequence[Path]:
    """Return what killed writers of ``dest`` left beside it; running writers are skipped."""
    return [path for path in beside(dest) if not _running(path)]


def _running(path: Path) -> bool:
    if os.name == "nt":  # on Windows os.kill(pid, 0) sends Ctrl-C
        return time.time() - path.stat().st_mtime < 3600
    with suppress(PermissionError, OverflowError):
        try:
            os.kill(int(path.name.split(".")[-2].split("-")[0]), 0)
        except ProcessLookupError:
            return False
    return True


def tidy(dest: Path) -> Sequence[Path]:
    """Complete or undo what killed writers of ``dest`` left behind; return what was found."""
    found = leftovers(dest)
    for path in found:
        if path.name.endswith(".old") and not dest.exists():
            _put_back(path, dest)
        else:
            _discard(path, dest)
    return found
