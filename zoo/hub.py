"""The Hugging Face Hub: revisions, downloads, publications.

A revision is resolved to a commit once, and only that commit is fetched. The client compares only
sizes, so callers of :func:`fetch` must check the package afterwards. Publishing makes one commit,
which fails if the branch has moved since it was read.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import huggingface_hub as hf
from huggingface_hub import constants

from zoo import cache, errors, schema
from zoo.client import MAX_ANSWER, asking, bars, foreign, list_tree, of_package, same, status_of
from zoo.errors import HubUnreachableError, IntegrityError, PublishConflictError, ZooError
from zoo.index import Entry
from zoo.package import PATTERNS, PICKLES, Package, check_publishable, open_package
from zoo.refs import Access

LIBRARY_TAG = "keypoint-zoo"
TIMEOUT = 30.0  # seconds that the Hub may take to answer about a revision


def is_offline(offline: bool | None = None) -> bool:
    """Return ``offline``, or if it is None, whether HF_HUB_OFFLINE is set."""
    return bool(constants.HF_HUB_OFFLINE) if offline is None else offline


def resolve(repo_id: str, access: Access) -> str:
    """Ask the Hub, once, for the commit of a revision; a full commit needs no request.

    Raises:
        UnknownEntryError: the repository or revision does not exist.
        AccessError: this account does not have access.
        HubUnreachableError: the Hub does not respond; the text names an older commit in the cache,
            if any.
    """
    revision, token = access.revision, access.token
    storage = cache.folder_of(repo_id, revision, access.cache_dir)
    if revision and cache.is_commit(revision):
        return revision
    try:
        with asking(repo_id, revision, token):
            info = hf.repo_info(repo_id, revision=revision, timeout=TIMEOUT, token=token)
    except HubUnreachableError as error:
        raise HubUnreachableError(
            f"Cannot look up '{revision or 'main'}' of {repo_id}: {error} "
            f"{cache.known_commit(storage, revision)}"
        ) from error.__cause__
    return _checked(repo_id, info.sha)


def _checked(repo_id: str, commit: Any) -> str:
    if not isinstance(commit, str) or not cache.is_commit(commit):
        raise foreign(f"it returned {commit!r:.60} for {repo_id}, which is not a commit")
    return commit


def fetch(repo_id: str, access: Access, *, weights: bool = True) -> tuple[Path, str]:
    """Return a package's folder in the Hub client's cache; its content is not checked yet.

    Missing files are downloaded: all of them with ``weights``, otherwise all but the weights.

    Returns:
        The folder, and its commit.

    Raises:
        ZooError: it is unavailable; see the classes in ``zoo.errors``.
    """
    revision, token = access.revision, access.token
    storage = cache.folder_of(repo_id, revision, access.cache_dir)
    if is_offline(access.offline):
        return cache.from_cache(repo_id, revision, storage, weights)
    commit = resolve(repo_id, access)
    snapshot = storage / "snapshots" / commit
    if access.force or cache.missing_files(snapshot, weights)[0]:
        patterns = [path for path in PATTERNS if weights or path != cache.WEIGHTS]
        # raises for files that must not be written
        most = max(2 * MAX_ANSWER, *remote_files(repo_id, commit, token).values())
        for attempts in (2, 1, 0):
            try:
                with asking(repo_id, commit, token, most=most), bars(access.progress):
                    hf.snapshot_download(
                        repo_id,
                        revision=commit,
                        cache_dir=storage.parent,
                        token=token,
                        allow_patterns=patterns,
                        force_download=access.force,
                    )
                break
            except HubUnreachableError as error:
                if not attempts or status_of(error.__cause__) is not None:
                    raise HubUnreachableError(
                        f"Cannot fetch {repo_id} at {commit[:8]}: {error} Try again later; "
                        "complete files are kept."
                    ) from error.__cause__
                # a connection was lost; older clients do not recover on their own
    if commit != revision:
        cache.remember(storage, revision or "main", commit)
    return snapshot, commit


def remote_files(repo_id: str, commit: str, token: str | None = None) -> dict[str, int]:
    """Return file -> bytes for the package at a commit.

    Raises:
        UnsafeWeightsError: there are only pickled weights.
        UnknownEntryError: it is not a package.
        IntegrityError: there are too many files, or paths that lead out of the folder.
    """
    tree = list_tree(repo_id, commit, token)
    pickles = [path for path in tree if any(fnmatchcase(path, kind) for kind in PICKLES)]
    if pickles and cache.WEIGHTS not in tree:
        raise errors.UnsafeWeightsError(
            f"{repo_id} has only pickled weights ({', '.join(pickles[:3])}), which are never "
            "loaded. Their owner can convert them offline: keypoint-zoo convert SOURCE FILE "
            "--license L --out DIR."
        )
    if "manifest.json" not in tree:
        raise errors.UnknownEntryError(
            f"{repo_id} at {commit[:8]} is not a package of keypoint-zoo: it has no manifest.json."
        )
    return {path: file.size for path, file in tree.items() if of_package(path)}


def is_cached(repo_id: str, commit: str, cache_dir: str | Path | None = None) -> bool:
    """Return whether all files of a package at a full commit are in the cache."""
    return not cache.missing_files(
        cache.folder_of(repo_id, commit, cache_dir) / "snapshots" / commit
    )[0]


def verify_remote(
    repo_id: str, commit: str, package: Package, token: str | None = None
) -> list[str]:
    """Compare a package with a commit on the Hub, and return a line per difference."""
    where = f"{repo_id} at {commit[:8]}"
    content, tree = _content(package), list_tree(repo_id, commit, token)
    problems = [f"{path}: not in {where}" for path in content if path not in tree]
    for path, file in tree.items():
        if path not in content:
            problems += [f"{path}: only in {where}"] if of_package(path) else []
        elif not same(file, content[path]):
            problems.append(f"{path}: differs from {where} ({file.size} bytes there)")
    return sorted(problems)


def list_hub(token: str | None = None) -> list[Entry]:
    """Ask the Hub for the repositories with our tag; ``token`` replaces the stored one."""
    entries = []
    with asking("the list of models", None, token, listing=True):
        for info in hf.list_models(filter=LIBRARY_TAG, limit=1000, full=True, token=token):
            tags = [tag.partition(":") for tag in info.tags or ()]
            said = {key: value for key, _, value in reversed(tags) if value}
            if not schema.is_repo_id(info.id) or not isinstance(info.pipeline_tag or "", str):
                raise foreign(f"it lists {info.id!r:.60}")
            entry = Entry(
                name=f"hf:{info.id}",
                task=info.pipeline_tag or "",
                architecture="",
                dataset=said.get("dataset", ""),
                summary="",
                license=said.get("license"),
                weights="hub",
                how=f"zoo.load('hf:{info.id}')",
                provider="the Hub",
                repo_id=info.id,
                commit=info.sha,
            )
            entries.append(entry)
    return entries


@dataclass(frozen=True, slots=True)
class Pushed:
    """What :func:`push` published, or would publish."""

    repo_id: str
    commit: str  # with the package; empty after a dry run that would make one
    url: str  # of the commit, the pull request or the repository
    files: dict[str, int]  # file sent -> bytes; unchanged files are not sent again
    visibility: str  # private or public
    changed: bool  # whether a commit was made, or would be
    deleted: tuple[str, ...] = ()  # files of the old package that the new one does not have


@dataclass(frozen=True, slots=True)
class _Head:
    """The head of a branch; no commit means that the repository does not exist or is hidden."""

    repo_id: str
    branch: str | None
    token: str | None
    commit: str = ""
    private: bool = True
    new_branch: bool = False
    tree: dict[str, Any] = field(default_factory=dict)  # path -> the client's description


def push(
    source: str | Path,
    repo_id: str,
    *,
    private: bool | None = None,
    branch: str | None = None,
    tag: str | None = None,
    create_pr: bool = False,
    parent: str | None = None,
    message: str | None = None,
    dry_run: bool = False,
    token: str | None = None,
    announce: Callable[[str], None] | None = None,
) -> Pushed:
    """Publish a package as one commit; what others publish in the meantime is not overwritten.

    Publishing the same package again changes nothing, so after an interruption just repeat it.
    Files of the repository that do not belong to a package are left alone.

    Args:
        source: folder of the package.
        repo_id: ``owner/name``; created if missing.
        private: visibility of a new repository, private by default; an existing repository must
            have the visibility given here, if any.
        branch: instead of main; created from main if missing.
        tag: tag for the commit; must not exist yet.
        create_pr: open a pull request instead.
        parent: the commit that you started from, if not the current head.
        message: first line of the commit message.
        dry_run: only return what would be sent; the whole package, if the Hub cannot be reached.
        token: instead of the stored one.
        announce: called with one line, visibility and address, before anything is sent; and with
            another line if the Hub cannot be reached.

    Raises:
        PublishRefusedError: the package cannot be published, or the Hub refuses it.
        PublishConflictError: the repository has changed in the meantime, or the tag exists.
        AccessError, HubUnreachableError: the Hub refuses the account, or does not respond.
    """
    cache.folder_of(repo_id, branch, None)
    cache.folder_of(repo_id, tag, None)
    if create_pr and tag:
        raise errors.PublishRefusedError("a pull request cannot have a tag. Leave out one of them.")
    package = open_package(source)
    check_publishable(package)
    content = _content(package)
    address, new = f"{constants.ENDPOINT}/{repo_id}", "New "
    try:
        head = _head(repo_id, branch, token)
    except HubUnreachableError as error:
        if not dry_run:
            raise
        head, parent, new = _Head(repo_id, branch, token), None, ""
        if announce is not None:
            announce(f"{error} So it is unknown whether {address} exists, and what it contains.")
    _check_visibility(head, private)
    if parent is not None and not head.commit:
        raise PublishConflictError(f"{repo_id} does not exist, so it has no commit {parent[:8]}.")
    if parent is not None and not (len(parent) >= 7 and head.commit.startswith(parent)):
        raise _conflict(repo_id, parent, head.commit)
    files, deleted = _difference(content, head)
    tagged = _tagged(repo_id, tag, token) if tag and head.commit else None
    if tagged and (files or deleted or tagged != head.commit):
        raise PublishConflictError(
            f"Tag '{tag}' of {repo_id} already exists, at {tagged[:8]}. Nothing was published. "
            "Choose another tag."
        )
    hidden = head.private if head.commit else private is not False
    visibility = "private" if hidden else "public"
    if announce is not None:
        announce(
            f"{'' if head.commit else new}{visibility} repository {address}, "
            f"{'pull request to ' if create_pr else ''}branch {branch or 'main'}: "
            f"{len(files)} files, {sum(files.values()) / 1e6:.1f} MB"
            + (f"; deletes {', '.join(deleted)}" if deleted else "")
            + (f"; tag {tag}" if tag else "")
        )
    if dry_run:
        changed = bool(files or deleted)
        known = "" if changed else head.commit
        return Pushed(repo_id, known, address, files, visibility, changed, deleted)
    if not head.commit:
        with asking(repo_id, None, token):
            hf.create_repo(repo_id, private=hidden, exist_ok=True, token=token)
        head = _head(repo_id, branch, token)
        if not head.commit:
            raise HubUnreachableError(f"{address} was created but is not visible yet. Push again.")
        _check_visibility(head, hidden)  # somebody else may just have created it
        files, deleted = _difference(content, head)
    commit, url = head.commit, f"{address}/commit/{head.commit}"
    if files or deleted:
        if head.new_branch and branch:
            with asking(repo_id, branch, token):
                hf.create_branch(
                    repo_id, branch=branch, revision=head.commit, exist_ok=True, token=token
                )
        operations: list[Any] = [hf.CommitOperationAdd(path, content[path]) for path in files]
        operations += [hf.CommitOperationDelete(path, is_folder=False) for path in deleted]
        title = message or f"Publish {package.config['name']} ({package.digest[:8]})"
        commit, url = _commit(head, operations, content, title, create_pr)
    if tag and not tagged:
        try:
            with asking(repo_id, commit, token):
                hf.create_tag(repo_id, tag=tag, revision=commit, token=token)
        except ZooError as error:
            raise type(error)(
                f"{repo_id} is published as {commit[:8]}, but without the tag '{tag}': {error} "
                "Push again to set the tag."
            ) from error.__cause__
    return Pushed(repo_id, commit, url, files, visibility, bool(files or deleted), deleted)


def _content(package: Package) -> dict[str, bytes]:
    """Read the files again, and make sure that what is sent is what was checked."""
    content = {"manifest.json": schema.canonical(package.manifest)}
    for path, stated in package.manifest["files"].items():
        with contextlib.suppress(OSError):
            content[path] = (package.root / path).read_bytes()
        if hashlib.sha256(content.get(path, b"")).hexdigest() != stated["sha256"]:
            raise IntegrityError(
                f"{package.root} changed while it was being read ({path}). Nothing was sent; try "
                "again."
            )
    return content


def _head(repo_id: str, branch: str | None, token: str | None) -> _Head:
    new_branch = False
    with asking(repo_id, branch, token):
        try:
            info = hf.repo_info(repo_id, revision=branch, timeout=TIMEOUT, token=token)
        except hf.errors.RevisionNotFoundError:
            new_branch = True
            info = hf.repo_info(repo_id, timeout=TIMEOUT, token=token)
        except hf.errors.GatedRepoError:
            raise  # a subclass of the next one
        except hf.errors.RepositoryNotFoundError:
            return _Head(repo_id, branch, token)
    commit, private = _checked(repo_id, info.sha), bool(info.private)
    tree = list_tree(repo_id, commit, token)
    return _Head(repo_id, branch, token, commit, private, new_branch, tree)


def _check_visibility(head: _Head, private: bool | None) -> None:
    if head.commit and private not in (None, head.private):
        raise errors.PublishRefusedError(
            f"{head.repo_id} exists and is {'private' if head.private else 'public'}, which "
            f"publishing does not change. Change it at {constants.ENDPOINT}/{head.repo_id}/"
            "settings, or leave out the visibility."
        )


def _tagged(repo_id: str, tag: str, token: str | None) -> str | None:
    with asking(repo_id, tag, token), contextlib.suppress(hf.errors.RevisionNotFoundError):
        info = hf.repo_info(repo_id, revision=tag, timeout=TIMEOUT, token=token)
        return _checked(repo_id, info.sha)
    return None


def _difference(
    content: Mapping[str, bytes], head: _Head
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return the files to send -> bytes, and those to delete."""
    tree = head.tree
    new = [path for path in content if path not in tree or not same(tree[path], content[path])]
    deleted = (path for path in tree if of_package(path) and path not in content)
    return {path: len(content[path]) for path in new}, tuple(sorted(deleted))


