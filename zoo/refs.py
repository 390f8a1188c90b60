"""What is asked for: a zoo name, a Hub repository or a folder, never two at once; and how."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from zoo.errors import AmbiguousReferenceError
from zoo.index import is_known
from zoo.schema import is_repo_id

FORMS = "a name of the zoo, hf:owner/name for a Hub repository, or dir:path for a folder"


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

    kind: Literal["name", "hub", "dir"]  # entry of the index, Hub repository, or folder
    value: str  # the name, owner/name, or the path
    revision: str | None  # None for the pinned one of an entry, or the main branch


def parse(ref: str | Path, revision: str | None = None) -> Reference:
    """Tell what a reference names; nothing is looked up on the network.

    A bare name is always an entry of the zoo, even where a folder of that name exists.

    Args:
        ref: ``name[@revision]``, ``hf:owner/name[@revision]``, ``dir:path``, or a path object.
        revision: branch, tag or commit, instead of the one after ``@``.

    Raises:
        AmbiguousReferenceError: it could mean two things, or nothing.

    Example:
        >>> parse("hf:lab/factorized-bbc@v1")
        Reference(kind='hub', value='lab/factorized-bbc', revision='v1')
    """
    if isinstance(ref, os.PathLike):
        return _folder(os.fspath(ref), revision)
    if not isinstance(ref, str):
        raise AmbiguousReferenceError(f"{ref!r} is not a reference. Write {FORMS}.")
    if ref.startswith("dir:"):
        return _folder(os.path.expanduser(ref.removeprefix("dir:")), revision)
    value, at, own = ref.partition("@")
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


def _folder(path: str, revision: str | None) -> Reference:
    if not path:
        raise AmbiguousReferenceError("'dir:' names no folder. Write dir:path, dir:. for this one.")
    if revision is not None:
        raise AmbiguousReferenceError(
            f"the folder '{path}' has no revisions, so not '{revision}'. Leave it out, or write "
            "hf:owner/name for a Hub repository."
        )
    return Reference("dir", path, None)


def _check_bare(value: str, ref: str) -> None:
    """Refuse what is not, or not clearly, meant as a name of the zoo."""
    if not value or value != value.strip() or ":" in value:
        raise AmbiguousReferenceError(f"'{ref}' is not a reference. Write {FORMS}.")
    there = os.path.isdir(value)
    if "/" in value or "\\" in value:
        here = " (a folder of that name exists here)" if there else ""
        if is_repo_id(value):
            raise AmbiguousReferenceError(
                f"'{ref}' could be a Hub repository or a folder{here}. Write 'hf:{ref}' or "
                f"'dir:{value}'."
            )
        raise AmbiguousReferenceError(
            f"'{ref}' is not a name of the zoo{here}. Write 'dir:{value}' for a folder, or "
            "hf:owner/name for a Hub repository."
        )
    if there and not is_known(value):
        raise AmbiguousReferenceError(
            f"'{ref}' is not a name of the zoo, but a folder of that name exists here. Write "
            f"'dir:{value}', or hf:owner/name for a Hub repository."
        )
