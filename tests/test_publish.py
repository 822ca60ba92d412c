"""The Hub on 127.0.0.1, with the real client over HTTP: push, push again, edit, pull, check, and what fails on the way."""

import errno
import shutil
from pathlib import Path
from unittest.mock import Mock

import pytest
from hub_server import Fault
from huggingface_hub.errors import HfHubHTTPError, HTTPError, LocalEntryNotFoundError, RemoteEntryNotFoundError

from cells.model import folder
from cells.model.classifier import Classifier
from cells.model.torch_network import TorchNetwork
from cells.model.uncertainty import Uncertainty
from cells.synthetic import draw_cell
from hub import catalog, publish, space
from hub.messages import HubError, explained
from page import views
from train import training_ids

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "models" / "resnet18"
FILES = {name: (FOLDER / name).read_bytes() for name in ("config.json", "model.safetensors")}
NAMES = {
    *("config.json", "model.safetensors", "trust.json", "trust.safetensors", "metrics.json"),
    *("figures/confusion.png", "figures/training.png", "calibration.json", "quantized.json"),
    *("onnx/model.onnx", "onnx/model_quantized.onnx"),
}


@pytest.fixture(scope="module", autouse=True)
def _exported():
    """As `push` does where it was not done before."""
    Classifier.load("resnet18")


def test_the_hashes_of_the_training_pictures_go_along(tmp_path):
    for name in (*publish.NEEDED, training_ids.FILE):
        (tmp_path / name).write_text("{}")
    assert set(publish.contents(tmp_path)) == {*publish.NEEDED, training_ids.FILE}


def test_an_exported_network_of_other_weights_is_not_published(tmp_path, monkeypatch):
    exported = {"onnx/model.onnx", "onnx/model_quantized.onnx"}
    copied = shutil.copytree(FOLDER, tmp_path / "resnet18")
    assert exported <= publish.contents(copied).keys()
    (copied / "quantized.json").unlink()  # it was not found to be as good
    assert exported & publish.contents(copied).keys() == {"onnx/model.onnx"}
    (copied / "config.json").write_text((copied / "config.json").read_text() + "\n")  # the digest is of this file too
    assert not exported & publish.contents(copied).keys()
    monkeypatch.setattr(publish, "load_onnx", lambda *_, **__: None)
    said = []
    publish.export(copied, said.append)
    assert said == [f"{copied} is published without onnx/model.onnx: the network cannot be exported here."]


def test_push_pull_and_check(hub, run, tmp_path):
    assert run("push", str(FOLDER), "user/cells").returncode == 0
    files = hub.repos["model", "user/cells"].files()
    assert set(files) == {*NAMES, "README.md", ".gitattributes"}
    for name in (*NAMES, "README.md"):
        assert files[name] == (FOLDER / name).read_bytes(), name
    assert len(hub.repos["model", "user/cells"].commits) == 2  # the one that made it, and ours

    done = run("pull", "user/cells", "--out", str(tmp_path / "models"))
    assert done.returncode == 0, done.stderr
    pulled = tmp_path / "models" / "user--cells"
    assert list((tmp_path / "models").iterdir()) == [pulled]
    assert {path.relative_to(pulled).as_posix() for path in pulled.rglob("*") if path.is_file()} == {*NAMES, "README.md"}
    for name in (*NAMES, "README.md"):
        assert (pulled / name).read_bytes() == files[name], name

    done = run("check", "user/cells")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == ["AutoModelForImageClassification", "pipeline", "timm"]
    assert len({line.split()[1] for line in lines}) == 1


def test_what_a_library_cannot_load_is_one_sentence(hub, run):
    config, weights = FILES["config.json"], FILES["model.safetensors"]
    hub.add("model", "user/kind", {"config.json": b'{"model_type": "no such network"}', "model.safetensors": weights})
    foreign = config.replace(b'"num_classes": 8', b'"num_classes": 9')
    hub.add("model", "user/sizes", {"config.json": foreign, "model.safetensors": weights})
    hub.add("model", "user/pickle", {"config.json": config, "pytorch_model.bin": b"pickle"})
    for name, words in (
        ("kind", "AutoModelForImageClassification cannot load it: ValueError"),
        ("sizes", "AutoModelForImageClassification cannot load it: RuntimeError"),
        ("pickle", "in pickle form only"),
    ):
        done = run("check", f"user/{name}")
        assert done.returncode == 2
        assert words in done.stderr
        assert done.stderr.startswith(f"error: user/{name}")
        assert done.stderr.count("\n") == 1


