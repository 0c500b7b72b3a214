"""A double of the Hugging Face Hub: what `huggingface_hub` and `datasets` say to it over HTTP, with real state behind it.

Repositories have commits with trees, branches and tags; a commit names its parent and is refused where the head has moved; large files
are uploaded by their SHA-256 before a commit may name them. Faults are laid in wait with `fault`. Models can only be read. No xet (clients
set HF_HUB_DISABLE_XET=1).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from tests.servers.hub_repo import LARGE, Blob, Refusal, Repo

TOKEN = "hf_thisIsTheSecretOfTheTests"
READER = "hf_thisOneMayOnlyRead"


@dataclass
class Fault:
    """What goes wrong with the next `times` requests that match. lost: the request is done, but its answer never arrives; cut: only so
    many bytes of its body do."""

    method: str
    path: re.Pattern[str]
    status: int = 0
    dropped: bool = False
    lost: bool = False
    cut: int | None = None
    before: Callable[[], None] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1


class Hub(ThreadingHTTPServer):
    """The server: `with Hub() as hub: ... hub.url`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, Repo] = {}
        self.uploads: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, int]] = []
        self.lock = threading.RLock()

    def __enter__(self) -> Hub:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fault(self, method: str, path: str, **how: Any) -> None:
        """Lay a fault in wait for a request whose path holds this pattern."""
        self.faults.append(Fault(method, re.compile(path), **how))

    def create(self, name: str, *, private: bool = True) -> Repo:
        repo = self.repos[name] = Repo(name, private)
        repo.commit(
            {".gitattributes": Blob(b"*.parquet filter=lfs diff=lfs merge=lfs -text\n", False)}, "initial commit"
        )
        return repo

    def meet(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.method == method and fault.path.search(path):
                    fault.times -= 1
                    if fault.times <= 0:
                        self.faults.remove(fault)
                    return fault
        return None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        self.query = parse_qs(parts.query)
        self.body = self._read_body()
        fault = self.server.meet(self.command, parts.path)
        status = 0
        try:
            if fault and fault.before:
                fault.before()
            if fault and fault.dropped:
                self._hang_up()
                return
            if fault and fault.status:
                raise Refusal(fault.status, "a fault of the test", headers=fault.headers)
            with self.server.lock:
                status, headers, data = self._route(parts.path)
            if fault and fault.lost:
                self._hang_up()
                return
            self._send(status, headers, data, fault.cut if fault else None)
            if fault and fault.cut is not None:
                self._hang_up()
        except Refusal as refusal:
            status = refusal.status
            headers = {"X-Error-Message": refusal.message, "Content-Type": "application/json"} | refusal.headers
            if refusal.code:
                headers["X-Error-Code"] = refusal.code
            self._send(status, headers, json.dumps({"error": refusal.message}).encode())
        finally:
            self.server.requests.append((self.command, parts.path, status))

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _answer

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.close()

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _send(self, status: int, headers: dict[str, str], data: bytes, most: int | None = None) -> None:
        self.send_response(status)
        for name, value in (
            {"Content-Type": "application/json"} | headers | {"Content-Length": str(len(data))}
        ).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[:most])

    # -- who asks -----------------------------------------------------------------------------------------------------

    @property
    def _token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _may_write(self) -> None:
        if self._token == READER:
            raise Refusal(403, "Forbidden: this token may only read")
        if self._token != TOKEN:
            raise Refusal(401, "Invalid username or password.")

    def _repo(self, name: str) -> Repo:
        repo = self.server.repos.get(name)
        if self._token and self._token not in (TOKEN, READER):
            raise Refusal(401, "Invalid credentials in Authorization header")
        if repo is None or (repo.private and not self._token):
            raise Refusal(404 if self._token else 401, "Repository not found", "RepoNotFound")
        return repo

    # -- what is asked ------------------------------------------------------------------------------------------------

    def _route(self, path: str) -> tuple[int, dict[str, str], bytes]:
        name = r"(?P<name>[\w.-]+/[\w.-]+)"
        revision = r"(?P<revision>[^/]+)"
        routes: list[tuple[str, str, Callable[..., Any]]] = [
            ("GET", r"/api/whoami-v2", self._whoami),
            ("POST", r"/api/repos/create", self._create),
            ("POST", r"/api/validate-yaml", self._validate),
            ("GET", rf"/api/datasets/{name}", self._info),
            ("GET", rf"/api/datasets/{name}/revision/{revision}", self._info),
            ("GET", rf"/api/datasets/{name}/tree/{revision}(?:/(?P<below>.+))?", self._tree),
            ("POST", rf"/api/datasets/{name}/paths-info/{revision}", self._paths_info),
            ("GET", rf"/api/datasets/{name}/refs", self._refs),
            ("POST", rf"/api/datasets/{name}/preupload/{revision}", self._preupload),
            ("POST", rf"/datasets/{name}\.git/info/lfs/objects/batch", self._lfs_batch),
            ("PUT", r"/lfs/(?P<oid>\w{64})", self._lfs_put),
            ("POST", r"/lfs/(?P<oid>\w{64})/verify", self._lfs_verify),
            ("POST", rf"/api/datasets/{name}/commit/{revision}", self._commit),
            ("POST", rf"/api/datasets/{name}/tag/{revision}", self._tag),
            ("GET", rf"/datasets/{name}/resolve/{revision}/(?P<file>.+)", self._resolve),
            ("GET", rf"/api/models/{name}", self._info),
            ("GET", rf"/api/models/{name}/revision/{revision}", self._info),
            ("GET", rf"/{name}/resolve/{revision}/(?P<file>.+)", self._resolve),
        ]
        asked = "GET" if self.command == "HEAD" else self.command
        for method, pattern, action in routes:
            found = re.fullmatch(pattern, path)
            if found and method == asked:
                answer = action(
                    **{key: unquote(value) for key, value in found.groupdict().items() if value is not None}
                )
                return answer if isinstance(answer, tuple) else (200, {}, json.dumps(answer).encode())
        raise Refusal(404, f"this double has no {asked} {path}")

    def _json(self) -> Any:
        return json.loads(self.body or b"{}")

    def _whoami(self) -> Any:
        self._may_write()
        return {"type": "user", "name": "tester", "orgs": [], "auth": {"accessToken": {"role": "write"}}}

    def _create(self) -> Any:
        self._may_write()
        asked = self._json()
        name = f"{asked.get('organization') or 'tester'}/{asked['name']}"
        if name in self.server.repos:
            raise Refusal(409, "You already created this dataset repo")
        self.server.create(name, private=bool(asked.get("private") or asked.get("visibility") == "private"))
        return {"url": f"{self.server.url}/datasets/{name}", "name": name, "id": name}

    def _validate(self) -> Any:
        return {"errors": [], "warnings": []}

    def _info(self, name: str, revision: str = "main") -> Any:
        repo = self._repo(name)
        commit = repo.at(revision)
        card = commit.tree.get("README.md")
        found = re.match(r"---\n(.*?)\n---", card.data.decode(), re.DOTALL) if card else None
        return {
            "_id": "0" * 24,
            "id": name,
            "author": name.split("/")[0],
            "sha": commit.oid,
            "private": repo.private,
            "gated": False,
            "disabled": False,
            "lastModified": "2026-01-01T00:00:00.000Z",
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "cardData": yaml.safe_load(found[1]) if found else None,
            "siblings": [{"rfilename": path} for path in sorted(commit.tree)],
        }

    def _tree(self, name: str, revision: str, below: str = "") -> Any:
        tree = self._repo(name).at(revision).tree
        start = f"{below.strip('/')}/" if below else ""
        deep = self.query.get("recursive", [""])[0].lower() in ("true", "1")
        entries: dict[str, Any] = {}
        for path, blob in tree.items():
            if not path.startswith(start):
                continue
            steps = path[len(start) :].split("/")
            for depth in range(1, len(steps) if deep else min(2, len(steps))):
                folder = start + "/".join(steps[:depth])
                entries[folder] = {"type": "directory", "path": folder, "oid": "0" * 40, "size": 0}
            if deep or len(steps) == 1:
                entries[path] = blob.described(path)
        if start and not entries:
            raise Refusal(404, f"{below} does not exist", "EntryNotFound")
        return [entries[path] for path in sorted(entries)]

    def _paths_info(self, name: str, revision: str) -> Any:
        tree = self._repo(name).at(revision).tree
        asked = (
            self._json()["paths"]
            if "json" in self.headers.get("Content-Type", "")
            else parse_qs(self.body.decode())["paths"]
        )
        found = []
        for path in [asked] if isinstance(asked, str) else asked:
            if path in tree:
                found.append(tree[path].described(path))
            elif any(other.startswith(f"{path}/") for other in tree):
                found.append({"type": "directory", "path": path, "oid": "0" * 40, "size": 0})
        return found

    def _refs(self, name: str) -> Any:
        repo = self._repo(name)
        named = {"branches": ("heads", repo.branches), "tags": ("tags", repo.tags)}
        refs = {
            kind: [{"name": ref, "ref": f"refs/{where}/{ref}", "targetCommit": oid} for ref, oid in pairs.items()]
            for kind, (where, pairs) in named.items()
        }
        return refs | {"converts": [], "pullRequests": []}

    def _preupload(self, name: str, revision: str) -> Any:
        self._may_write()
        tree = self._repo(name).at(revision).tree
        return {
            "files": [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                    "oid": tree[file["path"]].oid if file["path"] in tree else None,
                }
                for file in self._json()["files"]
            ]
        }

    def _lfs_batch(self, name: str) -> Any:
        self._may_write()
        self._repo(name)
        objects = []
        for wanted in self._json()["objects"]:
            entry: dict[str, Any] = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.server.uploads:
                url = f"{self.server.url}/lfs/{wanted['oid']}"
                entry["actions"] = {
                    "upload": {"href": url, "header": {}},
                    "verify": {"href": f"{url}/verify", "header": {}},
                }
            objects.append(entry)
        return {"transfer": "basic", "objects": objects}

    def _lfs_put(self, oid: str) -> Any:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise Refusal(400, "the content is not what its name says")
        self.server.uploads[oid] = self.body
        return {}

    def _lfs_verify(self, oid: str) -> Any:
        if oid not in self.server.uploads or len(self.server.uploads[oid]) != self._json()["size"]:
            raise Refusal(404, "not uploaded")
        return {}

    def _commit(self, name: str, revision: str) -> Any:
        self._may_write()
        repo = self._repo(name)
        head = repo.at(revision)
        tree, title = dict(head.tree), ""
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                title = value["summary"]
                if value.get("parentCommit") not in (None, head.oid):
                    raise Refusal(412, "A commit has happened since. Please refresh and try again.")
            elif entry["key"] == "file":
                tree[value["path"]] = Blob(base64.b64decode(value["content"]), False)
            elif entry["key"] == "lfsFile":
                if value["oid"] not in self.server.uploads:
                    raise Refusal(400, "a large file was not uploaded")
                tree[value["path"]] = Blob(self.server.uploads[value["oid"]], True)
            elif entry["key"] == "deletedFile" and tree.pop(value["path"], None) is None:
                raise Refusal(404, "the file to be deleted is not there", "EntryNotFound")
        oid = repo.commit(tree, title, revision)
        url = f"{self.server.url}/datasets/{name}/commit/{oid}"
        return {"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": "", "pullRequestUrl": None}

    def _tag(self, name: str, revision: str) -> Any:
        self._may_write()
        repo, tag = self._repo(name), self._json()["tag"]
        if tag in repo.tags:
            raise Refusal(409, "Tag reference exists already")
        repo.tags[tag] = repo.at(revision).oid
        return {}

    def _resolve(self, name: str, revision: str, file: str) -> Any:
        commit = self._repo(name).at(revision)
        if file not in commit.tree:
            raise Refusal(404, "Entry not found", "EntryNotFound")
        blob = commit.tree[file]
        headers = {
            "X-Repo-Commit": commit.oid,
            "ETag": f'"{blob.sha256 if blob.large else blob.oid}"',
            "Accept-Ranges": "bytes",
        }
        headers["Content-Type"] = "application/octet-stream"
        if blob.large:
            headers |= {"X-Linked-ETag": f'"{blob.sha256}"', "X-Linked-Size": str(len(blob.data))}
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range") or "")
        if not asked or not blob.data:
            return 200, headers, blob.data
        size = len(blob.data)
        first = int(asked[1]) if asked[1] else max(0, size - int(asked[2]))
        last = min(int(asked[2]), size - 1) if asked[1] and asked[2] else size - 1
        if first >= size:
            return 416, {"Content-Range": f"bytes */{size}"}, b""
        return 206, headers | {"Content-Range": f"bytes {first}-{last}/{size}"}, blob.data[first : last + 1]
