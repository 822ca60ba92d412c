"""The Hub on 127.0.0.1, with the real client over HTTP: push, push again, edit, pull, check, and what fails on the way."""

from pathlib import Path

import pytest
from hub_server import Fault

from cells.model.classifier import Classifier
from hub import card, publish

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "models" / "resnet18"
NAMES = {
    *("config.json", "model.safetensors", "trust.json", "trust.safetensors", "metrics.json"),
    *("figures/confusion.png", "figures/training.png", "calibration.json", "quantized.json"),
    *("onnx/model.onnx", "onnx/model_quantized.onnx"),
}


@pytest.fixture(scope="module", autouse=True)
def _exported():
    """As `push` does where it was not done before."""
    Classifier.load("resnet18")


def test_push_pull_and_check(hub, run, tmp_path):
    assert run("push", str(FOLDER), "user/cells").returncode == 0
    files = hub.repos["model", "user/cells"].files()
    assert set(files) == {*NAMES, "README.md", ".gitattributes"}
    for name in (*NAMES, "README.md"):
        assert files[name] == (FOLDER / name).read_bytes(), name
    assert len(hub.repos["model", "user/cells"].commits) == 2  # the one that made it, and ours

    done = run("pull", "user/cells", "--models", str(tmp_path / "models"))
    assert done.returncode == 0, done.stderr
    pulled = tmp_path / "models" / "cells"
    assert {path.relative_to(pulled).as_posix() for path in pulled.rglob("*") if path.is_file()} == {*NAMES, "README.md"}
    for name in (*NAMES, "README.md"):
        assert (pulled / name).read_bytes() == files[name], name

    done = run("check", "user/cells")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == ["AutoModelForImageClassification", "pipeline", "timm"]
    assert len({line.split()[1] for line in lines}) == 1


def test_a_second_push_sends_nothing(hub, run):
    run("push", str(FOLDER), "user/cells")
    commits = len(hub.repos["model", "user/cells"].commits)
    hub.requests.clear()
    done = run("push", str(FOLDER), "user/cells")
    assert done.returncode == 0, done.stderr
    assert "up to date" in done.stdout
    assert len(hub.repos["model", "user/cells"].commits) == commits
    assert not [line for line in hub.requests if line.startswith("PUT") or "/commit/" in line]


def test_what_a_person_added_to_the_card_stays(hub, run):
    run("push", str(FOLDER), "user/cells")
    repo = hub.repos["model", "user/cells"]
    text = repo.files()["README.md"].decode()
    edited = text.replace("license: cc-by-4.0", "license: cc-by-nc-4.0") + "\n## Our experience\n\nIt works.\n"
    edited = edited.replace("value: 0.9864", "value: 0.5")  # a figure is measured, not written
    repo.commit("main", repo.files() | {"README.md": edited.encode()})
    assert run("push", str(FOLDER), "user/cells").returncode == 0
    now = repo.files()["README.md"].decode()
    assert "license: cc-by-nc-4.0" in now
    assert now.endswith("## Our experience\n\nIt works.\n")
    assert "value: 0.9864" in now


def test_a_generated_part_that_a_person_changed_stays_and_it_says_so(hub, run):
    run("push", str(FOLDER), "user/cells")
    repo = hub.repos["model", "user/cells"]
    edited = repo.files()["README.md"].decode().replace("## Limits", "## What it cannot do")
    repo.commit("main", repo.files() | {"README.md": edited.encode()})
    done = run("push", str(FOLDER), "user/cells")
    assert "A person edited the card" in done.stdout
    assert "## What it cannot do" in repo.files()["README.md"].decode()


def test_a_branch_and_a_private_repo(hub, run):
    done = run("push", str(FOLDER), "user/cells", "--private", "--revision", "trial")
    assert done.returncode == 0, done.stderr
    repo = hub.repos["model", "user/cells"]
    assert repo.private
    assert "model.safetensors" in repo.files("trial")
    assert "model.safetensors" not in repo.files("main")


def test_a_dry_run_lists_files_and_card_and_sends_nothing(hub, run):
    done = run("push", str(FOLDER), "user/cells", "--dry-run")
    assert done.returncode == 0
    assert all(name in done.stdout for name in (*NAMES, "README.md"))
    assert f"{(FOLDER / 'model.safetensors').stat().st_size:,}" in done.stdout
    assert (FOLDER / "README.md").read_text() in done.stdout
    assert hub.requests == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault("POST /api/repos/create", 401), "does not know you"),
        (Fault("POST /api/repos/create", 403), "may not do this"),
        (Fault("POST .*/preupload/", 404), "is not there"),
        (Fault("POST .*/commit/", 409), "someone else changed it"),
        (Fault("POST .*/commit/", 429, {"Retry-After": "1"}), "in 1 s"),
        (Fault("POST /api/repos/create", 500), "error (500)"),
    ],
)
def test_a_refused_push_is_one_line_and_a_second_try_works(hub, run, fault, words):
    hub.faults.append(fault)
    done = run("push", str(FOLDER), "user/cells")
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    hub.faults.clear()
    assert run("push", str(FOLDER), "user/cells").returncode == 0
    assert "model.safetensors" in hub.repos["model", "user/cells"].files()


def test_a_wrong_token_and_a_wrong_name(hub, run):
    assert "does not know you" in run("push", str(FOLDER), "user/cells", token="hf_wrong").stderr
    assert "is to be USER/NAME" in run("push", str(FOLDER), "user/a b").stderr
    assert "lacks config.json" in run("push", str(ROOT / "docs"), "user/cells").stderr
    assert "not there" in run("pull", "user/none").stderr


def test_a_cut_download_leaves_nothing_and_a_second_try_works(hub, run, tmp_path):
    run("push", str(FOLDER), "user/cells")
    hub.faults.append(Fault("GET .*/model.safetensors", cut=True))
    done = run("pull", "user/cells", "--models", str(tmp_path / "models"))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert list((tmp_path / "models").iterdir()) == []
    hub.faults.clear()
    assert run("pull", "user/cells", "--models", str(tmp_path / "models")).returncode == 0
    assert (tmp_path / "models" / "cells" / "model.safetensors").read_bytes() == (FOLDER / "model.safetensors").read_bytes()


def test_a_disk_that_takes_no_more_leaves_nothing(hub, run, tmp_path):
    hub.add("model", "user/cells", {name: (FOLDER / name).read_bytes() for name in ("config.json", "model.safetensors")})
    done = run("pull", "user/cells", "--models", str(tmp_path / "models"), largest_file=1_000_000)
    assert done.returncode == 2
    assert "File too large" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert list((tmp_path / "models").iterdir()) == []


def test_an_error_once_and_then_fine_is_no_error(hub, run):
    hub.faults.append(Fault("POST .*/preupload/", 503, times=1))
    assert run("push", str(FOLDER), "user/cells").returncode == 0


def test_cards_merge():
    ours = (FOLDER / "README.md").read_text()
    assert card.merge(None, ours) == ours
    assert card.merge(ours, ours) == ours
    assert not card.is_edited(ours)
    bare = card.merge("# Mine\n", ours)
    assert bare.endswith("# Mine\n")
    assert "model-index:" in bare


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(publish.HubError, match=r"lacks config\.json"):
        publish.contents(tmp_path)
