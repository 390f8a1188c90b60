"""What is in the small Hub of the tests, and the faults it has.

Contents are files in a folder, named by their hashes; what a repository is at each commit is kept
in memory.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path

ALICE, BOB = (f"hf_{name}SecretOfTheTests0123456789" for name in ("alice", "bob"))
USERS = {ALICE: "alice", BOB: "bob"}
ATTRIBUTES = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"


@dataclass(frozen=True)
class File:
    oid: str  # git's sha1 of a small file, sha256 of a big one
    size: int
    lfs: bool


@dataclass
class Repo:
    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, File]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)  # branches and tags
    pulls: int = 0


class Hub:
    """What the server knows, and what tests do to it behind the client's back.

    Attributes:
        url: the endpoint.
        other: the same server as another origin.
        log: (method, path, status, host, token) of each request, in order of the answers.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.lock = folder, threading.RLock()
        folder.mkdir(parents=True)
        self.repos: dict[str, Repo] = {}
        self.log: list[tuple[str, str, int, str, str]] = []
        self.faults: list[dict] = []
        self.url = self.other = ""

    def fault(self, match: str, times: int = 1, **what) -> None:
        """Spoil the next ``times`` requests whose ``METHOD path`` matches.

        Args:
            match: a regular expression.
            times: how often.
            **what: ``status`` instead of the work, ``lost`` status after it, ``delay`` seconds,
                ``cut`` the answer after that many bytes, ``flip`` a bit of that byte, ``before``:
                call this first, such as a commit by another; ``raw`` bytes instead of an answer,
                then ``endless`` ones again and again.
        """
        self.faults.append({"match": match, "times": times, **what})

    def spoiled(self, line: str) -> dict:
        with self.lock:
            for fault in self.faults:
                if fault["times"] > 0 and re.search(fault["match"], line):
                    fault["times"] -= 1
                    return fault
        return {}

    def requests(self, match: str = "") -> list[str]:
        """Return ``METHOD path status`` of the logged requests that match."""
        lines = [f"{method} {path} {status}" for method, path, status, _, _ in list(self.log)]
        return [line for line in lines if re.search(match, line)]

    def store(self, path: str, data: bytes) -> File:
        lfs = is_big(path, len(data))
        oid = hashlib.sha256(data).hexdigest() if lfs else git_hash(data)
        part = self.folder / f"{oid}.{threading.get_ident()}"
        part.write_bytes(data)
        part.replace(self.folder / oid)
        return File(oid, len(data), lfs)

    def create(self, repo_id: str, private: bool = False) -> Repo:
        repo = self.repos[repo_id] = Repo(private)
        self.advance(repo, "main", {".gitattributes": self.store(".gitattributes", ATTRIBUTES)})
        return repo

    def advance(self, repo: Repo, branch: str, files: dict[str, File]) -> str:
        seed = [id(repo), len(repo.commits), {path: file.oid for path, file in files.items()}]
        oid = hashlib.sha1(json.dumps(seed).encode()).hexdigest()
        repo.commits[oid], repo.refs[branch] = files, oid
        return oid

    def commit(self, repo_id: str, files: dict[str, bytes]) -> str:
        """Commit as somebody else: these files beside those that are there."""
        with self.lock:
            repo = self.repos.get(repo_id) or self.create(repo_id)
            now = {path: self.store(path, data) for path, data in files.items()}
            return self.advance(repo, "main", repo.commits[repo.refs["main"]] | now)

    def content(self, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        """Return what a revision holds, without the Hub's own file."""
        repo = self.repos[repo_id]
        files = repo.commits[repo.refs.get(revision, revision)].items()
        own = ".gitattributes"
        return {path: (self.folder / file.oid).read_bytes() for path, file in files if path != own}


def git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def is_big(path: str, size: int) -> bool:
    return path.endswith(".safetensors") or size > 10_000_000
