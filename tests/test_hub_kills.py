"""SIGKILL while publishing and fetching, at every request and at random: old or new, no mixture."""

from __future__ import annotations

import itertools
import os
import random
import re
import statistics
import time
from collections.abc import Iterator
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


def push(folder: Path, tag: str) -> dict:
    kwargs = {"token": ALICE, "tag": tag}
    return {"name": "zoo.hub.push", "args": [str(folder), "alice/kept"], "kwargs": kwargs}


def pull(cache: Path) -> dict:
    kwargs = {"cache_dir": str(cache)}
    return {"name": "zoo.sources.pull", "args": ["hf:alice/kept"], "kwargs": kwargs}


def packages(folder: Path) -> Iterator[tuple[int, Path]]:
    """Make one package after the other; the weights of each are its number."""
    for v in itertools.count():
        yield v, make_package(folder / str(v), value=float(v), size=SIZE)


def killed_at(hub, client, call: dict, request: int, worked: bool) -> None:
    """Perform a call that dies at one of its requests, after or before the Hub has obeyed that."""
    hub.fault("", times=request)  # leaves these alone
    hub.fault("", before=client.kill, **({} if worked else {"status": 503}))
    start = len(hub.log)
    assert client.killed_by(call)
    while len(hub.log) <= start + request:  # what was sent completely is worked off
        time.sleep(0.001)
    hub.faults.clear()


@pytest.mark.parametrize("worked", [False, True])
def test_a_push_killed_at_every_request(hub, client, tmp_path, worked):
    """The head changes with the commit and with nothing else; pushing again ends with the new."""
    made = packages(tmp_path)
    for v, folder in itertools.islice(made, 2):  # the first creates the repository
        old, start = folder, len(hub.log)
        client.together(push(folder, f"v{v}"))
    asked = [f"{method} {path}" for method, path, *_ in hub.log[start:]]
    (commit,) = [i for i, line in enumerate(asked) if re.search("POST .*/commit/", line)]
    for request, (v, folder) in zip(range(len(asked)), made, strict=False):
        killed_at(hub, client, push(folder, f"v{v}"), request, worked)
        new = request > commit or (request == commit and worked)
        assert hub.content("alice/kept") == folder_content(folder if new else old), asked[request]
        (again,) = client.together(push(folder, f"v{v}"))
        assert again["commit"] == hub.repos["alice/kept"].refs[f"v{v}"]
        assert hub.content("alice/kept") == folder_content(folder)
        old = folder
    # one commit per package, however often it was tried
    assert len(hub.requests("POST .*/commit/.* 200")) == 3 + len(asked)


@pytest.mark.parametrize("worked", [False, True])
def test_a_pull_killed_at_every_request(hub, client, tmp_path, worked):
    """Offline the old one is served whole, as nothing else has arrived; the next pull is whole."""
    made, cache = packages(tmp_path), tmp_path / "cache"
    for _, folder in itertools.islice(made, 2):
        hub.commit("alice/kept", folder_content(folder))
        start = len(hub.log)
        client.together(pull(cache))
    asked = len(hub.log) - start
    assert asked >= 4  # the commit, its files' list, manifest, weights
    for request, (v, folder) in zip(range(asked), made, strict=False):
        hub.commit("alice/kept", folder_content(folder))
        killed_at(hub, client, pull(cache), request, worked)
        offline = client("zoo.sources.pull", "hf:alice/kept", cache_dir=cache, offline=True)
        assert weight(offline["path"]) == v - 1
        (online,) = client.together(pull(cache))
        assert folder_content(Path(online["path"])) == hub.content("alice/kept")
        assert weight(online["path"]) == v


def test_a_push_killed_at_random(hub, client, tmp_path):
    """Fifty kills; the head is one of the packages, and pushing again ends with the new one."""
    order, made, times, killed = random.Random(5), packages(tmp_path), [], 0
    for v, old in itertools.islice(made, 4):
        times.append(duration(lambda v=v, old=old: client.together(push(old, f"v{v}"))))
    while killed < KILLS:
        v, folder = next(made)
        after = order.uniform(0, 1.1 * statistics.median(times))
        killed += client.killed(after, push(folder, f"v{v}"))
        with hub.lock:  # what a killed client had sent completely is worked off
            head = hub.content("alice/kept")
        assert head in (folder_content(old), folder_content(folder))
        (again,) = client.together(push(folder, f"v{v}"))
        assert again["commit"] == hub.repos["alice/kept"].refs[f"v{v}"]
        assert hub.content("alice/kept") == folder_content(folder)
        old = folder
    assert len(hub.requests("POST .*/commit/.* 200")) == v + 2  # with that of the fixture


def test_a_pull_killed_at_random(hub, client, tmp_path):
    """Fifty kills in one cache; offline is old or new, and the next pull is whole."""
    order, made, times, killed = random.Random(6), packages(tmp_path), [], 0
    cache = tmp_path / "cache"
    for _, folder in itertools.islice(made, 4):
        hub.commit("alice/kept", folder_content(folder))
        times.append(duration(lambda: client.together(pull(cache))))
    while killed < KILLS:
        v, folder = next(made)
        hub.commit("alice/kept", folder_content(folder))
        killed += client.killed(order.uniform(0, 1.1 * statistics.median(times)), pull(cache))
        offline = client("zoo.sources.pull", "hf:alice/kept", cache_dir=cache, offline=True)
        assert weight(offline["path"]) in (v - 1, v)
        (online,) = client.together(pull(cache))
        assert folder_content(Path(online["path"])) == hub.content("alice/kept")
        assert weight(online["path"]) == v
    left = [path for path in cache.rglob("*") if re.search(r"\.incomplete$|^\.ref-", path.name)]
    for path in left:
        os.utime(path, (1, 1))
    found = {path for path, _ in client("zoo.cache.cached_problems", cache)}
    assert {str(path) for path in left} <= found  # what remains, doctor can remove
