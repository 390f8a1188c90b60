"""SIGKILL at random moments of publishing and fetching: old or new, never a mixture."""

from __future__ import annotations

import os
import random
import re
import statistics
import time
from pathlib import Path

import pytest
from hub_server import serve
from hub_state import ALICE
from hub_worker import Worker
from packages import make_package
from test_hub import folder_content, weight

KILLS = 50
SIZE = 50_000  # weights, of 4 bytes


@pytest.fixture
def hub(tmp_path):
    with serve(tmp_path / "server") as hub:
        yield hub


@pytest.fixture
def client(hub, tmp_path):
    """A process that has made every kind of call: its forks need not import, nor be slow."""
    with Worker(hub.url, tmp_path / "home") as client:
        client("zoo.hub.push", make_package(tmp_path / "warm"), "alice/warm", token=ALICE)
        client("zoo.sources.pull", "hf:alice/warm", token=ALICE)
        yield client


def duration(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def test_a_killed_push_leaves_the_old_or_the_new(hub, client, tmp_path):
    """Fifty kills; the head is one of the packages, and pushing again ends with the new one."""
    folders = [make_package(tmp_path / f"{v}", value=float(v), size=SIZE) for v in range(KILLS + 4)]
    contents = [folder_content(folder) for folder in folders]
    order = random.Random(5)

    def push(v: int) -> dict:
        call = {"name": "zoo.hub.push", "args": [str(folders[v]), "alice/kept"]}
        return {**call, "kwargs": {"token": ALICE, "tag": f"v{v}"}}

    client.together(push(0))
    took = statistics.median(duration(lambda v=v: client.together(push(v))) for v in (1, 2, 3))
    killed = new = 0
    for v in range(4, KILLS + 4):
        killed += client.killed(order.uniform(0, 1.1 * took), push(v))
        with hub.lock:  # what a killed client had sent completely is worked off
            head = hub.content("alice/kept")
        assert head in (contents[v - 1], contents[v])
        new += head == contents[v]
        (again,) = client.together(push(v))
        assert again["commit"] == hub.repos["alice/kept"].refs[f"v{v}"]
        assert hub.content("alice/kept") == contents[v]
    commits = hub.requests("POST .*/commit/.* 200")
    assert len(commits) == KILLS + 5  # one per package, however often it was tried
    assert killed >= 10  # or the test shows nothing
    assert 0 < new < KILLS


def test_a_killed_pull_leaves_the_old_or_the_new(hub, client, tmp_path):
    """Fifty kills in one cache; offline is old or new, and the next pull is whole."""
    order = random.Random(6)
    folders = [make_package(tmp_path / f"{v}", value=float(v), size=SIZE) for v in range(KILLS + 4)]
    cache = tmp_path / "cache"

    def pull(**options) -> dict:
        kwargs = {"cache_dir": str(cache), **options}
        return {"name": "zoo.sources.pull", "args": ["hf:alice/kept"], "kwargs": kwargs}

    def publish(v: int) -> None:
        hub.commit("alice/kept", folder_content(folders[v]))

    times = []
    for v in range(4):
        publish(v)
        times.append(duration(lambda: client.together(pull())))
    took = statistics.median(times)
    killed = new = 0
    for v in range(4, KILLS + 4):
        publish(v)
        killed += client.killed(order.uniform(0, 1.1 * took), pull())
        offline = client("zoo.sources.pull", "hf:alice/kept", cache_dir=cache, offline=True)
        assert weight(offline["path"]) in (v - 1, v)
        new += weight(offline["path"]) == v
        (online,) = client.together(pull())
        assert folder_content(Path(online["path"])) == hub.content("alice/kept")
        assert weight(online["path"]) == v
    assert killed >= 10  # or the test shows nothing
    assert 0 < new < KILLS
    left = [path for path in cache.rglob("*") if re.search(r"\.incomplete$|^\.ref-", path.name)]
    for path in left:
        os.utime(path, (1, 1))
    found = {path for path, _ in client("zoo.hub.cached_problems", cache)}
    assert {str(path) for path in left} <= found  # what remains, doctor can remove
