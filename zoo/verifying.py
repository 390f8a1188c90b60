"""Checking an entry's integrity and its outputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo import sources
from zoo.errors import IntegrityError, ZooError
from zoo.fingerprint import compare, read_golden
from zoo.model import assemble
from zoo.refs import Access


@dataclass(frozen=True, slots=True)
class Report:
    """What :func:`verify` found."""

    ok: bool  # no problems
    digest: str  # of the package; empty if it could not be opened
    problems: list[str]  # one line each
    checked: int  # number of files
    differences: dict[str, float]  # with ``deep``: stage -> maximum difference from stored values


def verify(
    ref: str | Path, *, against: str = "manifest", deep: bool = False, **access: Any
) -> Report:
    """Check every byte of an entry, and with ``deep`` that its outputs have not changed.

    Args:
        ref: as for ``zoo.load``.
        against: "manifest", or "hub" to compare also with the files that the Hub lists for that
            commit.
        deep: build it, load it strictly, and compare the outputs for the stored input.
        **access: as for ``zoo.load``.

    Raises:
        ZooError: the entry does not exist, or cannot be fetched. Damage is reported, not raised.
    """
    if against not in ("manifest", "hub"):
        raise ValueError(f"against must be 'manifest' or 'hub', not {against!r}.")
    how = Access(**access)
    try:
        found = sources.locate(ref, how)
    except IntegrityError as error:
        return Report(False, "", [str(error)], 0, {})
    problems: list[str] = []
    differences: dict[str, float] = {}
    if against == "hub":
        from zoo import hub

        if found.repo_id is None or found.commit is None:
            problems.append(f"{ref} does not come from the Hub.")
        else:
            problems += hub.verify_remote(found.repo_id, found.commit, found.package, how.token)
    if deep:
        try:
            golden, tolerance = read_golden(found.package.golden)
            differences = compare(assemble(found.package), golden)
            if not any("landmarks" in stage for stage in differences):
                problems.append("golden.safetensors has no landmarks to compare with.")
        except ZooError as error:
            problems.append(str(error))
        except Exception as error:  # running a described model may raise anything
            problems.append(str(IntegrityError(f"it cannot run: {type(error).__name__}: {error}")))
        else:
            problems += [
                f"{stage} differs by {value:.3g} from the stored value (allowed {tolerance:g}): "
                "architecture or preprocessing has changed."
                for stage, value in differences.items()
                if not value <= tolerance
            ]
    checked = len(found.package.manifest["files"]) + 1
    return Report(not problems, found.package.digest, problems, checked, differences)
