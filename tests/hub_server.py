"""The Hub on 127.0.0.1: enough of its protocol for the real client to create, write and read repositories, and to fail.

Repositories are in memory. Files from LFS_FROM bytes on, and those whose endings the Hub sends there, go through LFS.
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

LFS_FROM = 1_000_000
LFS_ENDINGS = (".safetensors", ".parquet", ".png", ".onnx", ".bin")
PREFIX = {"model": "", "dataset": "datasets/", "space": "spaces/"}


@dataclass
class Repo:
    """Commits by their id, and the commit that each branch stands on."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        sha = hashlib.sha1(f"{branch}{len(self.commits)}".encode()).hexdigest()
        self.commits[sha] = files
        self.branches[branch] = sha
        return sha

    def files(self, revision: str = "main") -> dict[str, bytes] | None:
        return self.commits.get(self.branches.get(revision, revision))


@dataclass
class Fault:
    """What a request that matches gets in place of its answer, so many times."""

    pattern: str  # of "METHOD /path"
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 10**9
    cut: bool = False  # half of the right answer, then the connection ends
    until: threading.Event | None = None  # the right answer, but not before this


class Hub:
    """`url` is what HF_ENDPOINT is to be; `repos` is keyed by (kind, id); `requests` logs "METHOD /path"."""

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.objects: dict[str, bytes] = {}  # LFS, by SHA-256
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.token = "hf_of_this_test_server"
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def add(self, kind: str, name: str, files: dict[str, bytes], private: bool = False) -> Repo:
        """A repository with one commit."""
        repo = self.repos[kind, name] = Repo(private)
        repo.commit("main", files)
        return repo


def _is_lfs(path: str, size: int) -> bool:
    return size >= LFS_FROM or path.endswith(LFS_ENDINGS)


def _entry(path: str, content: bytes) -> dict:
    """A file as the tree and paths-info endpoints show it."""
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    entry = {"type": "file", "path": path, "size": len(content), "oid": blob}
    if _is_lfs(path, len(content)):
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return entry