def wrapped(error: Exception) -> OSError:
    """As transformers wraps an error of the Hub."""
    outer = OSError("there was a specific connection error")
    outer.__cause__ = error
    return outer


@pytest.mark.parametrize(("error", "code"), [
    (OSError("the repo does not appear to have a file named preprocessor_config.json"), "check_failed"),
    (wrapped(RemoteEntryNotFoundError("no such file", response=Mock(headers={}))), "check_failed"),
    (RuntimeError("size mismatch"), "check_failed"),
    (wrapped(HTTPError("refused")), "hub_unreachable"),
    (wrapped(HfHubHTTPError("refused", response=Mock(status_code=403, headers={}))), "hub_forbidden"),
    (LocalEntryNotFoundError("not cached, and no connection"), "hub_unreachable"),
    (OSError(errno.ENOSPC, "No space left on device"), "hub_disk"),
])  # fmt: skip
def test_a_model_that_does_not_fit_is_no_fault_of_the_hub(error, code):
    from hub import check

    def load(*_: object) -> None:
        raise error

    with pytest.raises(HubError) as raised, explained("user/cells"):
        check._loaded("timm", load, "user/cells", "main")
    assert raised.value.code == code


def test_a_second_push_sends_nothing(hub, run):
    run("push", str(FOLDER), "user/cells")
    commits = len(hub.repos["model", "user/cells"].commits)
    hub.requests.clear()
    done = run("push", str(FOLDER), "user/cells")
    assert done.returncode == 0, done.stderr
    assert "up to date" in done.stdout
    assert len(hub.repos["model", "user/cells"].commits) == commits
    assert not [line for line in hub.requests if line.startswith("PUT") or "/commit/" in line]


def test_what_a_person_added_to_the_card_stays(hub, run, tmp_path):
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

    local = shutil.copytree(FOLDER, tmp_path / "resnet18")
    with open(local / "README.md", "a") as file:
        file.write("\nOurs.\n")
    done = run("push", str(local), "user/cells")
    assert "has words of its own, which stay; those of the local README.md are not added" in done.stdout
    assert repo.files()["README.md"].decode() == now
    run("push", str(local), "user/new")
    assert hub.repos["model", "user/new"].files()["README.md"] == (local / "README.md").read_bytes()


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


def test_a_private_push_to_a_public_repo_is_refused_before_anything_is_sent(hub, run):
    repo = hub.add("model", "user/cells", {"README.md": b"# Ours"})
    done = run("push", str(FOLDER), "user/cells", "--private")
    assert done.returncode == 2
    assert "is public" in done.stderr
    assert set(repo.files()) == {"README.md"}


def test_files_of_others_stay_and_are_named_until_delete_is_given(hub, run):
    repo = hub.add("model", "user/cells", {"figures/mine.png": b"mine", "notes/a.txt": b"a", "README.md": b"# Ours"})
    done = run("push", str(FOLDER), "user/cells")
    assert done.returncode == 0, done.stderr
    assert "Kept in user/cells" in done.stdout
    assert "(--delete removes them): figures/mine.png\n" in done.stdout
    assert repo.files()["figures/mine.png"] == b"mine"
    done = run("push", str(FOLDER), "user/cells", "--delete")
    assert "since this upload does not hold them: figures/mine.png\n" in done.stdout
    assert "figures/mine.png" not in repo.files()
    assert repo.files()["notes/a.txt"] == b"a"  # no folder of ours


def test_what_belongs_to_earlier_weights_is_removed_and_it_says_so(hub, run):
    """A ViT's preprocessing beside a ResNet, for one, would make transformers answer wrongly."""
    repo = hub.add("model", "user/cells", {"preprocessor_config.json": b"{}", "README.md": b"# Ours"})
    done = run("push", str(FOLDER), "user/cells")
    assert "an earlier upload wrote them and this one does not: preprocessor_config.json\n" in done.stdout
    assert "preprocessor_config.json" not in repo.files()


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
        (Fault("POST .*/preupload/", 404), "does not exist"),
        (Fault("POST .*/commit/", 409), "someone else changed it"),
        (Fault("POST .*/commit/", 412), "someone else changed it"),
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
    assert "a name is USER/NAME" in run("push", str(FOLDER), "user/a b").stderr
    assert "lacks config.json" in run("push", str(ROOT / "docs"), "user/cells").stderr
    assert "does not exist" in run("pull", "user/none").stderr


