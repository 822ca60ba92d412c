"""The workbench's modules, served under /workbench/DIGEST/, each with its right type."""

import hashlib
from functools import cache
from pathlib import Path

from fastapi import Request
from fastapi.responses import PlainTextResponse, Response
from fastapi.routing import APIRoute

FOLDER = Path(__file__).with_name("workbench")
FOREVER = "public, max-age=31536000, immutable"


@cache
def modules() -> dict[str, bytes]:
    """Name -> content of what a browser runs; tests are left out."""
    return {path.name: path.read_bytes() for path in sorted(FOLDER.glob("*.js")) if not path.name.endswith(".test.js")}


@cache
def css() -> str:
    return "".join(path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.css")))


@cache
def version() -> str:
    """It changes with any module, since they import each other by relative addresses."""
    return hashlib.sha256(b"".join(name.encode() + content for name, content in modules().items())).hexdigest()[:16]


async def serve(request: Request) -> Response:
    """A module; to a page of an older server that of this one, which no cache may keep."""
    content = modules().get(request.path_params["name"])
    if content is None:
        return PlainTextResponse("Not found", 404)
    kept = FOREVER if request.path_params["version"] == version() else "no-store"
    return Response(content, media_type="text/javascript", headers={"Cache-Control": kept})


def route() -> APIRoute:
    return APIRoute("/workbench/{version}/{name}", serve, methods=["GET", "HEAD"], response_model=None, include_in_schema=False)
