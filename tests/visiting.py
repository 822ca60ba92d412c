"""A server as a visitor's program meets it: over HTTP, with nothing but the standard library."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import NamedTuple


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


def ask(address: str, body: bytes | dict | None = None, method: str | None = None, **headers: str) -> Answer:
    """What a server answers, errors too; a dict goes as JSON."""
    if isinstance(body, dict):
        body, headers = json.dumps(body).encode(), {"Content-Type": "application/json"} | headers
    headers = {key.replace("_", "-"): value for key, value in headers.items()}
    try:
        with urllib.request.urlopen(urllib.request.Request(address, body, headers, method=method), timeout=60) as answer:
            return Answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.headers, error.read())


def form(name: str, content: bytes) -> bytes:
    """A file as a browser sends it, with the boundary x."""
    head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    return head.encode() + content + b"\r\n--x--\r\n"


def upload(url: str, name: str, content: bytes) -> Answer:
    return ask(f"{url}/gradio_api/upload", form(name, content), Content_Type="multipart/form-data; boundary=x")


def classify(server: str, path: str, event_id: bool = False, **more: str) -> str:
    """The README's lines for plain HTTP: start the work, then read its events. `more` is said of the file."""
    data = [[{"path": path, "meta": {"_type": "gradio.FileData"}} | more], "resnet18"]
    event = json.loads(ask(f"{server}/gradio_api/call/classify", {"data": data}).body)["event_id"]
    return event if event_id else ask(f"{server}/gradio_api/call/classify/{event}").body.decode()


def component(url: str) -> int:
    """The number of the page's component, whose functions the browser calls."""
    config = json.loads(ask(f"{url}/config").body)
    return next(one["id"] for one in config["components"] if one["props"].get("elem_id") == "workbench")


def call(url: str, function: str, asked: object, session: str = "a tab") -> Answer:
    """What the page's script does with server.FUNCTION(asked)."""
    body = {"data": asked, "component_id": component(url), "fn_name": function, "session_hash": session}
    return ask(f"{url}/gradio_api/component_server", body)


def answer(url: str, function: str, **asked: object) -> dict:
    """The answer of a server function."""
    return json.loads(call(url, function, {"language": "en"} | asked).body)


def classified(url: str, *paths: str, model: str = "resnet18", **more: object) -> dict:
    """What the page is told of uploaded pictures."""
    sources = [{"id": str(place), "name": f"{place}.png", "path": path} for place, path in enumerate(paths)]
    return answer(url, "classify", **{"batch": "b", "model": model, "second": "", "sources": sources} | more)
