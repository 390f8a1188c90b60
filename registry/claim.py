"""Who writes here: advisory locks on files, which the kernel releases when their holder dies.

A lock also excludes other threads of the same process, other containers, and other machines that
share a file system with locks. Forked processes, such as those that load data, do not keep it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from registry.errors import ConfigError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCKS = fcntl is not None
HOUR = 3600.0  # without locks: the age in seconds from which a file counts as left over
_held: set[int] = set()  # descriptors of this process
_warned = False


def _forget() -> None:
    """Close the locks in a forked process, which would otherwise outlive their holder."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


@contextlib.contextmanager
def claim(file: Path, busy: str = "") -> Iterator[bool]:
    """Hold the lock of a file, which says who holds it; yield whether others are really kept out.

    Args:
        file: created with its folders; afterwards removed, with those folders that are still empty.
        busy: text of the error if another holds it, ``{}`` for who and since when; '' to wait.

    Raises:
        ConfigError: another holds it.
        OSError: the file cannot be created.
    """
    folders = [file.parent, *file.parent.parents]
    made = [folder for folder in folders if not folder.exists()]
    descriptor = _taken(file, busy) if LOCKS else None
    try:
        if descriptor is None:
            _warn(file.parent)
        yield descriptor is not None
    finally:
        if descriptor is not None:
            with contextlib.suppress(OSError):
                if is_at(descriptor, file):
                    os.unlink(file)
            release(descriptor)
        with contextlib.suppress(OSError):
            for folder in made:
                folder.rmdir()


def _taken(file: Path, busy: str) -> int | None:
    """Create and lock a file; return its descriptor, or None if the file system has no locks."""
    vanished = 0
    while True:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = opened(file, os.O_RDWR | os.O_CREAT)
        except FileNotFoundError:  # its holder has just removed the empty folder
            vanished += 1
            if vanished > 100:
                raise
            continue
        try:
            held = lock(descriptor, wait=not busy)
            if held is False:
                raise ConfigError(busy.replace("{}", _holder(descriptor)))
            there = is_at(descriptor, file)
            if there and held:
                now = time.strftime("%Y-%m-%d %H:%M")
                with contextlib.suppress(OSError):  # a full disk: then nobody knows who it is
                    os.ftruncate(descriptor, 0)
                    text = f"process {os.getpid()} on host {platform.node()}, since {now}"
                    os.pwrite(descriptor, text.encode(), 0)
                return descriptor
        except BaseException:
            release(descriptor)
            raise
        release(descriptor)
        if held is None:
            file.unlink(missing_ok=True)
            return None
        # otherwise its holder has removed it meanwhile: try again


def is_claim(file: Path) -> bool:
    """Return whether a file has the name and the content of a claim."""
    if not file.name.startswith(".") or not file.name.endswith(".claim") or not file.is_file():
        return False
    with contextlib.suppress(OSError):
        return file.read_bytes()[:8] in (b"", b"process ")
    return False


def _holder(descriptor: int) -> str:
    text = os.pread(descriptor, 200, 0).decode("utf-8", "replace")
    return text if text.isprintable() and text else "another process"


def _warn(folder: Path) -> None:
    global _warned
    if not _warned:
        _warned = True
        from registry import progress

        progress.say(
            f"note: the file system of '{folder}' has no locks, so nothing keeps a second process "
            "from writing there. Start only one at a time."
        )


def opened(file: Path, flags: int) -> int:
    """Open a file whose lock will not pass to forked processes; return its descriptor."""
    descriptor = os.open(file, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)
    _held.add(descriptor)
    return descriptor


def release(descriptor: int) -> None:
    """Close what :func:`opened` returned, and so unlock it."""
    if descriptor in _held:  # a forked process has closed it already
        _held.discard(descriptor)
        os.close(descriptor)


def lock(descriptor: int, *, wait: bool = False) -> bool | None:
    """Lock a file; return whether that succeeded, or None if the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        return False if error.errno in (errno.EAGAIN, errno.EACCES) else None
    return True


def is_at(descriptor: int, file: Path) -> bool:
    """Return whether a path still names the file that is open."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), os.lstat(file))
    return False


def abandoned(file: Path, *, remove: bool = False) -> bool:
    """Return whether a file exists that no living process has locked; ``remove`` deletes it then.

    Where the file system has no locks, a file counts as abandoned after an hour without a change.
    """
    try:
        found = os.lstat(file)
        if not stat.S_ISREG(found.st_mode):
            return False
        # time of the change, not of the content, which a writer may have set
        free: bool | None = time.time() - max(found.st_mtime, found.st_ctime) > HOUR
        if not LOCKS:
            if free and remove:
                os.unlink(file)
            return bool(free)
        descriptor = opened(file, os.O_RDWR)  # network file systems lock only what can be written
    except OSError:
        return False
    try:
        locked = lock(descriptor)
        free = free if locked is None else locked and is_at(descriptor, file)
        if free and remove:
            os.unlink(file)
        return bool(free)
    except OSError:
        return False
    finally:
        release(descriptor)
