"""The Hub client's cache on this machine: read without network, and hardly ever written.

A repository is a folder ``models--owner--name``: ``snapshots/<commit>/``, whose files are links to
``blobs/``, and ``refs/<name>``, which holds the commit of that name as of the last request.
"""

from __future__ import annotations

import contextlib
import re
import time
import uuid
from datetime import datetime
from pathlib import Path

from huggingface_hub import constants

from zoo.errors import IncompleteEntryError, NotCachedError, UnknownEntryError, ZooError
from zoo.package import REQUIRED
from zoo.schema import FORMAT, is_repo_id, read_json, read_small

WEIGHTS = "model.safetensors"
STALE = 3600.0  # seconds without a byte after which an unfinished download counts as left over


def folder_of(repo_id: str, revision: str | None, cache_dir: str | Path | None) -> Path:
    """Return the folder of a repository in the cache; rejects path traversal.

    Raises:
        UnknownEntryError: a repository or revision cannot have such a name.
    """
    if not is_repo_id(repo_id):
        raise UnknownEntryError(
            f"{repo_id!r:.100} is not the name of a Hub repository. Write hf:owner/name, or "
            "dir:path for a folder."
        )
    if revision is not None and (
        not re.fullmatch(r"[^\s/\\~^:?*\[\x00-\x1f][^\s\\~^:?*\[\x00-\x1f]*", revision)
        or ".." in revision
    ):
        raise UnknownEntryError(
            f"{repo_id}: {revision!r:.100} is not a valid revision. Give a branch, tag or commit."
        )
    cache = Path(cache_dir or constants.HF_HUB_CACHE).expanduser()
    return cache / f"models--{repo_id.replace('/', '--')}"


def is_commit(revision: str) -> bool:
    """Return whether a revision is a full commit, which never changes."""
    return re.fullmatch(r"[0-9a-f]{40}", revision) is not None


def missing_files(snapshot: Path, weights: bool = True) -> tuple[list[str], int]:
    """Return which files of a snapshot are missing, and how many it should have."""
    names = [*REQUIRED]
    if (snapshot / "manifest.json").is_file():
        try:
            names = list(read_json(snapshot / "manifest.json", "")["files"])
        except (OSError, ZooError, KeyError, TypeError):
            return [], 0  # damaged; the check of the package will report it
    names = [path for path in ["manifest.json", *names] if weights or path != WEIGHTS]
    return [path for path in names if not (snapshot / path).is_file()], len(names)


def from_cache(
    repo_id: str, revision: str | None, storage: Path, weights: bool
) -> tuple[Path, str]:
    """Return the complete snapshot of a revision, and its commit.

    Raises:
        NotCachedError: it is not in the cache.
        IncompleteEntryError: only part of it is.
    """
    commit = cached_commit(storage, revision)
    at = f" at {revision[:8] if is_commit(revision) else revision}" if revision else ""
    pull = f"keypoint-zoo pull hf:{repo_id}{'@' if revision else ''}{revision or ''}"
    if commit is None or not (storage / "snapshots" / commit).is_dir():
        reason = "HF_HUB_OFFLINE=1" if constants.HF_HUB_OFFLINE else "offline=True"
        raise NotCachedError(
            f"'{repo_id}'{at} is not in the cache {storage.parent}, and offline mode is on "
            f"({reason}). On a connected machine run `{pull} --dest DIR`, copy DIR here, then "
            f"load 'dir:DIR'. {_cached_entries(storage)}"
        )
    snapshot = storage / "snapshots" / commit
    missing, count = missing_files(snapshot, weights)
    if missing:
        raise IncompleteEntryError(
            f"'{repo_id}' at {commit[:8]}: {len(missing)} of {count} files are missing "
            f"({', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}) in {snapshot}; a "
            f"download was probably interrupted. On a connected machine run `{pull}`."
        )
    return snapshot, commit


def cached_commit(storage: Path, revision: str | None) -> str | None:
    """Return the commit of a revision according to the cache, without asking the Hub."""
    if revision and is_commit(revision):
        return revision
    with contextlib.suppress(OSError, ZooError):
        found = read_small(storage / "refs" / (revision or "main"), "")
        commit = found.decode("ascii", "replace").strip()
        return commit if is_commit(commit) else None
    if revision and re.fullmatch(r"[0-9a-f]{7,}", revision):
        full = [path.name for path in storage.glob(f"snapshots/{revision}*")]
        return full[0] if len(full) == 1 else None
    return None


def remember(storage: Path, revision: str, commit: str) -> None:
    """Record, as the client does, the commit of a name: offline it is the only source."""
    file = storage / "refs" / revision
    part = storage / f".ref-{uuid.uuid4().hex}"
    with contextlib.suppress(OSError):  # a read-only cache works too
        if not file.is_file() or file.read_bytes() != commit.encode():
            try:
                part.write_bytes(commit.encode())
                file.parent.mkdir(parents=True, exist_ok=True)
                part.replace(file)
            finally:
                part.unlink(missing_ok=True)


def known_commit(storage: Path, revision: str | None) -> str:
    """Return a sentence on which commit is in the cache, and how to use it."""
    commit = cached_commit(storage, revision)
    if commit is None or missing_files(storage / "snapshots" / commit)[0]:
        return "It is not in the cache; try again later."
    times = [(storage / "snapshots" / commit).stat().st_mtime]
    with contextlib.suppress(OSError):
        times.append((storage / "refs" / (revision or "main")).stat().st_mtime)
    return (
        f"Commit {commit[:8]} from {datetime.fromtimestamp(max(times)):%Y-%m-%d} is cached; to use "
        f"it, give revision='{commit}' or offline=True."
    )


def _cached_entries(storage: Path) -> str:
    """Return a sentence on what the cache holds instead."""
    here = sorted({path.parent.name for path in storage.glob("snapshots/*/manifest.json")})
    if here:
        return f"Its cached commits: {', '.join(here[:5])}."
    found = storage.parent.glob("models--*/snapshots/*/manifest.json")
    names = sorted({path.parts[-4][len("models--") :].replace("--", "/", 1) for path in found})
    return f"Cached entries: {', '.join(names[:10]) or 'none'}."


def cached_problems(cache_dir: str | Path | None = None) -> list[tuple[Path, str]]:
    """Search the cache for what interrupted downloads of packages left behind.

    Returns:
        Pairs of a path and its problem. If the problem begins with ``left over``, the path is a
        file that is not needed and has not been touched by a download for an hour.
    """
    found = []
    cache = Path(cache_dir or constants.HF_HUB_CACHE).expanduser()
    for storage in sorted(cache.glob("models--*")):
        snapshots = [path for path in sorted(storage.glob("snapshots/*")) if _is_ours(path)]
        if snapshots:
            parts = [*storage.glob("blobs/*.incomplete"), *storage.glob(".ref-*")]
            old = [path for path in parts if time.time() - path.stat().st_mtime > STALE]
            found += [(path, "left over from an interrupted download") for path in sorted(old)]
        for snapshot in snapshots:
            missing, count = missing_files(snapshot)
            if missing and missing != [WEIGHTS]:  # reading the description does not fetch weights
                found.append((snapshot, f"{len(missing)} of {count} files missing"))
    return found


def _is_ours(snapshot: Path) -> bool:
    with contextlib.suppress(OSError, ZooError, AttributeError):
        stated = read_json(snapshot / "config.json", "").get("format")
        return (snapshot / "manifest.json").is_file() or stated == FORMAT
    return (snapshot / "manifest.json").is_file()
