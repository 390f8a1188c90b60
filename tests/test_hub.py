"""zoo/hub.py with the real client against a small Hub: what is sent, fetched, refused and said."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hub_server import serve
from hub_state import ALICE, BOB, Hub
from hub_worker import Failed, Worker
from packages import make_package, package_files

LOWEST = "0.26.0"  # of the client; pyproject.toml says the same
PULL, PUSH = "zoo.sources.pull", "zoo.hub.push"
NEVER = "0" * 40


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("server") / "hub") as hub:
        yield hub


@pytest.fixture(scope="module")
def client(hub, tmp_path_factory):
    with Worker(hub.url, tmp_path_factory.mktemp("home")) as client:
        yield client
        assert not client("state")["torch"]


@pytest.fixture(autouse=True)
def no_fault_stays(hub):
    yield
    unused = [fault for fault in hub.faults if fault["times"]]
    leaks = [path for _, path, _, host, token in hub.log if token and host.startswith("localhost")]
    hub.faults.clear()
    hub.log.clear()
    assert (unused, leaks) == ([], [])  # the token went to the Hub and nowhere else


def published(hub: Hub, repo_id: str, **what) -> str:
    """Put a package there as somebody else would; return the commit."""
    files = package_files(**what)
    rows = {path: hub.store(path, data) for path, data in files.items()}
    size = {path: row.size for path, row in rows.items()}
    return hub.commit(repo_id, {**files, "manifest.json": manifest(files, size)})


def manifest(files: dict[str, bytes], size: dict[str, int]) -> bytes:
    from hashlib import sha256

    from zoo.schema import canonical

    stated = {
        path: {"size": size[path], "sha256": sha256(data).hexdigest()}
        for path, data in files.items()
    }
    name = json.loads(files["config.json"])["name"]
    return canonical({"format_version": 1, "name": name, "files": stated})


def weight(folder: str) -> float:
    """Return the one number all weights of a test's package are."""
    import struct

    data = (Path(folder) / "model.safetensors").read_bytes()
    values = {value for (value,) in struct.iter_unpack("<f", data[-32:])}
    assert len(values) == 1
    return values.pop()


