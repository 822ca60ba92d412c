"""README, manual, results and cards: every link leads somewhere, and every file and module that they name exists."""

import re
from pathlib import Path

import pytest

from hub.__main__ import _parser

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(file for pattern in ("*.md", "docs/*.md", "results/*.md", "models/*/README.md") for file in ROOT.glob(pattern))
MANUAL = [page for page in PAGES if page.parent in (ROOT, ROOT / "docs")]
FOLDERS = "benchmarks|cells|docs|hub|models|page|results|tests|train"


def targets(page: Path) -> list[str]:
    """The relative addresses of links and pictures."""
    text = page.read_text()
    found = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page):
    for target in targets(page):
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_every_test_that_is_named_exists():
    tests = "".join(file.read_text() for file in (ROOT / "tests").glob("*.py"))
    for page in PAGES:
        for name in re.findall(r"`(test_\w+)`", page.read_text()):
            assert f"def {name}(" in tests, f"{page.name}: {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_file_that_is_named_exists(page):
    named = re.findall(rf"(?<![\w/.-])((?:{FOLDERS})/[\w./-]*\w)", page.read_text())
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_module_and_hub_command_that_is_named_exists(page):
    for module in re.findall(r"python -m ((?:benchmarks|cells|hub|tests|train)(?:\.\w+)*)", page.read_text()):
        path = ROOT.joinpath(*module.split("."))
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module
    commands = set(re.findall(r"python -m hub (\w+)", page.read_text()))
    assert commands <= set(_parser()._subparsers._group_actions[0].choices)


def test_every_page_of_the_manual_is_reached_from_the_readme():
    reached = {(ROOT / target.partition("#")[0]).resolve() for target in targets(ROOT / "README.md")}
    assert set(MANUAL) - {ROOT / "README.md"} <= reached
