"""What is asked for: a zoo name, a Hub repository, a package, a run or a checkpoint; and how."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from zoo.errors import AmbiguousReferenceError
from zoo.index import is_known
from zoo.schema import is_repo_id

FORMS = (
    "a name of the zoo, hf:owner/name for a Hub repository, or the path of a package, of a run's "
    "folder or of its checkpoint (.pth)"
)
CHECKPOINTS = ("last.pth", "best.pth")  # of a run's folder; the first that is there is taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How a package is fetched: the keywords of every function that takes a reference."""

    revision: str | None = None  # branch, tag or commit, if not in the reference
    offline: bool | None = None  # never ask the Hub; None follows HF_HUB_OFFLINE
    cache_dir: str | Path | None = None  # another cache than the Hub client's
    token: str | None = None  # of the Hub; None for the one that is logged in
    progress: bool | None = None  # show downloads; None on a terminal only
    force: bool = False  # fetch again what is in the cache


class Reference(NamedTuple):
    """What a reference names."""

    kind: Literal["name", "hub", "dir", "run"]  # entry of the index, Hub, package folder, or run
    value: str  # the name, owner/name, or the path; of a run: its folder, or a checkpoint
    revision: str | None  # None for the pinned one of an entry, or the main branch


def parse(ref: str | Path, revision: str | None = None) -> Reference:
    """Tell what a reference names; nothing is looked up on the network.

    A bare name is an entry of the zoo if there is one of that name, else a path.

    Args:
        ref: ``name[@revision]``, ``hf:owner/name[@revision]``, ``dir:path``, or the path of a
            package, of the folder of a run, or of a checkpoint (.pth).
        revision: branch, tag or commit, instead of the one after ``@``.

    Raises:
        AmbiguousReferenceError: it could mean two things, or nothing.

    Example:
        >>> parse("hf:lab/factorized-bbc@v1")
        Reference(kind='hub', value='lab/factorized-bbc', revision='v1')
    """
    if isinstance(ref, os.PathLike):
        return _local(os.fspath(ref), revision)
    if not isinstance(ref, str):
        raise AmbiguousReferenceError(f"{ref!r} is not a reference. Write {FORMS}.")
    if ref.startswith("dir:"):
        return _local(os.path.expanduser(ref.removeprefix("dir:")), revision)
    value, at, own = ref.partition("@")
    path = os.path.expanduser(ref)
    # of repositories there is no doubt; names of the zoo come before paths
    if not ref.startswith("hf:") and not is_known(value) and _is_model(path):
        return _local(path, revision)
    if at and not own:
        raise AmbiguousReferenceError(f"'{ref}' has no revision after the @. Name one, or drop it.")
    if own and revision is not None and own != revision:
        raise AmbiguousReferenceError(
            f"'{ref}' names the revision '{own}', revision= names '{revision}'. Give one of them."
        )
    revision = own or revision
    if value.startswith("hf:"):
        repo_id = value.removeprefix("hf:").removeprefix("//")
        if not is_repo_id(repo_id):
            raise AmbiguousReferenceError(
                f"'{ref}' names no Hub repository: write hf:owner/name or hf:owner/name@revision "
                "(letters, digits, '.', '_', '-'), or dir:path for a folder."
            )
        return Reference("hub", repo_id, revision)
    _check_bare(value, ref)
    return Reference("name", value, revision)


def is_run(path: str | Path) -> bool:
    """Tell whether a path is the folder of a run, or a checkpoint of one."""
    path = Path(path)
    if path.suffix == ".pth":
        return not path.is_dir()
    files = ("manifest.json", "model.safetensors")  # of packages, whole or not
    there = (path / "config.json").is_file()
    return there and not any((path / name).exists() for name in files)


def _is_model(path: str) -> bool:
    return is_run(path) or os.path.isfile(os.path.join(path, "manifest.json"))


def _local(path: str, revision: str | None) -> Reference:
    if not path:
        raise AmbiguousReferenceError("'dir:' names no folder. Write dir:path, dir:. for this one.")
    if revision is not None:
        raise AmbiguousReferenceError(
            f"the folder '{path}' has no revisions, so not '{revision}'. Leave it out, or write "
            "hf:owner/name for a Hub repository."
        )
    return Reference("run" if is_run(path) else "dir", path, None)


def _check_bare(value: str, ref: str) -> None:
    """Refuse what is not, or not clearly, meant as a name of the zoo."""
    if not value or value != value.strip() or ":" in value:
        raise AmbiguousReferenceError(f"'{ref}' is not a reference. Write {FORMS}.")
    if value.endswith((".py", ".json")):
        raise AmbiguousReferenceError(
            f"'{ref}' is a config, which has no weights. Give the folder of its run, or a "
            "checkpoint (.pth)."
        )
    if os.path.isdir(value) and not is_known(value):
        raise AmbiguousReferenceError(
            f"the folder '{value}' holds neither a package (manifest.json) nor a run (config.json "
            f"and {' or '.join(CHECKPOINTS)}), and no entry of the zoo has that name. Give "
            f"{FORMS}."
        )
    if is_repo_id(value):
        raise AmbiguousReferenceError(
            f"nothing is at '{value}'. Write 'hf:{ref}' for a Hub repository; else give {FORMS}."
        )
    if "/" in value or "\\" in value:
        raise AmbiguousReferenceError(f"nothing is at '{value}'. Write {FORMS}.")
