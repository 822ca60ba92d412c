"""The headers of every answer, and that the page works under them in a browser, which asks nothing of anyone else."""

import json
import re
import zipfile
from pathlib import Path

import pytest
from serving import serve
from test_review import predict, review_of
from visiting import ask, upload

from cells.classes import LABELS, SUBTYPE_LABELS
from cells.differential import TYPICAL
from cells.read.images import thumbnail
from cells.review import Cell, Review
from cells.synthetic import draw_cell
from page import headers, static, views

ROOT = Path(__file__).resolve().parent.parent
WAIT = 120_000  # milliseconds, for a machine that is busy
SPANISH = {"locale": "es-ES", "color_scheme": "dark"}
MARKUP = "\"><img src=x onerror='window.hacked=1'><script>window.hacked=1</script>*b*[l](javascript:hacked=1)"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("log")
    with serve(ROOT, folder, TMPDIR=str(folder)) as url:
        yield url


def test_every_answer_has_the_headers(url):
    paths = (
        "",
        "es",
        "config",
        "gradio_api/info",
        "gradio_api/mcp/",
        "theme.css",
        "favicon.ico",
        "nowhere",
        "gradio_api/runs",
        f"workbench/{static.version()}/main.js",
    )
    for path in paths:
        found = ask(f"{url}/{path}").headers
        assert found["X-Content-Type-Options"] == "nosniff", path
        assert found["Referrer-Policy"] == "no-referrer", path
        assert "camera=()" in found["Permissions-Policy"], path
        policy = found["Content-Security-Policy"]
        assert "'unsafe-inline'" not in policy.partition("script-src")[2].partition(";")[0], path
        assert "frame-ancestors 'self' https://huggingface.co https://*.hf.space" in policy, path  # a Space is shown in a frame
        assert (found["Cache-Control"] == "no-store") == path.startswith("gradio_api"), path


