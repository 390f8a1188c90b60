"""References to models: a zoo name, a Hub repository, a package, a run or a checkpoint."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from zoo.errors import AmbiguousReferenceError
from zoo.index import is_known
from zoo.schema import is_repo_id

FORMS = (
    "the name of a zoo entry, hf:owner/name for a Hub repository, or the path of a package, of a "
    "run's folder or of its checkpoint (.pth)"
)
CHECKPOINTS = ("last.pth", "best.pth")  # of a run's folder; the first one found is used


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How a package is fetched: the keyword arguments of every function that takes a reference."""

    revision: str | None = None  # branch, tag or commit, if not in the reference
    offline: bool | None = None  # never ask the Hub; None follows HF_HUB_OFFLINE
    cache_dir: str | Path | None = None  # instead of the Hub client's cache
    token: str | None = None  # for the Hub; None for the stored one
    progress: bool | None = None  # show downloads; None: only on a terminal
    force: bool = False  # fetch again even if cached


class Reference(NamedTuple):
    """What a reference names."""

    kind: Literal["name", "hub", "dir", "run"]  # entry of the index, Hub, package folder, or run
    value: str  # the name, owner/name or path; for a run, its folder or a checkpoint
    revision: str | None  # None for an entry's pinned one, or the main branch


def parse(ref: str | Path, revision: str | None = None) -> Reference:
    """Parse a reference without using the network.

    A bare name is that of a zoo entry if it exists, otherwise a path.

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
    # repositories are never ambiguous; zoo names have priority over paths
    if not ref.startswith("hf:") and not is_known(value) and _is_model(path):
        return _local(path, revision)
    if at and not own:
        raise AmbiguousReferenceError(f"'{ref}' has no revision after the @. Add one, or drop it.")
    if own and revision is not None and own != revision:
        raise AmbiguousReferenceError(
            f"'{ref}' names the revision '{own}', but revision= is '{revision}'. Give only one."
        )
    revision = own or revision
    if value.startswith("hf:"):
        repo_id = value.removeprefix("hf:").removeprefix("//")
        if not is_repo_id(repo_id):
            raise AmbiguousReferenceError(
                f"'{ref}' is not a valid Hub reference. Write hf:owner/name or "
                "hf:owner/name@revision (letters, digits, '.', '_', '-'), or dir:path for a folder."
            )
        return Reference("hub", repo_id, revision)
    _check_bare(value, ref)
    return Reference("name", value, revision)


def is_run(path: str | Path) -> bool:
    """Return whether a path is the folder or a checkpoint of a run."""
    path = Path(path)
    if path.suffix == ".pth":
        return not path.is_dir()
    files = ("manifest.json", "model.safetensors")  # of packages, complete or not
    there = (path / "config.json").is_file()
    return there and not any((path / name).exists() for name in files)


def _is_model(path: str) -> bool:
    return is_run(path) or os.path.isfile(os.path.join(path, "manifest.json"))


def _local(path: str, revision: str | None) -> Reference:
    if not path:
        raise AmbiguousReferenceError(
            "'dir:' has no path. Write dir:path, or dir:. for the current folder."
        )
    if revision is not None:
        raise AmbiguousReferenceError(
            f"the folder '{path}' cannot have the revision '{revision}'. Leave out the revision, "
            "or write hf:owner/name for a Hub repository."
        )
    return Reference("run" if is_run(path) else "dir", path, None)


def _check_bare(value: str, ref: str) -> None:
    """Check that a bare word can only be meant as the name of a zoo entry."""
    if not value or value != value.strip() or ":" in value:
        raise AmbiguousReferenceError(f"'{ref}' is not a reference. Write {FORMS}.")
    if value.endswith((".py", ".json")):
        raise AmbiguousReferenceError(
            f"'{ref}' is a config and has no weights. Give the folder of its run, or a checkpoint "
            "(.pth)."
        )
    if os.path.isdir(value) and not is_known(value):
        raise AmbiguousReferenceError(
            f"the folder '{value}' holds neither a package (manifest.json) nor a run (config.json "
            f"and {' or '.join(CHECKPOINTS)}), and there is no zoo entry of that name. Give "
            f"{FORMS}."
        )
    if is_repo_id(value):
        raise AmbiguousReferenceError(
            f"there is no '{value}'. For a Hub repository write 'hf:{ref}'; otherwise give {FORMS}."
        )
    if "/" in value or "\\" in value:
        raise AmbiguousReferenceError(f"there is no '{value}'. Give {FORMS}.")