class _RefusalError(Exception):
    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status, self.code = status, code


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        self._serve("GET")

    def do_HEAD(self) -> None:
        self._serve("HEAD")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_PUT(self) -> None:
        self._serve("PUT")

    def _serve(self, method: str) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.body = self._read_chunks()
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{method} {path}")
        self.cut = False
        for fault in self.hub.faults:
            if fault.times and re.search(fault.pattern, f"{method} {path}"):
                fault.times -= 1
                self.cut = fault.cut
                if fault.until:
                    fault.until.wait()
                elif not fault.cut:
                    return self._send(fault.status, b'{"error": "made to fail"}', fault.headers)
                break
        try:
            self._route(method, path)
        except _RefusalError as refusal:
            headers = {"X-Error-Message": str(refusal)} | ({"X-Error-Code": refusal.code} if refusal.code else {})
            self._send(refusal.status, json.dumps({"error": str(refusal)}).encode(), headers)

    def _read_chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, status: int, content: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(content))} | (headers or {})
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.cut:
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            self.connection.close()
        else:
            self.wfile.write(content)

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode())

    def _route(self, method: str, path: str) -> None:
        if path == "/api/repos/create":
            return self._create()
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if path == "/api/whoami-v2":
            return self._json({"type": "user", "name": "user", "orgs": []})
        if path.startswith("/lfs/"):
            return self._store(path)
        if match := re.fullmatch(r"/(datasets/|spaces/)?([\w.-]+/[\w.-]+)\.git/info/lfs/objects/batch", path):
            return self._lfs_batch()
        if match := re.fullmatch(r"/(datasets/|spaces/)?([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)", path):
            kind = (match[1] or "models/")[:-2]
            return self._resolve(self._repo(kind, match[2]), match[3], match[4])
        if match := re.fullmatch(r"/api/(model|dataset|space)s/([\w.-]+/[\w.-]+)(?:/(.+))?", path):
            return self._api(method, match[1], match[2], match[3] or "")
        raise _RefusalError(404, f"no such page: {method} {path}")

    def _repo(self, kind: str, name: str, write: bool = False) -> Repo:
        repo = self.hub.repos.get((kind, name))
        signed = self.headers.get("Authorization") == f"Bearer {self.hub.token}"
        if write and not signed:
            raise _RefusalError(401, "Invalid username or password.")
        if repo is None or (repo.private and not signed):
            # The Hub says 401 for what one may not see, so that nobody learns whether it is there.
            raise _RefusalError(401 if not signed else 404, "Repository not found", "RepoNotFound")
        return repo

    def _create(self) -> None:
        if self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            raise _RefusalError(401, "Invalid username or password.")
        wanted = json.loads(self.body)
        kind, name = wanted.get("type", "model"), wanted["name"]
        name = f"{wanted.get('organization') or 'user'}/{name}"
        url = f"{self.hub.url}/{PREFIX[kind]}{name}"
        if (kind, name) in self.hub.repos:
            return self._send(409, json.dumps({"url": url, "error": "You already created this repo"}).encode())
        repo = self.hub.repos[kind, name] = Repo(bool(wanted.get("private")) or wanted.get("visibility") == "private")
        repo.commit("main", {".gitattributes": b"*.safetensors filter=lfs\n"})
        self._json({"url": url, "name": name, "id": name})

    def _api(self, method: str, kind: str, name: str, rest: str) -> None:
        action, _, argument = rest.partition("/")
        repo = self._repo(kind, name, write=action in ("preupload", "commit", "branch"))
        if action == "branch":
            repo.branches.setdefault(argument, repo.branches["main"])
            return self._json({})
        revision = argument.split("/")[0] or "main"
        files = repo.files(revision)
        if files is None:
            raise _RefusalError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        if action == "preupload":
            self._json({"files": [self._mode(file, files) for file in json.loads(self.body)["files"]]})
        elif action == "commit":
            self._commit(repo, kind, name, revision, files)
        elif action == "tree":
            self._json([_entry(path, content) for path, content in sorted(files.items())])
        elif action == "paths-info":
            wanted = self._fields("paths")
            self._json([_entry(path, files[path]) for path in wanted if path in files])
        elif action in ("", "revision"):
            sha = repo.branches.get(revision, revision)
            siblings = [{"rfilename": path} for path in sorted(files)]
            self._json({"id": name, "modelId": name, "sha": sha, "private": repo.private, "siblings": siblings, "tags": []})
        elif action == "refs":
            self._json({"branches": [{"name": branch, "ref": f"refs/heads/{branch}", "targetCommit": sha}
                                     for branch, sha in repo.branches.items()], "tags": [], "converts": []})  # fmt: skip
        else:
            raise _RefusalError(404, f"no such action: {method} {rest}")

    def _fields(self, name: str) -> list[str]:
        """A list of a request's body, as JSON or as a form."""
        if self.headers.get("Content-Type", "").startswith("application/json"):
            return json.loads(self.body)[name]
        return [unquote(part.partition("=")[2].replace("+", " ")) for part in self.body.decode().split("&")
                if part.startswith(f"{name}=")]  # fmt: skip

    def _mode(self, file: dict, files: dict[str, bytes]) -> dict:
        path = file["path"]
        lfs = _is_lfs(path, file["size"])
        answer = {"path": path, "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False}
        if path in files:
            entry = _entry(path, files[path])
            answer["oid"] = entry["lfs"]["oid"] if lfs else entry["oid"]
        return answer

    def _lfs_batch(self) -> None:
        objects = []
        for one in json.loads(self.body)["objects"]:
            oid = one["oid"]
            known = oid in self.hub.objects
            actions = {name: {"href": f"{self.hub.url}/lfs/{name}/{oid}"} for name in ("upload", "verify")}
            objects.append({"oid": oid, "size": one["size"]} | ({} if known else {"actions": actions}))
        self._json({"transfer": "basic", "objects": objects})

    def _store(self, path: str) -> None:
        _, _, action, oid = path.split("/")
        if action == "upload":
            if hashlib.sha256(self.body).hexdigest() != oid:
                raise _RefusalError(400, "the content is not what was announced")
            self.hub.objects[oid] = self.body
        elif oid not in self.hub.objects:
            raise _RefusalError(404, "nothing was uploaded")
        self._json({})

    def _commit(self, repo: Repo, kind: str, name: str, revision: str, before: dict[str, bytes]) -> None:
        files = dict(before)
        for line in self.body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
        sha = repo.commit(revision, files)
        url = f"{self.hub.url}/{PREFIX[kind]}{name}/commit/{sha}"
        self._json({"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})

    def _resolve(self, repo: Repo, revision: str, path: str) -> None:
        files = repo.files(revision)
        if files is None:
            raise _RefusalError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        if path not in files:
            raise _RefusalError(404, "Entry not found", "EntryNotFound")
        content, entry = files[path], _entry(path, files[path])
        headers = {
            "Content-Type": "application/octet-stream",
            "X-Repo-Commit": repo.branches.get(revision, revision),
            "ETag": f'"{entry["oid"]}"',
            "Accept-Ranges": "bytes",
        }
        if "lfs" in entry:
            headers |= {"X-Linked-Etag": f'"{entry["lfs"]["oid"]}"', "X-Linked-Size": str(len(content))}
        if span := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(span[1]), int(span[2] or len(content) - 1)
            headers |= {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
            return self._send(206, content[first : last + 1], headers)
        self._send(200, content, headers)