def folder_content(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_round_trip(hub, client, tmp_path):
    """Dry run, create, push, tag, list, info, pull by every kind of name; no secret in a text."""
    old = make_package(tmp_path / "old", value=1.0, pictures=("a.png",))
    new = make_package(tmp_path / "new", value=2.0)
    plan = client("announced_push", old, "alice/trip", tag="v1", token=ALICE, dry_run=True)
    assert hub.requests("POST|PUT") == []
    sizes = {path: len(data) for path, data in folder_content(old).items()}
    assert plan["files"] == sizes
    assert (plan["commit"], plan["changed"], plan["visibility"]) == ("", True, "private")
    assert plan["announced"] == [
        f"New private repository {hub.url}/alice/trip, branch main: 7 files, 0.0 MB; tag v1"
    ]

    first = client("announced_push", old, "alice/trip", tag="v1", token=ALICE)
    assert first["announced"] == plan["announced"]
    assert first["files"] == sizes
    assert first["url"] == f"{hub.url}/alice/trip/commit/{first['commit']}"
    assert len(hub.requests("POST .*/commit/")) == 1
    assert hub.content("alice/trip") == hub.content("alice/trip", "v1") == folder_content(old)
    assert hub.repos["alice/trip"].private

    second = client(PUSH, new, "alice/trip", token=ALICE, branch="next", message="Better")
    assert second["deleted"] == ["assets/a.png"]
    assert "README.md" not in second["files"]  # it is the same
    assert hub.content("alice/trip", "next") == folder_content(new)
    assert hub.content("alice/trip") == folder_content(old)
    assert len(hub.requests("POST .*/commit/")) == 2

    wanted = [None, "main", "v1", first["commit"][:7], first["commit"], second["commit"], "next"]
    pulled = [client(PULL, "hf:alice/trip", revision=name, token=ALICE) for name in wanted]
    assert [weight(one["path"]) for one in pulled] == [1.0] * 5 + [2.0] * 2
    assert {one["commit"] for one in pulled[:5]} == {first["commit"]}
    assert len({one["digest"] for one in pulled}) == 2
    assert folder_content(Path(pulled[0]["path"])) == folder_content(old)

    asked = len(hub.log)
    assert client("fetch", "alice/trip", revision=first["commit"])[1] == first["commit"]
    assert client("zoo.hub.is_cached", "alice/trip", first["commit"])
    assert not client("zoo.hub.is_cached", "alice/trip", NEVER)
    assert len(hub.log) == asked  # a commit in the cache needs no request

    dry = client(PULL, "hf:alice/trip@v1", token=ALICE, dry_run=True)
    assert (dry["files"], dry["commit"], dry["path"]) == (sizes, first["commit"], None)
    (entry,) = client("zoo.hub.list_hub", token=ALICE)
    assert (entry["name"], entry["license"], entry["dataset"], entry["task"], entry["commit"]) == (
        *("hf:alice/trip", "apache-2.0", "puppets", "keypoint-detection"),
        first["commit"],
    )
    assert client("zoo.hub.list_hub") == []
    assert client("verify_remote", "alice/trip", first["commit"], old, ALICE) == []
    differences = client("verify_remote", "alice/trip", first["commit"], new, ALICE)
    assert differences[0] == f"assets/a.png: only in alice/trip at {first['commit'][:8]}"
    assert [line.split(":")[0] for line in differences[1:]] == [
        *("evaluation.json", "golden.safetensors", "manifest.json", "model.safetensors")
    ]
    assert client.errors.read_text() == ""  # no bars: this is no terminal


def test_pushing_again_changes_nothing_and_sets_the_missing_tag(hub, client, tmp_path):
    folder = make_package(tmp_path / "package")
    hub.fault("POST .*/tag/", status=503)
    error = client.fail(PUSH, folder, "alice/again", tag="v1", token=ALICE, private=False)
    commit = hub.repos["alice/again"].refs["main"]
    assert error.kind == "HubUnreachableError"
    assert error.text == (
        f"alice/again is published as {commit[:8]}, but without the tag 'v1': {hub.url} "
        f"answered with status 503. Push again to set the tag."
    )
    for changed in (False, False):
        again = client(PUSH, folder, "alice/again", tag="v1", token=ALICE)
        assert (again["commit"], again["changed"], again["files"]) == (commit, changed, {})
    assert again["visibility"] == "public"
    assert hub.repos["alice/again"].refs["v1"] == commit
    assert len(hub.requests("POST .*/commit/")) == 1
    assert len(hub.requests("POST .*/tag/")) == 2


def test_push_is_refused_where_it_would_surprise(hub, client, tmp_path):
    old, new = (make_package(tmp_path / f"{v}", value=float(v)) for v in (1, 2))
    stray = {"notes.ipynb": b"{}", "assets/old.png": b"1"}
    hub.commit("alice/careful", stray)
    was = client(PUSH, old, "alice/careful", token=ALICE, tag="v1")
    assert was["deleted"] == ["assets/old.png"]
    assert "notes.ipynb" in hub.content("alice/careful")  # no file of a package: left alone
    now = client(PUSH, new, "alice/careful", token=ALICE, parent=was["commit"])["commit"]
    for options, kind, text in [
        (
            {"parent": was["commit"]},
            "PublishConflictError",
            f"alice/careful has changed since you started (was {was['commit'][:8]}, is {now[:8]}). "
            "Nothing was published. Pull, compare and push again, or open a pull request.",
        ),
        (
            {"tag": "v1"},
            "PublishConflictError",
            f"Tag 'v1' of alice/careful already exists, at {was['commit'][:8]}. Nothing was "
            "published. Choose another tag.",
        ),
        (
            {"private": True},
            "PublishRefusedError",
            "alice/careful exists and is public, which publishing does not change. Change it at "
            f"{hub.url}/alice/careful/settings, or leave out the visibility.",
        ),
        (
            {"create_pr": True, "tag": "v2"},
            "PublishRefusedError",
            "a pull request cannot have a tag. Leave out one of them.",
        ),
    ]:
        error = client.fail(PUSH, old, "alice/careful", token=ALICE, **options)
        assert (error.kind, error.text) == (kind, text)
    unlicensed = make_package(tmp_path / "none", license="")
    error = client.fail(PUSH, unlicensed, "alice/careful", token=ALICE)
    assert error.kind == "PublishRefusedError"
    assert hub.repos["alice/careful"].refs["main"] == now
    pull = client(PUSH, old, "alice/careful", token=BOB, create_pr=True)
    assert pull["url"] == f"{hub.url}/alice/careful/discussions/1"
    assert hub.repos["alice/careful"].refs["main"] == now


def test_a_head_that_moves_never_gives_two_halves(hub, client, tmp_path):
    """Before each request of a pull in turn, somebody publishes another package."""
    published(hub, "bob/moving", value=0.0)
    requests = ["/api/models/bob/moving$", "tree", "HEAD .*config", "GET .*README", "GET /_lfs"]
    for step, request in enumerate(requests):
        before = hub.repos["bob/moving"].refs["main"]
        move = functools.partial(published, hub, "bob/moving", value=step + 1.0)
        hub.fault(request, before=move)
        pulled = client(PULL, "hf:bob/moving", cache_dir=tmp_path / str(step))
        after = hub.repos["bob/moving"].refs["main"]
        assert pulled["commit"] == (after if step == 0 else before)
        assert weight(pulled["path"]) == float(max(step, 1))
        assert len(list(tmp_path.glob(f"{step}/*/snapshots/*"))) == 1
    resolved = hub.requests("GET /api/models/bob/moving(/revision/main)? ")
    assert len(resolved) == len(requests)  # once per pull

    mine = make_package(tmp_path / "mine", value=9.0)
    start = published(hub, "alice/moving", value=1.0)
    hub.fault("preupload", before=lambda: published(hub, "alice/moving", value=2.0))
    error = client.fail(PUSH, mine, "alice/moving", token=ALICE)
    now = hub.repos["alice/moving"].refs["main"]
    assert error.text == (
        f"alice/moving has changed since you started (was {start[:8]}, is {now[:8]}). Nothing was "
        "published. Pull, compare and push again, or open a pull request."
    )
    assert (error.kind, error.cause) == ("PublishConflictError", "HfHubHTTPError")
    assert hub.requests("POST .*/commit/")[-1].endswith(" 412")
    assert weight(client(PULL, "hf:alice/moving", cache_dir=tmp_path)["path"]) == 2.0


def test_a_hub_that_fails_never_gives_an_old_model_silently(hub, client, tmp_path):
    cache = tmp_path / "cache"
    commit = published(hub, "bob/old")
    client(PULL, "hf:bob/old", cache_dir=cache)
    today = time.strftime("%Y-%m-%d")
    known = f" Commit {commit[:8]} from {today} is cached; to use it, give revision='{commit}' or "
    cannot = "Cannot look up 'main' of bob/old: "

    hub.fault("GET", times=9, status=503)
    error = client.fail(PULL, "hf:bob/old", cache_dir=cache)
    hub.faults.clear()
    assert error.text == f"{cannot}{hub.url} answered with status 503.{known}offline=True."
    assert (error.kind, error.cause) == ("HubUnreachableError", "HfHubHTTPError")
    for how in ({"revision": commit}, {"offline": True}):
        assert client(PULL, "hf:bob/old", cache_dir=cache, **how)["commit"] == commit

    client("set_timeout", 0.2)
    hub.fault("GET", times=9, delay=0.6)
    error = client.fail(PULL, "hf:bob/old", cache_dir=cache)
    client("set_timeout", 30)
    hub.faults.clear()
    assert re.fullmatch(rf"{cannot}{hub.url} does not answer \(\w*Timeout\w*\)\..*", error.text)

    hub.fault("GET", times=9, status=503)
    error = client.fail(PULL, "hf:bob/old@v7", cache_dir=cache)
    assert error.text.endswith("answered with status 503. It is not in the cache; try again later.")
    hub.faults.clear()
    newer = published(hub, "bob/old", value=5.0)
    hub.fault("HEAD|GET .*resolve", times=99, status=500)  # between resolving and fetching
    error = client.fail(PULL, "hf:bob/old", cache_dir=cache)
    assert error.kind == "HubUnreachableError"
    hub.faults.clear()
    assert error.text.startswith(
        f"Cannot fetch bob/old at {newer[:8]}: {hub.url} answered with status 500."
    )

    with Worker("http://127.0.0.1:9", tmp_path / "home") as lonely:
        error = lonely.fail(PULL, "hf:bob/old", cache_dir=cache)
        assert error.text.startswith(f"{cannot}http://127.0.0.1:9 does not answer (Connect")
        assert error.text.endswith(f"{known}offline=True.")
        error = lonely.fail(PUSH, make_package(tmp_path / "p"), "alice/old", token=ALICE)
        assert error.kind == "HubUnreachableError"


def test_offline_takes_what_is_whole_and_says_what_is_missing(hub, client, tmp_path):
    home = tmp_path / "home"
    commit = published(hub, "bob/offline")
    hub.repos["bob/offline"].refs["v1"] = commit
    client(PULL, "hf:bob/offline", cache_dir=home / "hub")
    client(PULL, "hf:bob/offline@v1", cache_dir=home / "hub")
    hub.log.clear()
    with Worker(hub.url, home, HF_HUB_OFFLINE="1") as offline:
        for revision in (None, "main", "v1", commit, commit[:8]):
            pulled = offline(PULL, "hf:bob/offline", revision=revision)
            assert pulled["commit"] == commit
        error = offline.fail(PULL, "hf:bob/offline@v2")
        assert error.kind == "NotCachedError"
        assert error.text == (
            f"'bob/offline' at v2 is not in the cache {home}/hub, and offline mode is on "
            "(HF_HUB_OFFLINE=1). On a connected machine run `keypoint-zoo pull "
            "hf:bob/offline@v2 --dest DIR`, copy DIR here, then load 'dir:DIR'. Its cached "
            f"commits: {commit}."
        )
        error = offline.fail(PULL, "hf:bob/unknown")
        assert error.text.endswith("Cached entries: bob/offline.")
        error = offline.fail(PULL, "hf:bob/unknown", offline=False)
        assert "HF_HUB_OFFLINE=1 forbids requests to the Hub" in error.text
        error = offline.fail(PUSH, make_package(tmp_path / "p"), "alice/off", token=ALICE)
        assert error.text == "HF_HUB_OFFLINE=1 forbids requests to the Hub."

        snapshot = Path(pulled["path"])
        (snapshot / "model.safetensors").unlink()
        error = offline.fail(PULL, "hf:bob/offline")
        assert error.kind == "IncompleteEntryError"
        assert error.text == (
            f"'bob/offline' at {commit[:8]}: 1 of 6 files are missing (model.safetensors) in "
            f"{snapshot}; a download was probably interrupted. On a connected machine run "
            "`keypoint-zoo pull hf:bob/offline`."
        )
        assert offline("fetch", "bob/offline", weights=False)[1] == commit
        for path in snapshot.iterdir():  # as another tool leaves it that fetched one file
            if path.name != "config.json":
                path.unlink()
        error = offline.fail(PULL, "hf:bob/offline")
        assert (
            "5 of 6 files are missing (manifest.json, README.md, model.safetensors, ..."
            in error.text
        )
        assert offline("zoo.cache.cached_problems") == [[str(snapshot), "5 of 6 files missing"]]
    assert hub.log == []
    assert weight(client(PULL, "hf:bob/offline", cache_dir=home / "hub")["path"]) == 0.0


def test_only_the_description_is_fetched_where_that_is_enough(hub, client, tmp_path):
    published(hub, "bob/light")
    folder, commit = client("fetch", "bob/light", weights=False, cache_dir=tmp_path)
    assert not (Path(folder) / "model.safetensors").exists()
    assert client("zoo.cache.cached_problems", tmp_path) == []
    assert not client("zoo.hub.is_cached", "bob/light", commit, tmp_path)
    where = client("locate", "hf:bob/light", cache_dir=tmp_path, weights=False)
    assert (where["package"]["config"]["name"], where["commit"]) == ("demo", commit)
    assert not (Path(folder) / "model.safetensors").exists()
    hub.log.clear()
    assert client("fetch", "bob/light", weights=False, cache_dir=tmp_path)[1] == commit
    assert len(hub.log) == 1  # what main is
    assert weight(client(PULL, "hf:bob/light", cache_dir=tmp_path)["path"]) == 0.0


def test_cut_and_altered_downloads(hub, client, tmp_path):
    commit = published(hub, "bob/faulty", value=3.0, size=600_000)
    model = hub.repos["bob/faulty"].commits[commit]["model.safetensors"].oid
    hub.fault(f"GET /_lfs/{model}", cut=1_000_000)
    pulled = client(PULL, "hf:bob/faulty", cache_dir=tmp_path / "cut")
    assert weight(pulled["path"]) == 3.0
    assert len(hub.requests(f"GET /_lfs/{model}")) >= 2
    assert hub.content("bob/faulty") == folder_content(Path(pulled["path"]))

    hub.fault(f"GET /_lfs/{model}", flip=2_000_000)
    hub.log.clear()
    pulled = client(PULL, "hf:bob/faulty", cache_dir=tmp_path / "once")
    assert hub.content("bob/faulty") == folder_content(Path(pulled["path"]))
    assert len(hub.requests(f"GET /_lfs/{model}")) == 2  # noticed, and fetched again

    hub.fault(f"GET /_lfs/{model}", times=99, flip=2_000_000)
    error = client.fail(PULL, "hf:bob/faulty", cache_dir=tmp_path / "always")
    hub.faults.clear()
    assert error.kind == "IntegrityError"
    assert f"'bob/faulty@{commit[:8]}': model.safetensors is damaged or was mod" in error.text

    # on the disk: mended online, refused offline
    blob = (Path(pulled["path"]) / "evaluation.json").resolve()
    blob.write_bytes(blob.read_bytes().replace(b"640", b"641"))
    error = client.fail(PULL, "hf:bob/faulty", cache_dir=tmp_path / "once", offline=True)
    assert error.kind == "IntegrityError"
    assert "'bob/faulty@" in error.text
    assert "evaluation.json is damaged or was modified" in error.text
    pulled = client(PULL, "hf:bob/faulty", cache_dir=tmp_path / "once")
    assert hub.content("bob/faulty") == folder_content(Path(pulled["path"]))


def test_a_commit_that_fails_and_one_whose_answer_is_lost(hub, client, tmp_path):
    folder = make_package(tmp_path / "p", value=41.0)  # as no other test has it on this Hub
    hub.fault("POST .*/commit/", status=500)
    error = client.fail(PUSH, folder, "alice/lost", token=ALICE)
    head = hub.repos["alice/lost"].refs["main"]
    assert error.kind == "HubUnreachableError"
    assert error.text == (
        f"{hub.url} answered with status 500. Nothing was published: main is still at "
        f"{head[:8]}. Push again."
    )
    assert hub.content("alice/lost") == {}
    assert len(hub.requests("PUT")) == 2
    hub.fault("POST .*/commit/", lost=500)
    pushed = client(PUSH, folder, "alice/lost", token=ALICE)
    assert pushed["changed"]
    assert pushed["commit"] == hub.repos["alice/lost"].refs["main"] != head
    assert len(hub.requests("PUT")) == 2  # what had arrived is not sent again
    assert hub.content("alice/lost") == folder_content(folder)

    other = make_package(tmp_path / "q", value=5.0)
    hub.fault("POST .*/commit/", lost=500)
    silence = functools.partial(hub.fault, "GET", times=99, status=503)
    hub.fault("preupload", before=silence)
    error = client.fail(PUSH, other, "alice/lost", token=ALICE)
    assert error.text == (
        f"{hub.url} answered with status 500. It is unknown whether the commit was made. Push "
        f"again: if it "
        "was, that changes nothing."
    )
    hub.faults.clear()
    again = client(PUSH, other, "alice/lost", token=ALICE)
    assert not again["changed"]
    hub.fault("preupload", status=400)
    error = client.fail(PUSH, folder, "alice/lost", token=ALICE)
    assert (error.kind, error.text) == (
        "PublishRefusedError",
        f"{hub.url} refuses this for alice/lost: broken on purpose",
    )


def test_hostile_and_foreign_repositories(hub, client, tmp_path):
    for name, files, kind, text in [
        ("out", {"../../evil": b"x"}, "IntegrityError", "lists '../../evil', which leads out"),
        ("root", {"/etc/evil": b"x"}, "IntegrityError", "lists '/etc/evil', which leads out"),
        ("back", {"a\\b.png": b"x"}, "IntegrityError", "which leads out of its folder"),
        ("many", {f"{i}.txt": b"" for i in range(64)}, "IntegrityError", "at most 64 are allowed"),
    ]:
        hub.commit(f"eve/{name}", files)
        published(hub, f"eve/{name}")
        error = client.fail(PULL, f"hf:eve/{name}", cache_dir=tmp_path / "cache")
        assert error.kind == kind
        assert text in error.text
        assert "Nothing was fetched" in error.text
    for name, file, kind, text in [
        (
            "pickle",
            "pytorch_model.bin",
            "UnsafeWeightsError",
            "eve/pickle has only pickled weights (pytorch_model.bin), which are never loaded. "
            "Their owner can convert them offline: keypoint-zoo convert SOURCE FILE --license L "
            "--out DIR.",
        ),
        (
            "other",
            "model.safetensors",
            "UnknownEntryError",
            "eve/other at {} is not a package of keypoint-zoo: it has no manifest.json.",
        ),
    ]:
        commit = hub.commit(f"eve/{name}", {file: b"x", "config.json": b"{}"})
        error = client.fail(PULL, f"hf:eve/{name}", cache_dir=tmp_path / "cache")
        assert (error.kind, error.text) == (kind, text.format(commit[:8]))
    assert hub.requests("resolve|_lfs") == []
    assert list(tmp_path.iterdir()) == []
    for repo_id, revision in [
        ("../x", None),
        ("a/../b", None),
        ("eve/out", "../../x"),
        ("x", None),
    ]:
        error = client.fail("fetch", repo_id, revision=revision, offline=True)
        assert error.kind == "UnknownEntryError"

    # beside a package, pickles are not fetched
    hub.commit("eve/both", {"pytorch_model.bin": b"x", "notes/a.txt": b"x"})
    published(hub, "eve/both")
    pulled = client(PULL, "hf:eve/both", cache_dir=tmp_path / "cache")
    assert sorted(pulled["files"]) == sorted([*package_files(), "manifest.json"])
    assert hub.requests("resolve/.*(bin|txt)") == []


def test_who_may_not_is_told_so_and_no_token_is_shown(hub, client, tmp_path):
    published(hub, "bob/gated")
    hub.repos["bob/gated"].gated = True
    published(hub, "bob/secret")
    hub.repos["bob/secret"].private = True
    package = make_package(tmp_path / "p")
    none, alice = "your machine (no token was found)", "your account 'alice'"
    no_repo = (
        "There is no repository bob/secret on {}, or it is private and {} does not have access. "
        "Check the name, or run `hf auth"
    )
    gated = (
        "bob/gated is gated, and {1} does not have access. Request it at {0}/bob/gated, then run "
        "`hf auth"
    )
    refused = (
        "{} refuses access to bob/{} ({}): {} may not do this. Use another token: `hf auth login`."
    )
    wrong = "hf_wrongSecretOfTheTests0123456789"
    errors = []
    for call, token, kind, text in [
        ((PULL, "hf:bob/gated"), None, "AccessError", gated.format(hub.url, none)),
        ((PULL, "hf:bob/gated"), ALICE, "AccessError", gated.format(hub.url, alice)),
        ((PULL, "hf:bob/secret"), None, "UnknownEntryError", no_repo.format(hub.url, none)),
        ((PULL, "hf:bob/secret"), ALICE, "UnknownEntryError", no_repo.format(hub.url, alice)),
        (
            (PULL, "hf:bob/secret"),
            wrong,
            "AccessError",
            refused.format(hub.url, "secret", 401, "your token"),
        ),
        (
            (PUSH, str(package), "bob/new"),
            ALICE,
            "AccessError",
            refused.format(hub.url, "new", 403, alice),
        ),
        (
            (PUSH, str(package), "bob/new"),
            None,
            "AccessError",
            refused.format(hub.url, "new", 401, none),
        ),
        ((PULL, "hf:bob/gated@v9"), BOB, "UnknownEntryError", "bob/gated has no revision 'v9'"),
    ]:
        errors.append(client.fail(*call, token=token))
        assert errors[-1].kind == kind
        assert errors[-1].text.startswith(text)
    assert [
        token for error in errors for token in (ALICE, BOB, wrong) if token in error.trace
    ] == []
    assert "bob/new" not in hub.repos
    for name in ("gated", "secret"):
        assert client(PULL, f"hf:bob/{name}", token=BOB, cache_dir=tmp_path)["commit"]


def test_three_processes_pull_and_two_push_at_once(hub, client, tmp_path):
    commit = published(hub, "bob/busy", size=300_000)
    call = {"name": PULL, "args": ["hf:bob/busy"], "kwargs": {"cache_dir": str(tmp_path / "c")}}
    results = client.together(call, call, call)
    assert [result["commit"] for result in results] == [commit] * 3
    assert hub.content("bob/busy") == folder_content(Path(results[0]["path"]))
    assert list(tmp_path.rglob("*.incomplete")) == []

    start = published(hub, "alice/busy", value=0.0)
    hub.fault("preupload", times=2, delay=0.5)  # both have seen the head by then
    folders = [make_package(tmp_path / f"{v}", value=float(v)) for v in (1, 2)]
    calls = [
        {"name": PUSH, "args": [str(folder), "alice/busy"], "kwargs": {"token": ALICE}}
        for folder in folders
    ]
    results = client.together(*calls)
    (lost,) = [one for one in results if isinstance(one, Failed)]
    (won,) = [one for one in results if not isinstance(one, Failed)]
    assert lost.kind == "PublishConflictError"
    assert f"(was {start[:8]}, is {won['commit'][:8]})" in lost.text
    assert hub.content("alice/busy") == folder_content(folders[results.index(won)])


def test_what_killed_downloads_leave_is_found(hub, client, tmp_path):
    published(hub, "bob/left")
    pulled = client(PULL, "hf:bob/left", cache_dir=tmp_path)
    blobs = Path(pulled["path"]).parents[1] / "blobs"
    old, running = blobs / "aa.1234.incomplete", blobs / "bb.1234.incomplete"
    foreign = tmp_path / "models--some--thing" / "blobs" / "cc.incomplete"
    foreign.parent.mkdir(parents=True)
    for part in (old, running, foreign):
        part.write_bytes(b"part")
    for part in (old, foreign):
        os.utime(part, (1, 1))
    found = client("zoo.cache.cached_problems", tmp_path)
    assert found == [[str(old), "left over from an interrupted download"]]


def test_the_lowest_client_that_is_allowed(hub, tmp_path):
    """The same round trip with the oldest client that pyproject.toml allows."""
    project = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    assert f'"huggingface-hub>={LOWEST.removesuffix(".0")}"' in project
    target = tmp_path / "client"
    pip = [sys.executable, "-m", "pip", "install", "-qq", "--target", str(target)]
    subprocess.run([*pip, f"huggingface_hub=={LOWEST}"], check=True)
    old, new = (make_package(tmp_path / f"{v}", value=float(v)) for v in (1, 2))
    with Worker(hub.url, tmp_path / "home", (target,)) as client:
        assert client("state")["client"] == LOWEST
        first = client(PUSH, old, "alice/low", tag="v1", token=ALICE)
        second = client(PUSH, new, "alice/low", token=ALICE)
        assert len(hub.requests("POST .*/commit/")) == 2
        assert not client(PUSH, new, "alice/low", token=ALICE)["changed"]
        for revision, value in [("v1", 1.0), (None, 2.0), (first["commit"][:8], 1.0)]:
            pulled = client(PULL, "hf:alice/low", revision=revision, token=ALICE)
            assert weight(pulled["path"]) == value
        error = client.fail(PUSH, old, "alice/low", token=ALICE, parent=first["commit"])
        assert error.kind == "PublishConflictError"
        hub.fault("preupload", before=lambda: published(hub, "alice/low", value=7.0))
        assert client.fail(PUSH, old, "alice/low", token=ALICE).kind == "PublishConflictError"
        listed = client("zoo.hub.list_hub", token=ALICE)
        assert "alice/low" in [entry["repo_id"] for entry in listed]
        hub.fault("GET", times=9, status=503)
        error = client.fail(PULL, "hf:alice/low", token=ALICE)
        assert error.kind == "HubUnreachableError"
        assert second["commit"] in error.text
        hub.faults.clear()
        blob = (Path(pulled["path"]) / "README.md").resolve()
        blob.write_bytes(b"x" * blob.stat().st_size)
        mended = client(PULL, "hf:alice/low", revision=first["commit"], token=ALICE)
        assert folder_content(Path(mended["path"])) == folder_content(old)
        for error in (client.fail(PULL, "hf:alice/low"), client.fail(PULL, "hf:alice/none")):
            assert error.kind == "UnknownEntryError"
