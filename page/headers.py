"""What every answer says to the browser, and which of Gradio's routes are closed since this page has no use for them."""

import re
import secrets
from collections.abc import Awaitable, Callable

from cells.read import limits

Message = dict
Send = Callable[[Message], Awaitable[None]]

# Under Gradio's prefix: what the page, its API and agents ask for. Closed are, among others, routes that take files which are
# never deleted, store what a session shows under a link, or fetch any address of the web for anyone.
PREFIX = "/gradio_api/"
OPEN = re.compile(
    r"app_id|info|openapi\.json|startup-events|theme\.css|cancel|reset|upload|upload_progress|component_server"
    r"|(queue|call|run|api|heartbeat|mcp)(/.*)?|file=(?!.*://).*",
    re.DOTALL,
)

# Gradio runs the page's own scripts with eval, and writes style attributes; a script in a text runs nowhere.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'nonce-{nonce}' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "worker-src 'self' blob:",
        "manifest-src 'self'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'self' https://huggingface.co https://*.hf.space",  # which show a Space in a frame
    )
)
FILE_POLICY = "default-src 'none'; sandbox allow-downloads"  # of a file that someone opens by its address
HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"permissions-policy": b"camera=(), microphone=(), geolocation=(), display-capture=(), payment=(), usb=()",
}


class Headers:
    """ASGI middleware, to stand inside whatever compresses."""

    def __init__(self, app: Callable) -> None:
        self.app = app

    async def __call__(self, scope: dict, receive: Callable, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answer, status = _Answer(scope["path"], send), refusal(scope)
        if status:
            await answer({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body"})
        else:
            await self.app(scope, receive, answer)


def refusal(scope: Message) -> int:
    """The status of a request that is not passed on; 0 for one that is."""
    if not is_open(scope["path"]):
        return 404
    path = scope["path"].rstrip("/")
    if scope["method"] != "POST" or path == f"{PREFIX}upload":  # whose files are counted as they come
        return 0
    # Gradio reads a body whole, however long it is, and would store the files of a form.
    headers = {key.lower(): value for key, value in scope["headers"]}
    length = headers.get(b"content-length", b"")
    if path == f"{PREFIX}component_server" and not headers.get(b"content-type", b"").startswith(b"application/json"):
        return 415
    if not length.isdigit() or b"transfer-encoding" in headers:  # a length beside chunks is not theirs
        return 411
    return 413 if int(length) > limits.BODY_BYTES else 0


def is_open(path: str) -> bool:
    return not path.startswith(PREFIX) or bool(OPEN.fullmatch(path.removeprefix(PREFIX).rstrip("/")))


class _Answer:
    """A `send` that adds the headers. A page is held back until it is whole, and its own scripts get the policy's nonce."""

    def __init__(self, path: str, send: Send) -> None:
        self.path = path
        self.send = send
        self.nonce = secrets.token_urlsafe(16)
        self.held: list[Message] = []

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*self.headers(message["headers"])]
            if any(key == b"content-type" and value.startswith(b"text/html") for key, value in message["headers"]):
                self.held.append(message)
                return
        elif self.held:
            self.held.append(message)
            if not message.get("more_body"):
                await self.send_page()
            return
        await self.send(message)

    def headers(self, theirs: list) -> list[tuple[bytes, bytes]]:
        ours = dict(HEADERS)
        ours[b"content-security-policy"] = POLICY.format(nonce=self.nonce).encode()
        if self.path.startswith(PREFIX):
            ours[b"cache-control"] = b"no-store"  # an answer or a file is one visitor's
        if self.path.startswith(f"{PREFIX}file="):
            ours[b"content-security-policy"] = FILE_POLICY.encode()
        theirs = [(key.lower(), value) for key, value in theirs]
        return [*(pair for pair in theirs if pair[0] not in ours), *ours.items()]

    async def send_page(self) -> None:
        start, *parts = self.held
        page = b"".join(part.get("body", b"") for part in parts)
        page = page.replace(b"<script", f'<script nonce="{self.nonce}"'.encode())
        others = [pair for pair in start["headers"] if pair[0] != b"content-length"]
        await self.send(start | {"headers": [*others, (b"content-length", str(len(page)).encode())]})
        await self.send({"type": "http.response.body", "body": page})