def _commit(
    head: _Head, operations: list[Any], content: Mapping[str, bytes], title: str, create_pr: bool
) -> tuple[str, str]:
    """Make the commit; if the response is lost, check whether it was made before failing."""
    repo_id, branch, token = head.repo_id, head.branch, head.token
    try:
        with asking(repo_id, branch, token), bars(None):
            info = hf.create_commit(
                repo_id,
                operations,
                commit_message=title,
                revision=branch,
                create_pr=create_pr,
                parent_commit=head.commit,
                token=token,
            )
        return str(info.oid), str(info.pr_url or info.commit_url)
    except (HubUnreachableError, PublishConflictError) as error:
        lost, cause = error, error.__cause__
    now = _Head(repo_id, branch, token)
    with contextlib.suppress(ZooError):
        now = _head(repo_id, branch, token)
    if not now.commit or create_pr:
        raise HubUnreachableError(
            f"{lost} It is unknown whether the commit was made. Push again: if it was, that "
            f"changes nothing{' (but look for the pull request first)' if create_pr else ''}."
        ) from cause
    if now.commit != head.commit and _difference(content, now) == ({}, ()):
        return now.commit, f"{constants.ENDPOINT}/{repo_id}/commit/{now.commit}"
    if now.commit != head.commit:
        raise _conflict(repo_id, head.commit, now.commit) from cause
    raise HubUnreachableError(
        f"{lost} Nothing was published: {branch or 'main'} is still at {head.commit[:8]}. Push "
        "again."
    ) from cause


def _conflict(repo_id: str, was: str, now: str) -> PublishConflictError:
    return PublishConflictError(
        f"{repo_id} has changed since you started (was {was[:8]}, is {now[:8]}). Nothing was "
        "published. Pull, compare and push again, or open a pull request."
    )
