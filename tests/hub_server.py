"""A small Hub on the loopback: enough of the wire protocol for the real client, and faults.

Big files are answered with a redirect to ``localhost``, which for the client is another origin
than ``127.0.0.1``, as on the real Hub.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from hub_state import USERS, File, Hub, Repo, git_hash, is_big


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[Hub]:
    """Run a Hub that keeps its files in a new folder."""
    hub = Hub(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.hub = hub
    hub.url, hub.other = (f"http://{at}:{server.server_port}" for at in ("127.0.0.1", "localhost"))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Refused(Exception):
    """An answer that is an error: status, the Hub's word for it, message."""


def front_matter(card: str) -> dict:
    """Read ``key: value`` and lists of a card; enough for tags and licence."""
    found: dict = {}
    for line in card.split("---\n")[1].splitlines() if card.startswith("---\n") else ():
        if pair := re.match(r"([\w-]+): *(.*)", line):
            values = found.setdefault(pair[1], [])
            found[pair[1]] = pair[2].strip("\"'") or values
        elif (item := re.match(r"- (.*)", line)) and isinstance(values, list):
            values.append(item[1].strip("\"'"))
    return found


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the client was killed
            super().handle()

    def do_any(self) -> None:
        self.hub: Hub = self.server.hub
        length = int(self.headers.get("Content-Length", 0))
        self.body = self.rfile.read(length)
        if len(self.body) < length:  # killed while sending: a shorter commit is no commit
            self.close_connection = True
            return
        self.token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.user = USERS.get(self.token)
        url = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(url.query).items()}
        fault = self.hub.spoiled(f"{self.command} {self.path}")
        time.sleep(fault.get("delay", 0))
        fault.get("before", lambda: None)()
        if "raw" in fault:
            self.hub.log.append((self.command, self.path, 0, "", ""))
            self.close_connection = True
            self.wfile.write(fault["raw"])
            while "endless" in fault:  # until the client hangs up
                self.wfile.write(fault["endless"])
            return
        try:
            if "status" in fault:
                raise Refused(fault["status"], "", "broken on purpose")
            status, data, headers = self.answer(url.path)
            if "lost" in fault:
                raise Refused(fault["lost"], "", "broken on purpose")
        except Refused as error:
            status, code, message = error.args
            headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
            data = {"error": message}
        self.send(status, data, headers, fault)

    do_GET = do_HEAD = do_POST = do_PUT = do_any

    def send(self, status: int, data: object, headers: dict, fault: dict) -> None:
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted and status == 200:
            first, last, total = int(wanted[1]), int(wanted[2] or len(body) - 1), len(body)
            status, body = 206, body[first : last + 1]
            headers["Content-Range"] = f"bytes {first}-{last}/{total}"
        if "flip" in fault:
            at = fault["flip"]
            body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        host = self.headers.get("Host", "")
        self.hub.log.append((self.command, self.path, status, host, self.token))
        self.send_response(status)
        for key, value in {**headers, "Content-Length": len(body)}.items():
            self.send_header(key, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: fault.get("cut")])
        self.close_connection |= "cut" in fault

    def answer(self, path: str) -> tuple[int, object, dict]:
        """Return status, body and headers."""
        for route, work in ROUTES.items():
            if found := re.fullmatch(route, f"{self.command.replace('HEAD', 'GET')} {path}"):
                with self.hub.lock:
                    return work(self, *map(unquote, found.groups()))
        raise Refused(404, "", f"no {self.command} {path} here")

    def repo(self, repo_id: str, *, write: bool = False, content: bool = False) -> Repo:
        repo, owner = self.hub.repos.get(repo_id), self.user == repo_id.split("/")[0]
        if self.token and self.user is None:
            raise Refused(401, "", "Invalid credentials in Authorization header")
        if repo is None or (repo.private and not owner):
            raise Refused(404 if self.user else 401, "RepoNotFound", "Repository not found")
        if repo.gated and content and not owner:
            raise Refused(403 if self.user else 401, "GatedRepo", "Access is restricted")
        if write and not owner:
            raise Refused(403 if self.user else 401, "", "no right to write")
        return repo

    def at(self, repo: Repo, revision: str) -> str:
        found = [oid for oid in repo.commits if len(revision) >= 7 and oid.startswith(revision)]
        found = [repo.refs[revision]] if revision in repo.refs else found
        if len(found) != 1:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found[0]

    def whoami(self):
        if self.user is None:
            raise Refused(401, "", "Invalid credentials in Authorization header")
        return 200, {"type": "user", "name": self.user, "orgs": []}, {}

    def create(self):
        asked = json.loads(self.body)
        repo_id = f"{asked['organization'] or self.user}/{asked['name']}"
        if self.user is None or repo_id.split("/")[0] != self.user:
            raise Refused(403 if self.user else 401, "", "no right to create this")
        status = 409 if repo_id in self.hub.repos else 200
        if status == 200:
            private = asked.get("private") or asked.get("visibility") == "private"
            self.hub.create(repo_id, bool(private))
        return status, {"url": f"{self.hub.url}/{repo_id}"}, {}

    def validate(self):
        return 200, {"errors": [], "warnings": []}, {}

    def info(self, repo_id, revision="main"):
        repo = self.repo(repo_id)
        return 200, self.describe(repo_id, repo, self.at(repo, revision)), {}

    def describe(self, repo_id: str, repo: Repo, oid: str) -> dict:
        content = self.hub.content(repo_id, oid)
        card = front_matter(content.get("README.md", b"").decode())
        tags = [*card.get("tags", []), *(f"dataset:{name}" for name in card.get("datasets", []))]
        tags += [f"license:{card['license']}"] if "license" in card else []
        files = [{"rfilename": path} for path in repo.commits[oid]]
        state = {"sha": oid, "private": repo.private, "gated": "manual" if repo.gated else False}
        said = {key: card[key] for key in ("library_name", "pipeline_tag") if key in card}
        return {"id": repo_id, **state, **said, "tags": tags, "siblings": files}

    def models(self):
        mine = [
            self.describe(repo_id, repo, repo.refs["main"])
            for repo_id, repo in sorted(self.hub.repos.items())
            if not repo.private or self.user == repo_id.split("/")[0]
        ]
        return 200, [info for info in mine if self.query["filter"] in info["tags"]], {}

    def tree(self, repo_id, revision):
        repo = self.repo(repo_id, content=True)
        files = repo.commits[self.at(repo, revision)]
        rows = [
            {"type": "directory", "path": folder, "size": 0, "oid": git_hash(folder.encode())}
            for folder in {path.rpartition("/")[0] for path in files} - {""}
        ]
        for path, file in files.items():
            row = {"type": "file", "path": path, "size": file.size, "oid": file.oid}
            if file.lfs:
                row["oid"] = git_hash(file.oid.encode())  # of the pointer, on the real one
                row["lfs"] = {"oid": file.oid, "size": file.size, "pointerSize": 134}
            rows.append(row)
        return 200, rows, {}

    def preupload(self, repo_id, revision):
        repo = self.repo(repo_id, write="create_pr" not in self.query)
        there = repo.commits[self.at(repo, revision)]
        rows = []
        for file in json.loads(self.body)["files"]:
            mode = "lfs" if is_big(file["path"], file["size"]) else "regular"
            oid = there[file["path"]].oid if file["path"] in there else None
            row = {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid}
            rows.append(row)
        return 200, {"files": rows}, {}

    def batch(self, repo_id):
        self.repo(repo_id, write=self.user is None)  # who may not write may open a pull request
        rows = json.loads(self.body)["objects"]
        for row in rows:
            if not (self.hub.folder / row["oid"]).exists():
                row["actions"] = {"upload": {"href": f"{self.hub.other}/_lfs/{row['oid']}"}}
        return 200, {"transfer": "basic", "objects": rows}, {}

    def upload(self, oid):
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise Refused(400, "", "another sha256")
        self.hub.store(".safetensors", self.body)
        return 200, b"", {"ETag": f'"{oid}"'}

    def commit(self, repo_id, revision):
        pull = "create_pr" in self.query
        repo = self.repo(repo_id, write=not pull)
        head = self.at(repo, revision)
        files = dict(repo.commits[head])
        for line in self.body.splitlines():
            key, value = json.loads(line).values()
            if key == "header" and value.get("parentCommit", head) != head:
                raise Refused(412, "", "A commit has happened since. Please refresh.")
            if key == "file":
                data = base64.b64decode(value["content"])
                files[value["path"]] = self.hub.store(value["path"], data)
            elif key == "lfsFile":
                if not (self.hub.folder / value["oid"]).exists():
                    raise Refused(400, "", f"{value['path']} was never uploaded")
                files[value["path"]] = File(value["oid"], value["size"], True)
            elif key == "deletedFile":
                del files[value["path"]]
        repo.pulls += pull
        oid = self.hub.advance(repo, f"refs/pr/{repo.pulls}" if pull else revision, files)
        url = f"{self.hub.url}/{repo_id}"
        answer = {"commitOid": oid, "commitUrl": f"{url}/commit/{oid}", "success": True}
        return 200, answer | {"pullRequestUrl": f"{url}/discussions/{repo.pulls}"}, {}

    def branch(self, repo_id, name):
        return self.refer(repo_id, name, json.loads(self.body)["startingPoint"])

    def tag(self, repo_id, revision):
        return self.refer(repo_id, json.loads(self.body)["tag"], revision)

    def refer(self, repo_id: str, name: str, revision: str):
        repo = self.repo(repo_id, write=True)
        if name in repo.refs:
            raise Refused(409, "", f"Reference {name} exists")
        repo.refs[name] = self.at(repo, revision)
        return 200, {}, {}

    def resolve(self, repo_id, revision, path):
        repo = self.repo(repo_id, content=True)
        headers = {"X-Repo-Commit": (oid := self.at(repo, revision))}
        if path not in repo.commits[oid]:
            return 404, {}, {**headers, "X-Error-Code": "EntryNotFound"}
        file = repo.commits[oid][path]
        if file.lfs:
            headers |= {"X-Linked-Etag": f'"{file.oid}"', "X-Linked-Size": file.size}
            return 302, {}, {**headers, "Location": f"{self.hub.other}/_lfs/{file.oid}"}
        return 200, (self.hub.folder / file.oid).read_bytes(), {**headers, "ETag": f'"{file.oid}"'}

    def download(self, oid):
        return 200, (self.hub.folder / oid).read_bytes(), {"ETag": f'"{oid}"'}


MODEL, REV = r"/api/models/([\w.-]+/[\w.-]+)", r"([^/]+)"
ROUTES = {
    "GET /api/whoami-v2": Handler.whoami,
    "POST /api/repos/create": Handler.create,
    "POST /api/validate-yaml": Handler.validate,
    "GET /api/models": Handler.models,
    f"GET {MODEL}": Handler.info,
    f"GET {MODEL}/revision/{REV}": Handler.info,
    f"GET {MODEL}/tree/{REV}": Handler.tree,
    f"POST {MODEL}/preupload/{REV}": Handler.preupload,
    f"POST {MODEL}/commit/{REV}": Handler.commit,
    f"POST {MODEL}/tag/{REV}": Handler.tag,
    f"POST {MODEL}/branch/{REV}": Handler.branch,
    r"POST /([\w.-]+/[\w.-]+)\.git/info/lfs/objects/batch": Handler.batch,
    r"PUT /_lfs/(\w{64})": Handler.upload,
    r"GET /_lfs/(\w{64})": Handler.download,
    rf"GET /([\w.-]+/[\w.-]+)/resolve/{REV}/(.+)": Handler.resolve,
}