def test_a_pull_replaces_nothing_unasked(hub, run, tmp_path):
    """Neither the embedded model of the same name nor a folder that was pulled before."""
    hub.add("model", "anyone/resnet18", {name: (FOLDER / name).read_bytes() for name in ("config.json", "model.safetensors")})
    for name in ("resnet18", "anyone--resnet18"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.txt").write_text("work")
    done = run("pull", "anyone/resnet18", "--out", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr == f"error: {tmp_path / 'anyone--resnet18'} exists; --force replaces it, --out names another place.\n"
    assert (tmp_path / "anyone--resnet18" / "mine.txt").read_text() == "work"

    hub.faults.append(Fault("GET .*/model.safetensors", cut=True))
    assert run("pull", "anyone/resnet18", "--out", str(tmp_path), "--force").returncode == 2
    assert (tmp_path / "anyone--resnet18" / "mine.txt").read_text() == "work"
    hub.faults.clear()
    assert run("pull", "anyone/resnet18", "--out", str(tmp_path), "--force").returncode == 0
    pulled = {path.name for path in (tmp_path / "anyone--resnet18").iterdir()}
    assert pulled == {"config.json", "model.safetensors"}
    assert (tmp_path / "resnet18" / "mine.txt").read_text() == "work"
    assert {path.name for path in tmp_path.iterdir()} >= {"resnet18", "anyone--resnet18"}
    assert not list(tmp_path.glob(".pull-*"))
    assert run("pull", "resnet18", "--out", str(tmp_path), "--force").returncode == 2  # no USER: it would be the embedded one


def test_a_rename_that_fails_brings_the_old_folder_back(tmp_path):
    (tmp_path / "user--cells").mkdir()
    (tmp_path / "user--cells" / "mine.txt").write_text("work")
    with pytest.raises(FileNotFoundError):
        publish._replace(tmp_path / "user--cells", tmp_path / "none", tmp_path / "aside")
    assert (tmp_path / "user--cells" / "mine.txt").read_text() == "work"
    assert not (tmp_path / "aside").exists()


def test_a_pulled_model_without_figures_breaks_no_page(monkeypatch, tmp_path):
    """It lies beside the embedded models: in the list, on the tab About in both languages, and it classifies."""
    shutil.copytree(FOLDER, tmp_path / "resnet18", ignore=shutil.ignore_patterns("onnx"))
    pulled, broken = tmp_path / "user--cells", tmp_path / "user--broken"
    pulled.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(FOLDER / name, pulled / name)
    shutil.copytree(pulled, broken)
    (broken / "metrics.json").write_text('{"test": []}')
    (broken / "quantized.json").write_text("{}")
    monkeypatch.setattr(folder, "EMBEDDED", tmp_path)
    assert catalog.names() == ["resnet18", "user--broken", "user--cells"]
    for language, words in (("en", "has no measured figures"), ("es", "no tiene cifras medidas")):
        page = views.about(language)
        assert page.count(words) == 2
        assert page.count("<img") == 1
        assert "0.9864" in page
    assert space.published_models() == ["resnet18"]  # what belongs to others is not published unasked
    (prediction,) = Classifier(pulled, TorchNetwork(pulled), Uncertainty(), "user--cells", "1").predict([draw_cell("platelet")])
    assert prediction.label == "platelet"
    with pytest.raises(HubError, match=r"lacks trust\.json"):
        publish.model(pulled)


def test_a_cut_download_leaves_nothing_and_a_second_try_works(hub, run, tmp_path):
    run("push", str(FOLDER), "user/cells")
    hub.faults.append(Fault("GET .*/model.safetensors", cut=True))
    done = run("pull", "user/cells", "--out", str(tmp_path / "models"))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert list((tmp_path / "models").iterdir()) == []
    hub.faults.clear()
    assert run("pull", "user/cells", "--out", str(tmp_path / "models")).returncode == 0
    assert (tmp_path / "models" / "user--cells" / "model.safetensors").read_bytes() == (
        FOLDER / "model.safetensors"
    ).read_bytes()


def test_a_disk_that_takes_no_more_leaves_nothing(hub, run, tmp_path):
    hub.add("model", "user/cells", {name: (FOLDER / name).read_bytes() for name in ("config.json", "model.safetensors")})
    done = run("pull", "user/cells", "--out", str(tmp_path / "models"), largest_file=1_000_000)
    assert done.returncode == 2
    assert "File too large" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert list((tmp_path / "models").iterdir()) == []


def test_an_error_once_and_then_fine_is_no_error(hub, run):
    hub.faults.append(Fault("POST .*/preupload/", 503, times=1))
    assert run("push", str(FOLDER), "user/cells").returncode == 0


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(HubError, match=r"lacks config\.json"):
        publish.contents(tmp_path)
