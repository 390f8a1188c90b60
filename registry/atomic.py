"""Atomic writes: a file is either the old one or the whole new one."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from registry import claim

# sent by kill, and by a terminal that is closed; Windows has no SIGHUP
ENDS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
PART = re.compile(r"\.(.*)\.[0-9a-f]{8}\.part(\.[^.]*)?")
PROBE = bytes(1 << 16)
ADVICE = {
    errno.ENOSPC: "Free some space there, or write elsewhere.",
    getattr(errno, "EDQUOT", errno.ENOSPC): "Free some space there, or write elsewhere.",
    errno.EFBIG: "The file system or `ulimit -f` allows no larger file; write elsewhere.",
    errno.EIO: "The disk, or the connection to it, has a fault; write elsewhere.",
}
_writing: dict[Path, int] = {}  # temporary file -> descriptor that holds its lock


class WriteError(OSError):
    """A file cannot be written: the disk is full, a quota is used up, or the disk has a fault."""


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], *, sync: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it is renamed to ``path`` if the block succeeds.

    A reader sees the old file or the whole new one, never a part of it. The temporary file is
    deleted if the block ends with an error, Ctrl-C, or a SIGTERM or SIGHUP without other handler;
    what a killed writer leaves is found by :func:`leftovers`.

    Args:
        path: the file to write; its folder is created if needed.
        sync: wait until the content is on the disk before renaming, for what took long to compute.

    Raises:
        WriteError: the disk is full or fails, whatever the block raised because of that.
        OSError: the folder does not permit it, or the block wrote nothing.
    """
    path = Path(path)
    # unique: process numbers are the same in several containers; the suffix decides the format
    temporary = path.with_name(f".{path.stem}.{os.urandom(4).hex()}.part{path.suffix}")
    with _unwinding():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _begin(temporary)
            yield temporary
            if not temporary.exists() or (temporary in _writing and not temporary.stat().st_mtime):
                raise OSError(f"cannot write '{path}': nothing was written.")
            if sync:
                with temporary.open("r+b") as file:
                    os.fsync(file.fileno())
            os.replace(temporary, path)
            if path in _writing:  # itself the temporary file of a block around this one
                claim.release(_writing[path])
                _writing[path] = _writing.pop(temporary)
        except Exception as error:
            told = _explained(error, path, temporary)
            if told is error:
                raise
            raise told from error
        finally:
            temporary.unlink(missing_ok=True)
            claim.release(_writing.pop(temporary, -1))


def _begin(temporary: Path) -> None:
    """Create the file and lock it while it is written, which tells a living writer from a dead one.

    Its time is set to 0, which changes as soon as the block writes.
    """
    if not claim.LOCKS:  # Windows does not rename open files
        return
    while True:
        descriptor = _writing[temporary] = claim.opened(temporary, os.O_RDWR | os.O_CREAT)
        claim.lock(descriptor, wait=True)
        os.utime(descriptor, (0, 0))
        if claim.is_at(descriptor, temporary):
            return
        claim.release(descriptor)  # removed as a leftover before it was locked


@contextlib.contextmanager
def explaining(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what a full or failing disk causes while a file is appended to into a WriteError."""
    try:
        yield
    except OSError as error:
        raise _explained(error, Path(path)) from error


def _explained(error: Exception, path: Path, temporary: Path | None = None) -> Exception:
    """Return the WriteError that tells why ``path`` cannot be written, or else the error itself."""
    if isinstance(error, WriteError):
        return error
    if inner := PART.fullmatch(path.name):  # of a block inside another one
        path = path.with_name(inner[1] + (inner[2] or ""))
    number = None
    if isinstance(error, OSError) and error.filename in (None, str(path), str(temporary)):
        number = error.errno
    elif found := re.search(r"\(os error (\d+)\)", str(error)):  # of a library in Rust
        number = int(found[1])
    if number not in ADVICE:
        number = _probed(temporary) if temporary else None  # most libraries do not tell
    if number is None:
        if isinstance(error, OSError) and error.filename == str(temporary):
            error.filename = str(path)
        return error
    told = WriteError(f"cannot write '{path}': {os.strerror(number)}. {ADVICE[number]}")
    told.errno = number
    return told


def _probed(file: Path) -> int | None:
    """Try to make a file longer; return the error's number if the disk is full or fails."""
    try:
        with file.open("ab") as out:
            out.write(PROBE)
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        return error.errno if error.errno in ADVICE else None
    return None


def leftovers(folder: str | os.PathLike[str], *, remove: bool = False) -> list[Path]:
    """Return the temporary files and claims below a folder whose writers are gone.

    Args:
        folder: links in it are not followed.
        remove: also delete them.
    """
    found = []
    for at, _, names in os.walk(folder):
        files = (Path(at, name) for name in sorted(names))
        ours = (file for file in files if PART.fullmatch(file.name) or claim.is_claim(file))
        found += [file for file in ours if claim.abandoned(file, remove=remove)]
    return found


@contextlib.contextmanager
def _unwinding() -> Iterator[None]:
    """Turn signals that would kill the process into ``SystemExit``, so that it cleans up."""
    main = threading.current_thread() is threading.main_thread()
    found = [end for end in ENDS if main and signal.getsignal(end) is signal.SIG_DFL]
    for end in found:
        signal.signal(end, _leave)
    try:
        yield
    finally:
        for end in found:
            signal.signal(end, signal.SIG_DFL)


def _leave(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)  # the exit status that shells report for a signal
