"""What is not a Hub: whatever it answers, commands say so in one line, with status 4."""

from __future__ import annotations

import gzip
import json
import socket
import threading

import pytest
from hub_server import serve
from hub_state import ALICE
from hub_worker import Worker
from packages import make_package
from test_hub import published

HTML = b"<!doctype html><title>Welcome</title><p>Please log in to use this network.</p>"
NEVER = "0" * 40


def http(body: bytes, status: str = "200 OK", kind: str = "application/json", **more) -> bytes:
    """Return an answer by the letter of HTTP."""
    given = {"Content-Type": kind, "Content-Length": len(body), "Connection": "close", **more}
    head = "".join(f"{key.replace('_', '-')}: {value}\r\n" for key, value in given.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


def info(**stated) -> bytes:
    told = {"id": "eve/x", "sha": NEVER, "private": False, "tags": [], "siblings": [], **stated}
    return http(json.dumps(told).encode())


ENDLESS = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n["
ANSWERS = {
    "html": http(HTML, kind="text/html"),
    "html as json": http(HTML),
    "empty object": http(b"{}"),
    "empty list": http(b"[]"),
    "null": http(b"null"),
    "a number": http(b"7"),
    "a text": http(b'"sha"'),
    "nothing": http(b""),
    "204": http(b"", "204 No Content"),
    "half an object": http(b'{"id": "eve/x", "sha": "00'),
    "half an answer": http(b"{}", Content_Length=99),
    "not UTF-8": http(b'{"id": "\xff\xfe"}'),
    "deep": http(b"[" * 100_000),
    "no HTTP": b"220 mail.example ESMTP ready\r\n",
    "not gzip": http(b"not gzip", Content_Encoding="gzip"),
    "gzip of 100 MB": http(gzip.compress(bytes(100 << 20)), Content_Encoding="gzip"),
    "numeric sha": info(sha=7),
    "no sha": info(sha=None),
    "list as sha": info(sha=[NEVER]),
    "short sha": info(sha="0" * 39),
    "redirect with JSON": http(b'{"sha": 7}', "302 Found"),
    "redirect to nothing": http(b"{}", "302 Found", Location="http://127.0.0.1:9/x"),
    "redirect elsewhere": http(b"{}", "302 Found", Location="gopher://127.0.0.1/x"),
    "status 999": http(b"{}", "999 What"),
    "status 500 in HTML": http(HTML, "500 Oops", "text/html"),
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("server") / "hub") as hub:
        published(hub, "eve/x")
        hub.commit("alice/x", {"README.md": b"x"})
        yield hub


@pytest.fixture(scope="module")
def client(hub, tmp_path_factory):
    with Worker(hub.url, tmp_path_factory.mktemp("home")) as client:
        yield client


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return make_package(tmp_path_factory.mktemp("package") / "p")


def said(error, status: int = 4) -> str:
    """Return the text of an error that is one line with this status."""
    from zoo import errors

    assert getattr(getattr(errors, error.kind, None), "exit_code", None) == status, error.trace
    assert error.text.isprintable()
    assert len(error.text) < 500
    return error.text


@pytest.mark.parametrize("name", ANSWERS)
def test_what_is_not_a_hub_is_said_to_be_none(name, hub, client, package, tmp_path):
    cache = {"cache_dir": tmp_path / "cache"}
    calls = [
        ("zoo.sources.pull", "hf:eve/x", cache),
        ("zoo.sources.info", "hf:eve/x", cache),
        ("locate", "hf:eve/x", cache),  # which load uses
        ("zoo.hub.push", package, "alice/x", {"token": ALICE}),
    ]
    if name != "empty list":  # of models: a Hub without any
        calls.append(("zoo.hub.list_hub", {}))
    for *call, options in calls:
        hub.fault("", times=99, raw=ANSWERS[name])
        error = client.fail(*call, **options)
        hub.faults.clear()
        assert f"{hub.url} " in said(error)
    assert not list(tmp_path.glob("cache/*/snapshots/*"))


@pytest.mark.parametrize("raw", [http(b"{}"), http(b"[7]"), http(HTML), http(b"", "204 No")])
def test_a_listing_that_no_hub_gives(raw, hub, client, tmp_path):
    hub.fault("/tree/", times=9, raw=raw)
    error = client.fail("zoo.sources.pull", "hf:eve/x", cache_dir=tmp_path)
    hub.faults.clear()
    assert "does not answer like a Hub" in said(error)


@pytest.mark.parametrize(
    "row",
    [
        {"path": 7, "size": 1},
        {"path": ["a"], "size": 1},
        {"path": "README.md", "size": "1"},
        {"path": "README.md", "size": None},
        {"path": "README.md"},
    ],
)
def test_a_row_of_a_listing_of_a_wrong_kind(row, hub, client, tmp_path):
    rows = [{"type": "file", "oid": NEVER, **row}]
    hub.fault("/tree/", times=9, raw=http(json.dumps(rows).encode()))
    error = client.fail("zoo.sources.pull", "hf:eve/x", cache_dir=tmp_path)
    hub.faults.clear()
    assert "does not answer like a Hub" in said(error)


def test_a_commit_is_looked_up_if_its_answer_is_not_one(hub, client, package):
    for raw in (http(b"{}"), http(HTML), http(b"[]")):
        hub.fault("POST .*/commit/", raw=raw)
        error = client.fail("zoo.hub.push", package, "alice/x", token=ALICE)
        assert "Nothing was published: main is still at" in said(error)
        hub.faults.clear()


@pytest.mark.parametrize("where", ["/api/models/eve/x$", "/tree/", "/api/models[?]"])
def test_an_answer_that_does_not_end(where, hub, client, tmp_path):
    hub.fault(where, times=3, raw=ENDLESS, endless=b" " * 65536)
    if where.startswith("/api/models["):
        error = client.fail("zoo.hub.list_hub")
    else:
        error = client.fail("zoo.sources.pull", "hf:eve/x", cache_dir=tmp_path)
    hub.faults.clear()
    assert "does not answer like a Hub: an answer has more than" in said(error)


def test_a_file_that_does_not_end(hub, client, tmp_path):
    head = ENDLESS.replace(b"[", b"").replace(b"application/json", b"text/plain")
    hub.fault("GET .*/resolve/.*README.md", times=9, raw=head, endless=b"x" * 65536)
    error = client.fail("zoo.sources.pull", "hf:eve/x", cache_dir=tmp_path)
    hub.faults.clear()
    assert "has more than" in said(error)
    sizes = [path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()]
    assert max(sizes) < 64 << 20


def test_redirects_in_a_circle(hub, client, tmp_path):
    circle = http(b"{}", "302 Found", Location=f"{hub.url}/api/models/eve/x")
    hub.fault("/api/models/eve/x", times=99, raw=circle)
    error = client.fail("zoo.sources.pull", "hf:eve/x", cache_dir=tmp_path)
    hub.faults.clear()
    assert hub.url in said(error)


def test_tls_on_a_plain_port(hub, tmp_path):
    with Worker(hub.url.replace("http:", "https:"), tmp_path / "home") as client:
        error = client.fail("zoo.sources.pull", "hf:eve/x")
        assert "does not answer" in said(error)


def test_a_port_that_accepts_and_closes(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def close_all() -> None:
            try:
                while True:
                    server.accept()[0].close()
            except OSError:
                return

        threading.Thread(target=close_all, daemon=True).start()
        with Worker(f"http://127.0.0.1:{server.getsockname()[1]}", tmp_path / "home") as client:
            assert "does not answer" in said(client.fail("zoo.sources.pull", "hf:eve/x"))


REFS = {"undecodable": b"\xff" * 40, "empty": b"", "long": b"0" * (2 << 20), "NUL": b"\0"}


@pytest.mark.parametrize("kind", [*REFS, "folder"])
def test_a_ref_in_the_cache_of_a_wrong_kind(kind, hub, client, tmp_path):
    client("zoo.sources.pull", "hf:eve/x", cache_dir=tmp_path)
    ref = tmp_path / "models--eve--x" / "refs" / "main"
    ref.unlink()
    if kind == "folder":
        ref.mkdir()
    else:
        ref.write_bytes(REFS[kind])
    error = client.fail("zoo.sources.pull", "hf:eve/x", cache_dir=tmp_path, offline=True)
    assert error.kind == "NotCachedError"
    said(error)
    hub.fault("GET", times=9, status=503)
    said(client.fail("zoo.sources.pull", "hf:eve/x", cache_dir=tmp_path))
    hub.faults.clear()
    assert client("zoo.sources.pull", "hf:eve/x", cache_dir=tmp_path)["digest"]


@pytest.mark.parametrize("path", ["manifest.json", "config.json", "README.md"])
def test_a_file_in_the_cache_of_a_wrong_kind(path, hub, client, tmp_path):
    pulled = client("zoo.sources.pull", "hf:eve/x", cache_dir=tmp_path)
    file = tmp_path / "models--eve--x" / "snapshots" / pulled["commit"] / path
    file.unlink()
    file.mkdir()
    error = client.fail("zoo.sources.pull", "hf:eve/x", cache_dir=tmp_path, offline=True)
    assert error.kind == "IncompleteEntryError"


def test_what_is_sent_is_what_was_checked(tmp_path):
    """A package is replaced after its check and before, or while, its files are read again."""
    from zoo import hub
    from zoo.errors import IntegrityError
    from zoo.package import open_package

    first, second = (make_package(tmp_path / name, value=v) for name, v in (("a", 1.0), ("b", 2.0)))
    checked = open_package(first)
    before = {path.name: path.read_bytes() for path in first.iterdir() if path.is_file()}
    (first / "manifest.json").write_bytes((second / "manifest.json").read_bytes())
    assert hub._content(checked) == before
    for change in (
        lambda: first.rename(tmp_path / "away"),
        lambda: second.rename(first),
        lambda: (first / "README.md").unlink(),
    ):
        change()
        with pytest.raises(IntegrityError, match=r"changed while it was being read .*Nothing was"):
            hub._content(checked)
