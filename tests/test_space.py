"""`hub space`: what it uploads, and that exactly these files are a page that classifies, in an empty folder and in an
environment that holds what the Space's requirements.txt names and nothing else.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from serving import serve
from test_readme import pins

from cells.model import folder
from cells.model.folder import ADAPTED_FILE, DEFAULT
from cells.synthetic import draw_cell
from hub import publish
from hub import space as space_upload
from hub.__main__ import main
from hub.messages import HubError

ROOT = Path(__file__).resolve().parent.parent
WAIT = 120_000  # milliseconds, for a machine that is busy


@pytest.fixture
def space(hub, run) -> dict[str, bytes]:
    """The files of a Space that offers a Hub model beside the embedded ones."""
    model = ROOT / "models" / "resnet18"
    hub.add("model", "user/cells", {name: (model / name).read_bytes() for name in ("config.json", "model.safetensors")})
    done = run("space", "user/page", "--model", "user/cells@main", "--examples", "user/pbc")
    assert done.returncode == 0, done.stderr
    return hub.repos["space", "user/page"].files()


def test_a_space_holds_the_page_and_nothing_for_training(hub, run, space):
    assert len(hub.repos["space", "user/page"].commits) == 2
    folders = {name.split("/")[0] for name in space}
    assert folders == {
        ".gitattributes", "README.md", "LICENSE", "CITATION.cff", "requirements.txt",
        "app.py", "cells", "hub", "models", "page",
    }  # fmt: skip
    for name, content in space.items():
        if name not in (".gitattributes", "README.md", "hub/models.toml", "hub/examples.toml"):
            assert content == (ROOT / name).read_bytes(), name
    assert {f"models/{DEFAULT}/model.safetensors", f"models/{DEFAULT}/onnx/model_quantized.onnx"} <= space.keys()
    assert {f"page/workbench/{name}" for name in ("main.js", "workbench.html", "workbench.css", "cases.json")} <= space.keys()
    assert not [name for name in space if name.endswith(".test.js")]
    assert tomllib.loads(space["hub/models.toml"].decode())["user/cells@main"] == "user/cells@main"
    front = yaml.safe_load(space["README.md"].decode().split("---")[1])
    assert front["sdk"] == "gradio"
    assert front["sdk_version"] == pins("requirements.txt")["gradio"]
    assert front["python_version"] == "3.11"
    assert front["app_file"] == "app.py"
    assert front["models"] == ["user/cells"]
    assert front["datasets"] == ["chehablab/PBC", "user/pbc"]
    assert tomllib.loads(space["hub/examples.toml"].decode()) == {"dataset": "user/pbc"}
    (preload,) = front["preload_from_hub"]
    repo_id, files, commit = preload.split()
    assert repo_id == "user/cells"
    assert files.split(",") == ["config.json", "model.safetensors"]  # what the repo has
    assert commit == hub.repos["model", "user/cells"].branches["main"]


def test_pushed_again_a_space_changes_only_what_changed_and_keeps_a_persons_words(hub, run, space):
    repo = hub.repos["space", "user/page"]
    readme = (
        space["README.md"].decode().replace("emoji: 🔬", "emoji: 🩸").replace("python_version: '3.11'", "python_version: '3.9'")
    )
    changes = {"README.md": (readme + "\nOurs.\n").encode(), "cells/gone.py": b"", "ours.txt": b"stays"}
    repo.commit("main", space | changes)
    again = ("space", "user/page", "--model", "user/cells@main", "--examples", "user/pbc")
    done = run(*again)
    assert done.returncode == 0, done.stderr
    now = repo.files()
    assert "(--delete removes them): cells/gone.py\n" in done.stdout
    assert now["cells/gone.py"] == b""
    assert now["ours.txt"] == b"stays"
    text = now["README.md"].decode()
    assert text.endswith("Ours.\n")
    front = yaml.safe_load(text.split("---")[1])
    assert (front["emoji"], front["python_version"]) == ("🩸", "3.11")
    done = run(*again, "--delete")
    assert "cells/gone.py" not in repo.files()
    assert repo.files()["ours.txt"] == b"stays"
    done = run(*again)
    assert "up to date" in done.stdout
    assert "does not exist" in run("space", "user/page", "--model", "user/none").stderr


def test_a_dry_run_lists_the_files_and_sends_nothing(hub, run):
    done = run("space", "user/page", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in ("app.py", "models/resnet18/model.safetensors", "sdk: gradio"))
    assert hub.requests == []


def test_what_was_pulled_or_adapted_is_left_out_and_named(monkeypatch, tmp_path, capsys):
    for name in ("resnet18", "user--cells", "user--adapted", "mine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    for name in ("user--adapted", "mine"):
        (tmp_path / name / ADAPTED_FILE).write_text("{}")
    monkeypatch.setattr(folder, "EMBEDDED", tmp_path)
    monkeypatch.setattr(publish, "export", lambda *_: None)
    monkeypatch.setattr(publish, "publish", lambda *_: "")
    monkeypatch.setattr(space_upload, "upload", lambda *_: None)
    assert space_upload.published_models() == ["resnet18"]
    assert main(["space", "user/page"]) == 0
    pulled = "pulled from the Hub, --model USER/NAME adds one"
    expected = f"Left out: mine (adapted to a laboratory's cells), user--adapted ({pulled}), user--cells ({pulled})\n"
    assert capsys.readouterr().out.startswith(expected)


def test_the_space_promises_of_pictures_what_the_page_does():
    """As SECURITY.md has it: an upload of a page that was closed is left over for a while."""
    text = " ".join(space_upload.text_of({}).split())
    assert "deletes each picture once it is classified, and what is left over within an hour" in text


def test_a_model_that_is_named_twice_or_listed_is_in_the_list_once(monkeypatch, tmp_path):
    monkeypatch.setattr(space_upload.catalog, "LIST", tmp_path / "models.toml")
    (tmp_path / "models.toml").write_text('ours = "user/listed"\n"user/key" = "user/key"\nlater = ""\n')
    files = space_upload.contents(["user/cells", "user/cells", "user/cells@v1", "user/listed", "user/key"])
    named = tomllib.loads(files["hub/models.toml"].decode())
    assert set(named) == {"ours", "later", "user/key", "user/cells", "user/cells@v1"}
    found = {place: ("1" * 40, ["config.json"]) for place in ("user/cells", "user/cells@v1")}
    assert yaml.safe_load(space_upload.text_of(found).split("---")[1])["models"] == ["user/cells"]


def test_a_model_without_a_card_gets_one_and_a_broken_one_is_refused(monkeypatch, tmp_path):
    copied = shutil.copytree(ROOT / "models" / "resnet18", tmp_path / "resnet18", ignore=shutil.ignore_patterns("onnx"))
    (copied / "README.md").unlink()
    monkeypatch.setattr(folder, "EMBEDDED", tmp_path)
    assert space_upload.contents()["models/resnet18/README.md"] == (ROOT / "models" / "resnet18" / "README.md").read_bytes()
    (copied / "metrics.json").write_text("{}")
    with pytest.raises(HubError, match="one of its files is damaged"):
        space_upload.upload()


@pytest.fixture
def python(tmp_path) -> str:
    """The interpreter of a fresh environment for which `pip install -r requirements.txt` finds nothing left to install.

    Its packages are linked from the environment of the tests, which has the same versions and more: a minute and
    gigabytes less than to install them again.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    requirements = tmp_path / "space" / "requirements.txt"
    lines = (line for line in requirements.read_text().splitlines() if not line.startswith("#"))
    for requirement in map(Requirement, lines):
        if requirement.marker is None or requirement.marker.evaluate():
            link(metadata.distribution(requirement.name), packages)
    python = str(tmp_path / "venv" / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python]
    alone = os.environ | {"PYTHONPATH": ""}
    subprocess.run([*pip, "install", "-q", "--no-index", "-r", requirements], env=alone, check=True)
    subprocess.run([*pip, "check"], env=alone, check=True)
    yield python
    shutil.rmtree(tmp_path / "venv")


def link(distribution: metadata.Distribution, packages: Path) -> None:
    """Hard links, or copies on another disk, of the files of an installed distribution in another folder of packages."""
    for file in distribution.files:
        if ".." not in file.parts:  # a command in bin/
            target = packages / file
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(distribution.locate_file(file), target)
            except OSError:
                shutil.copyfile(distribution.locate_file(file), target)


def test_the_files_of_a_space_start_and_classify(space, browser, tmp_path, request):
    for name, content in space.items():
        (tmp_path / "space" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "space" / name).write_bytes(content)
    python = request.getfixturevalue("python")  # after the files are written
    draw_cell("neutrophil").save(tmp_path / "cell.png")
    with serve(tmp_path / "space", tmp_path, python, PYTHONPATH="") as url:
        page = browser.new_page()
        page.set_default_timeout(WAIT)
        page.goto(url)
        page.set_input_files("#files input[type=file]", str(tmp_path / "cell.png"))
        page.click("#classify")
        page.locator("#gallery [data-cell]").first.wait_for()
        assert page.locator("#gallery [data-cell]").count() == 1
        assert f"{DEFAULT}@" in page.locator(".workbench").inner_text()
        page.close()
