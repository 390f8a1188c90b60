"""From a reference to a checked package folder."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo import folder, index, package, schema
from zoo.errors import IntegrityError, NotAPackageError, NoWeightsError, UnknownEntryError, ZooError
from zoo.index import Entry
from zoo.package import Package
from zoo.refs import Access, Reference, parse

log = logging.getLogger("keypoint_zoo")


@dataclass(frozen=True, slots=True)
class Located:
    """A package, and how it was found."""

    entry: Entry  # its row of the index, or made from the package itself
    package: Package  # checked
    repo_id: str | None = None  # on the Hub
    commit: str | None = None


def find(ref: str | Path, revision: str | None = None) -> tuple[Reference, Entry | None]:
    """Return what a reference names, and its index row; None for paths and repositories."""
    reference = parse(ref, revision)
    if reference.kind != "name":
        return reference, None
    entry = index.find(reference.value)
    if reference.revision is not None and entry.repo_id is None:
        raise UnknownEntryError(
            f"'{entry.name}' of {entry.provider} is not on the Hub, so it has no revision "
            f"'{reference.revision}'. Leave out the revision."
        )
    return reference, entry


def locate(ref: str | Path, access: Access | None = None, *, weights: bool = True) -> Located:
    """Find the package that a reference names, fetch it if needed, and check it.

    Args:
        ref: as for ``zoo.load``.
        access: how to fetch it.
        weights: also fetch and check the weights.

    Raises:
        ZooError: it does not exist, is unavailable, or is damaged.
    """
    access = access or Access()
    reference, entry = find(ref, access.revision)
    if reference.kind == "run":
        raise NotAPackageError(
            f"'{ref}' is a run, not a package. Make a package: keypoint-zoo publish "
            f"{_run_folder(reference.value)} --license L. Only zoo.load, predict, evaluate, "
            "animate and export accept runs."
        )
    if reference.kind == "dir":
        found = package.open_package(reference.value, weights=weights)
        return Located(_described(found, "folder"), found)
    if entry is not None and entry.folder is not None:
        found = package.open_package(entry.folder, entry.name, weights=weights)
        if entry.digest not in (None, found.digest):
            raise IntegrityError(
                f"'{entry.name}' in {entry.folder} is not the package that the index lists. "
                f"Reinstall {entry.provider}."
            )
        return Located(entry, found)
    if entry is not None and entry.repo_id is None:
        raise NoWeightsError(index.no_weights_text(entry))
    repo_id, access = _on_hub(reference, entry, access)
    found, commit = _fetched(repo_id, access, weights)
    if entry is None:
        return Located(_described(found, "hub", repo_id), found, repo_id, commit)
    if reference.revision is None and entry.digest not in (None, found.digest):
        raise IntegrityError(
            f"'{entry.name}': {repo_id} at {commit[:8]} has the digest {found.digest[:8]}, but the "
            f"index states {str(entry.digest)[:8]}. Do not use it."
        )
    return Located(entry, found, repo_id, commit)


def _run_folder(path: str) -> Path:
    return Path(path).parent if path.endswith(".pth") else Path(path)


def _on_hub(reference: Reference, entry: Entry | None, access: Access) -> tuple[str, Access]:
    """Return the repository, and the access with the revision to use."""
    pinned = entry.commit if entry is not None else None
    repo_id = entry.repo_id if entry is not None else None
    revision = reference.revision or pinned
    return repo_id or reference.value, dataclasses.replace(access, revision=revision)


def _fetched(repo_id: str, access: Access, weights: bool) -> tuple[Package, str]:
    """Fetch and check a package; if it is damaged, fetch it once more."""
    from zoo import hub

    snapshot, commit = hub.fetch(repo_id, access, weights=weights)

    def opened() -> Package:
        # in the cache, a snapshot's files are links to blobs, two folders up
        blobs = (snapshot.parent.parent / "blobs").resolve()
        return package.open_package(
            snapshot, f"{repo_id}@{commit[:8]}", weights=weights, links=blobs
        )

    try:
        return opened(), commit
    except IntegrityError as error:
        if access.force or hub.is_offline(access.offline):
            raise
        log.warning("%s Fetching it again.", error)
    hub.fetch(repo_id, dataclasses.replace(access, revision=commit, force=True), weights=weights)
    return opened(), commit


def _described(found: Package, weights: Any, repo_id: str | None = None) -> Entry:
    """Return an entry made from a package alone."""
    config = found.config
    return Entry(
        name=config["name"],
        task=config["task"],
        architecture=config["architecture"]["type"],
        dataset=str(config["training"].get("dataset", "")),
        summary="",
        results=tuple(found.evaluation["results"]),
        license=schema.licence_of((found.root / "README.md").read_text("utf-8", "replace")),
        weights=weights,
        provider="a folder" if weights == "folder" else "the Hub",
        folder=found.root,
        repo_id=repo_id,
        digest=found.digest,
    )


@dataclass(frozen=True, slots=True)
class Info:
    """What is known about an entry without loading it."""

    entry: Entry  # its row of the index
    # config.json; None if no weights are published
    config: dict[str, Any] | None = dataclasses.field(default=None, repr=False)
    files: dict[str, int] = dataclasses.field(default_factory=dict)  # file -> bytes
    parameters: int | None = None
    flops: int | None = None  # of one prediction; a multiply-add counts as two
    digest: str | None = None
    path: Path | None = None
    commit: str | None = None
    missing: tuple[str, ...] = ()  # components that it needs and that are not installed


def info(ref: str | Path, **access: Any) -> Info:
    """Describe an entry; reads only its small files, never the weights.

    Args:
        ref: as for ``zoo.load``.
        **access: as for ``zoo.load``.

    Raises:
        ZooError: the entry does not exist, or its description is unavailable.
    """
    how = Access(**access)
    _, entry = find(ref, how.revision)
    if entry is not None and entry.weights == "none":
        return Info(entry)
    found = locate(ref, how, weights=False)
    package, config = found.package, found.package.config
    stated = config["weights"]["model.safetensors"]
    counts = sizes(package), stated["parameters"], stated["flops"]
    where = package.digest, package.root, found.commit
    return Info(found.entry, config, *counts, *where, missing(config))


def missing(config: dict[str, Any]) -> tuple[str, ...]:
    """Return the plugin components that a package needs and that are not installed."""
    from registry.plugins import plugin_of

    names = (origin["component"] for origin in config["plugins"])
    return tuple(name for name in names if plugin_of(name) is None)


def sizes(found: Package) -> dict[str, int]:
    """Return the size of every file of a package, including the manifest."""
    files = {path: stated["size"] for path, stated in found.manifest["files"].items()}
    return {**files, "manifest.json": len(schema.canonical(found.manifest))}


@dataclass(frozen=True, slots=True)
class Pulled:
    """What :func:`pull` fetched, or would fetch."""

    path: Path | None  # the package's folder; None after a dry run
    commit: str | None  # on the Hub
    digest: str | None  # of the package; None after a dry run
    files: dict[str, int]  # file -> bytes


def pull(
    ref: str | Path, *, dest: str | Path | None = None, dry_run: bool = False, **access: Any
) -> Pulled:
    """Fetch an entry completely and check it; optionally copy it into a folder.

    Args:
        ref: as for ``zoo.load``.
        dest: copy it there, atomically; an existing package is replaced.
        dry_run: only return what would be fetched.
        **access: as for ``zoo.load``.

    Raises:
        ZooError: it is unavailable, or damaged.
        FileExistsError: ``dest`` holds something else.
    """
    how = Access(**access)
    reference, entry = find(ref, how.revision) if dry_run else (None, None)
    if reference and (reference.kind == "hub" or (entry is not None and entry.repo_id)):
        from zoo import hub

        repo_id, how = _on_hub(reference, entry, how)
        commit = hub.resolve(repo_id, how)
        return Pulled(None, commit, None, hub.remote_files(repo_id, commit, how.token))
    found = locate(ref, how)
    if dry_run:
        return Pulled(None, found.commit, None, sizes(found.package))
    root = found.package.root
    if dest is not None:
        files = {path: root / path for path in found.package.manifest["files"]}
        folder.write_folder(dest, files, overwrite=True, expected=found.package.digest)
        root = Path(dest)
    return Pulled(root, found.commit, found.package.digest, sizes(found.package))


def doctor(
    below: str | Path | None = None, *, fix: bool = False, cache_dir: str | Path | None = None
) -> list[str]:
    """Find what is broken or left over, and return one line per finding.

    Bundled entries and those of plugins are checked byte by byte. In the Hub's cache, leftovers of
    interrupted downloads of keypoint-zoo packages are found; below a folder, what killed commands
    left: temporary files, packages half written, claims. With ``fix`` they are removed, but never
    what a command that still runs is writing, on whatever machine.

    Args:
        below: a folder of runs, packages or results.
        fix: remove leftovers; never anything that loads.
        cache_dir: instead of the Hub client's cache.

    Raises:
        NotADirectoryError: ``below`` is not a folder.
    """
    findings = [f"plugin: {problem}" for problem in index.problems()]
    unfinished: list[Path] = []
    for entry in index.entries().values():
        if entry.folder is not None:
            try:
                package.open_package(entry.folder, entry.name)
            except ZooError as error:
                findings.append(f"{entry.name}: {error}")
            unfinished.append(entry.folder)
    if below is not None:
        if not Path(below).is_dir():
            raise NotADirectoryError(f"'{below}' is not a folder. Give one to look through.")
        unfinished += folder.unfinished(Path(below))
    for dest in unfinished:
        findings += [f"left over: {path}" for path in folder.leftovers(dest)]
        if fix and folder.leftovers(dest):
            folder.tidy(dest)
    if below is not None:
        from registry.atomic import leftovers

        findings += [f"left over: {path}" for path in leftovers(below, remove=fix)]
        for path in _mmengine(Path(below)):
            findings.append(f"left over: {path}")
            if fix:
                shutil.rmtree(path, ignore_errors=True)
    from zoo.cache import cached_problems

    for file, said in cached_problems(cache_dir):
        findings.append(f"{said}: {file}")
        if fix and said.startswith("left over"):
            os.unlink(file)
    return findings


def _mmengine(top: Path) -> list[Path]:
    """Return the empty folders that trainings with former versions left when they were killed.

    mmengine, whose own users have folders of these names, writes a log into them; ours is empty.
    """
    found = []
    for at, names, _ in os.walk(top):
        for name in filter(re.compile(r"\d{8}_\d{6}").fullmatch, sorted(names)):
            path = Path(at, name)
            files = {file for file in path.rglob("*") if not file.is_dir()}
            log = path / f"{name}.log"
            if files <= {log, path / "vis_data" / "config.py"} and log in files:
                found += [] if log.stat().st_size else [path]
    return found