def test_a_file_is_kept_by_no_cache_and_runs_nothing(url):
    for name, kind in (("a.png", "image/png"), ("a.svg", "application/octet-stream"), ("a.html", "application/octet-stream")):
        (path,) = json.loads(upload(url, name, b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>").body)
        found = ask(f"{url}/gradio_api/file={path}").headers
        assert (found["Content-Type"], found["Cache-Control"]) == (kind, "no-store")
        assert found["Content-Security-Policy"] == headers.FILE_POLICY
        assert kind == "image/png" or found["Content-Disposition"].startswith("attachment")


def test_a_page_names_its_own_scripts_by_a_nonce_that_is_never_the_same(url):
    nonces = set()
    for _ in range(2):
        answer = ask(url)
        (nonce,) = set(re.findall(r"<script nonce=\"([^\"]+)\"", answer.body.decode()))
        assert f"'nonce-{nonce}'" in answer.headers["Content-Security-Policy"]
        assert b"<script>" not in answer.body
        nonces.add(nonce)
    assert len(nonces) == 2


def test_a_page_that_comes_in_parts_keeps_its_length_right(run_async):
    async def app(scope, receive, send):
        theirs = [(b"Content-Type", b"text/html"), (b"Content-Length", b"17"), (b"X-Content-Type-Options", b"theirs")]
        await send({"type": "http.response.start", "status": 200, "headers": theirs})
        await send({"type": "http.response.body", "body": b"<script", "more_body": True})
        await send({"type": "http.response.body", "body": b"></script>"})

    sent = []

    async def send(message):
        sent.append(message)

    run_async(headers.Headers(app)({"type": "http", "method": "GET", "path": "/"}, None, send))
    start, body = sent
    found = dict(start["headers"])
    assert len(found) == len(start["headers"])
    assert found[b"content-length"] == str(len(body["body"])).encode()
    assert found[b"x-content-type-options"] == b"nosniff"
    assert re.fullmatch(rb'<script nonce="[\w-]+"></script>', body["body"])


@pytest.fixture
def page(browser, request):
    """A page of which everything is noted that its policy refused, that it asked of others, or that ran from a text."""
    context = browser.new_context(**getattr(request, "param", {}))
    page = context.new_page()
    page.set_default_timeout(WAIT)
    page.asked, page.said = [], []
    page.on("request", lambda one: page.asked.append(one.url))
    page.on("console", lambda one: page.said.append(one.text))
    page.on("pageerror", lambda one: page.said.append(str(one)))
    yield page
    context.close()


def assert_harmless(page, url: str) -> None:
    assert [one for one in page.asked if not one.startswith((url, "data:", "blob:"))] == []
    assert [one for one in page.said if "Content Security Policy" in one or "Permissions" in one] == []
    assert page.evaluate("window.hacked") is None


def test_a_module_has_the_type_that_browsers_run_and_is_kept_under_its_own_address(url):
    address = f"{url}/workbench/{static.version()}"
    for name in static.modules():
        found = ask(f"{address}/{name}")
        assert (found.status, found.body) == (200, static.modules()[name])
        assert found.headers["Content-Type"].startswith("text/javascript")
        assert found.headers["Cache-Control"] == static.FOREVER
    assert ask(f"{url}/workbench/older/main.js").headers["Cache-Control"] == "no-store"
    assert static.version() in ask(f"{url}/config").body.decode()


@pytest.mark.parametrize(("page", "place"), [({"locale": "en-US"}, ""), (SPANISH, "/es")], indirect=["page"])
def test_the_page_works_under_its_policy_and_asks_nothing_of_anyone_else(page, place, url, tmp_path):
    page.goto(f"{url}{place}")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for label in ("neutrophil", "lymphocyte"):
            draw_cell(label).save(tmp_path / "one.png")
            archive.write(tmp_path / "one.png", f"{label}{MARKUP}.png")
        archive.writestr(f"broken{MARKUP}.png", b"no picture")
    page.set_input_files("#files input[type=file]", str(tmp_path / "a.zip"))
    page.click("#classify")
    page.locator("#gallery [data-cell]").nth(2).wait_for()
    page.fill("#comment", MARKUP)
    for index in range(3):
        page.locator("#gallery [data-cell]").nth(index).click()
        page.locator("#detail", has_text="onerror").wait_for()
    page.locator("#gallery [data-cell]").first.click()
    page.click("#saliency")
    for button in ("#csv", "#excel", "#report"):
        with page.expect_download() as taken:
            page.click(button)
        taken.value.save_as(tmp_path / button[1:])
    assert MARKUP not in (tmp_path / "report").read_text()
    page.evaluate("document.fonts.ready")
    page.reload()
    page.locator("#gallery [data-cell]").nth(2).wait_for()
    assert page.locator("iframe").count() == 0
    assert_harmless(page, url)
    page.goto(f"file://{tmp_path}/report")
    assert page.evaluate("window.hacked") is None


def test_the_report_of_a_hostile_comment_runs_nothing(page, tmp_path):
    """Opened from a disk, where no header protects."""
    file = tmp_path / "report.html"
    file.write_text(views.report(Review(model=MARKUP, comment=MARKUP), TYPICAL, "en"), encoding="utf-8")
    page.goto(file.as_uri())
    assert MARKUP in page.locator(".comment").inner_text()
    assert page.evaluate("window.hacked") is None
    assert page.asked == [file.as_uri()]


@pytest.mark.parametrize("language", ["en", "es"])
@pytest.mark.parametrize("labels", [LABELS, SUBTYPE_LABELS])
def test_the_report_is_one_page_of_a4(browser, tmp_path, language, labels):
    small = thumbnail(draw_cell("ig"), 256)
    cells = [Cell(predict(label, labels=labels), small) for label in labels for _ in range(30)]
    review = review_of(*cells, second_model="vit_tiny@1", review_below=0.9, comment="Slide 7, day 3.\n" * 4)
    file = tmp_path / "report.html"
    file.write_text(views.report(review, TYPICAL, language), encoding="utf-8")
    page = browser.new_page()
    page.goto(file.as_uri())
    pdf = page.pdf(prefer_css_page_size=True)
    page.close()
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == 1


def test_no_other_site_shows_the_page_in_a_frame(page, url):
    page.set_content(f"<iframe src='{url}'></iframe>")
    page.wait_for_function("window.frames.length === 1")
    page.wait_for_timeout(1000)
    assert page.frames[1].url != f"{url}/"
    assert any("frame-ancestors" in one for one in page.said)


def test_the_agents_page_asks_nothing_of_anyone_else(page, url):
    pytest.importorskip("mcp")
    page.goto(f"{url}/gradio_api/mcp/")
    page.locator("#server-url").wait_for()
    page.wait_for_load_state("networkidle")
    assert_harmless(page, url)
