"""From a reference to a checked package folder, wherever it is."""

from __future__ import annotations

import dataclasses
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo import folder, index, package, schema
from zoo.errors import (
    IntegrityError,
    NoWeightsError,
    UnknownEntryError,
    ZooError,
)
from zoo.index import Entry
from zoo.package import Package
from zoo.refs import Reference, parse

log = logging.getLogger("keypoint_zoo")


@dataclass(frozen=True, slots=True)
class Located:
    """A package, and how it was found.

    Attributes:
        entry: its row of the index; made from the package where there is none.
        package: checked.
        repo_id, commit: on the Hub; None for others.
    """

    entry: Entry
    package: Package
    repo_id: str | None = None
    commit: str | None = None


def entry_of(ref: str | Path, revision: str | None = None) -> Entry | None:
    """Return the index row of a name; None for folders and repositories."""
    reference = parse(ref, revision)
    if reference.kind != "name":
        return None
    entry = index.find(reference.value)
    if reference.revision is not None and entry.repo_id is None:
        raise _no_revision(entry, reference.revision)
    return entry


def locate(
    ref: str | Path,
    *,
    revision: str | None = None,
    offline: bool | None = None,
    cache_dir: str | Path | None = None,
    token: str | None = None,
    progress: bool | None = None,
    force: bool = False,
    weights: bool = True,
) -> Located:
    """Find, fetch if need be, and check the package a reference names.

    Args:
        ref, revision, offline, cache_dir, token, progress: as for ``zoo.load``.
        force: fetch again what is in the cache.
        weights: also fetch and check the weights.

    Raises:
        ZooError: there is none, it cannot be had, or it is damaged.
    """
    reference = parse(ref, revision)
    if reference.kind == "dir":
        found = package.open_package(reference.value, weights=weights)
        return Located(describe(found), found)
    entry, repo_id, wanted = None, reference.value, reference.revision
    if reference.kind == "name":
        entry = index.find(reference.value)
        if entry.folder is not None:
            return _bundled(entry, reference, weights)
        if entry.repo_id is None:
            raise NoWeightsError(index.no_weights_text(entry))
        repo_id, wanted = entry.repo_id, wanted or entry.commit
    found, commit = _fetched(repo_id, wanted, offline, cache_dir, token, progress, force, weights)
    pinned = entry.digest if entry is not None and reference.revision is None else None
    if pinned is not None and found.digest != pinned:
        raise IntegrityError(
            f"'{entry.name if entry else repo_id}': {repo_id} at {commit[:8]} has the digest "
            f"{found.digest[:8]}, the index expects {pinned[:8]}. Do not use it."
        )
    entry = entry or describe(found)._replace(weights="hub", repo_id=repo_id)
    return Located(entry, found, repo_id, commit)


def _no_revision(entry: Entry, revision: str) -> UnknownEntryError:
    return UnknownEntryError(
        f"'{entry.name}' of {entry.provider} is not on the Hub and has no revision '{revision}'. "
        "Leave it out."
    )


def _bundled(entry: Entry, reference: Reference, weights: bool) -> Located:
    if reference.revision is not None:
        raise _no_revision(entry, reference.revision)
    assert entry.folder is not None
    found = package.open_package(entry.folder, entry.name, weights=weights)
    if entry.digest is not None and found.digest != entry.digest:
        raise IntegrityError(
            f"'{entry.name}' in {entry.folder} is not the one its index lists. Install "
            f"{entry.provider} again."
        )
    return Located(entry, found)


def _fetched(
    repo_id: str,
    revision: str | None,
    offline: bool | None,
    cache_dir: str | Path | None,
    token: str | None,
    progress: bool | None,
    force: bool,
    weights: bool,
) -> tuple[Package, str]:
    """Fetch and check; what is damaged is fetched once more."""
    from zoo import hub

    for again in (force, True):
        snapshot, commit = hub.fetch(
            repo_id,
            revision,
            offline=offline,
            cache_dir=cache_dir,
            token=token,
            progress=progress,
            force=again,
            weights=weights,
        )
        name = f"{repo_id}@{commit[:8]}"
        # in the cache, a snapshot's files are links to blobs, two folders up
        blobs = (snapshot.parent.parent / "blobs").resolve()
        try:
            return package.open_package(snapshot, name, weights=weights, links=blobs), commit
        except IntegrityError as error:
            if again or hub.is_offline(offline):
                raise
            log.warning("%s Fetching it again.", error)
            revision = commit
    raise AssertionError("unreachable")


def describe(found: Package) -> Entry:
    """Return an entry made from a package alone."""
    config = found.config
    training = config["training"]
    licence = index.licence_of((found.root / "README.md").read_text(errors="replace"))
    return Entry(
        name=config["name"],
        task=config["task"],
        architecture=config["architecture"]["type"],
        dataset=str(training.get("dataset", "")),
        summary="",
        paper="",
        data_licence="",
        paper_results=(),
        results=tuple(found.evaluation["results"]),
        license=licence,
        weights="bundled",
        how="",
        converter=None,
        provider="a folder",
        folder=found.root,
        config=None,
        repo_id=None,
        commit=None,
        digest=found.digest,
    )


@dataclass(frozen=True, slots=True)
class Info:
    """What is known about an entry without loading it.

    Attributes:
        entry: the row of the index.
        config: the package's description; None where no weights are published.
        files: file -> bytes.
        parameters, flops: numbers in the weights; multiply-adds times two of one prediction.
        digest, path, commit: of the package.
        missing: components it needs that are not installed.
    """

    entry: Entry
    config: dict[str, Any] | None = None
    files: dict[str, int] = dataclasses.field(default_factory=dict)
    parameters: int | None = None
    flops: int | None = None
    digest: str | None = None
    path: Path | None = None
    commit: str | None = None
    missing: tuple[str, ...] = ()


def info(
    ref: str | Path,
    *,
    revision: str | None = None,
    offline: bool | None = None,
    cache_dir: str | Path | None = None,
    token: str | None = None,
) -> Info:
    """Describe an entry; reads its small files only, never the weights.

    Raises:
        ZooError: there is no such entry, or its description cannot be had.
    """
    entry = entry_of(ref, revision)
    if entry is not None and entry.weights == "none":
        return Info(entry)
    found = locate(
        ref, revision=revision, offline=offline, cache_dir=cache_dir, token=token, weights=False
    )
    config = found.package.config
    stated = config["weights"]["model.safetensors"]
    return Info(
        entry=found.entry,
        config=config,
        files=sizes(found.package),
        parameters=stated["parameters"],
        flops=stated["flops"],
        digest=found.package.digest,
        path=found.package.root,
        commit=found.commit,
        missing=missing(config),
    )


def missing(config: dict[str, Any]) -> tuple[str, ...]:
    """Return the plugins' components that a package needs and that are not installed."""
    from registry.plugins import plugin_of

    names = (origin["component"] for origin in config["plugins"])
    return tuple(name for name in names if plugin_of(name) is None)


def sizes(found: Package) -> dict[str, int]:
    """Return the size of every file of a package, the manifest's too."""
    files = {path: stated["size"] for path, stated in found.manifest["files"].items()}
    return {**files, "manifest.json": len(schema.canonical(found.manifest))}


@dataclass(frozen=True, slots=True)
class Pulled:
    """What :func:`pull` fetched, or would fetch.

    Attributes:
        path: the package's folder; None after a dry run.
        commit: on the Hub, or None.
        digest: of the package; None after a dry run.
        files: file -> bytes.
    """

    path: Path | None
    commit: str | None
    digest: str | None
    files: dict[str, int]


def pull(
    ref: str | Path,
    *,
    revision: str | None = None,
    dest: str | Path | None = None,
    dry_run: bool = False,
    offline: bool | None = None,
    cache_dir: str | Path | None = None,
    token: str | None = None,
    progress: bool | None = None,
    force: bool = False,
) -> Pulled:
    """Fetch an entry completely and check it; optionally copy it into a folder.

    Args:
        ref, revision, offline, cache_dir, token, progress: as for ``zoo.load``.
        dest: copy it there, atomically; a package that is there is replaced.
        dry_run: only tell what would be fetched.
        force: fetch again what is in the cache.

    Raises:
        ZooError: it cannot be had, or is damaged.
        FileExistsError: ``dest`` holds something else.
    """
    reference = parse(ref, revision)
    entry = index.find(reference.value) if reference.kind == "name" else None
    if dry_run and (reference.kind == "hub" or (entry is not None and entry.repo_id)):
        from zoo import hub

        repo_id = entry.repo_id if entry is not None and entry.repo_id else reference.value
        wanted = reference.revision or (entry.commit if entry is not None else None)
        commit = hub.resolve(repo_id, wanted, token=token)
        return Pulled(None, commit, None, hub.remote_files(repo_id, commit, token))
    found = locate(
        ref,
        revision=revision,
        offline=offline,
        cache_dir=cache_dir,
        token=token,
        progress=progress,
        force=force,
    )
    if dry_run:
        return Pulled(None, found.commit, None, sizes(found.package))
    root = found.package.root
    if dest is not None:
        files = {path: root / path for path in found.package.manifest["files"]}
        folder.write_folder(dest, files, overwrite=True, expected=found.package.digest)
        root = Path(dest)
    return Pulled(root, found.commit, found.package.digest, sizes(found.package))


def doctor(*, fix: bool = False, cache_dir: str | Path | None = None) -> list[str]:
    """Look for what is broken or left over, and return one line per finding.

    Bundled entries and those of plugins are checked byte by byte; in the Hub's cache, what is left
    of interrupted downloads of keypoint-zoo's entries is found, and removed with ``fix``.

    Args:
        fix: remove leftovers. Nothing that loads is ever removed.
        cache_dir: another cache than the Hub client's.
    """
    findings = [f"plugin: {problem}" for problem in index.problems()]
    for entry in index.entries().values():
        if entry.folder is not None:
            try:
                package.open_package(entry.folder, entry.name)
            except ZooError as error:
                findings.append(f"{entry.name}: {error}")
            for path in folder.leftovers(entry.folder):
                findings.append(f"left over: {path}")
                if fix:
                    folder.tidy(entry.folder)
    from zoo import hub

    for path, said in hub.cached_problems(cache_dir):
        findings.append(f"{said}: {path}")
        if fix and said.startswith("left over"):
            os.unlink(path)
    return findings
