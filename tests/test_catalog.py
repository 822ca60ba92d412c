"""The page's models of the Hub: fetched when chosen, whole or not at all; what is wrong with one is a sentence.

The catalogue runs in a process of its own, since the Hub's client reads its address when it is imported.
"""

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hub_server import Fault

from cells.model.classifier import Classifier
from cells.model.folder import DEFAULT, ONNX_FILE, QUANTIZED_FILE
from hub import catalog
from hub.messages import HubError

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "models" / "resnet18"
COPIED = ("config.json", "model.safetensors", "calibration.json", "quantized.json", "trust.json", "trust.safetensors")
FILES = {name: (FOLDER / name).read_bytes() for name in COPIED}
FILES |= {ONNX_FILE: b"of other weights", QUANTIZED_FILE: b"of other weights"}  # so that PyTorch answers
TIMM = {key: value for key, value in json.loads(FILES["config.json"]).items() if key != "label_names"} | {"num_classes": 1}
WORKER = """
import json, os, sys

from cells.model.classifier import Classifier
from cells.model.folder import DEFAULT, ModelError
from hub import catalog
from hub.messages import HubError
for line in sys.stdin:
    action, os.environ["PBC_MODELS"] = line.split(maxsplit=1)
    name = catalog.names()[-1] if action != "embedded" else line.split()[1]
    try:
        if action in ("fetch", "embedded"):
            catalog.fetch(name)
        load = Classifier.load if action == "classifier" else catalog.load
        answer = {"answer": "fetched" if action == "fetch" else str(load(name))}
    except (HubError, ModelError) as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def ask(hub, hub_environment):
    """ask("fetch" | "load" | "classifier", id) -> its answer, or the sentence that says what is wrong."""
    environment = hub_environment | {"HF_HUB_DOWNLOAD_TIMEOUT": "1", "HF_TOKEN": "hf_notthetokenoftheserver"}
    command = [sys.executable, "-c", WORKER]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as worker:

        def call(action: str, place: str):
            worker.stdin.write(f"{action} {place}\n")
            worker.stdin.flush()
            line = worker.stdout.readline()
            assert line, worker.stderr.read()
            assert "hf_" not in line
            answer = json.loads(line)
            if "error" in answer:
                assert "\n" not in answer["error"]
                assert answer["error"].endswith(".") or "cannot be loaded" in answer["error"]
            return answer.get("answer", answer.get("error"))

        yield call
        worker.stdin.close()
        assert "hf_" not in worker.stderr.read()


def test_a_hub_model_is_fetched_and_serves_without_the_hub_from_then_on(hub, ask):
    repo = hub.add("model", "user/cells", FILES)
    version = f"{Classifier.load(FOLDER).version}/torch"
    assert ask("fetch", "user/cells") == "fetched"
    assert ask("load", "user/cells") == f"user/cells@{version}"
    fetched = {request.rpartition("/onnx/")[2] for request in hub.requests if "/onnx/" in request}
    assert fetched == {"model_quantized.onnx"}  # the network in 32 bits is not used beside it
    hub.faults.append(Fault(".*", 500))
    assert ask("fetch", "user/cells") == "fetched"
    assert ask("load", "user/cells") == f"user/cells@{version}"
    hub.faults.clear()
    repo.branches["trial"] = repo.branches["main"]
    ask("fetch", "user/cells@trial")
    assert ask("load", "user/cells@trial") == f"user/cells@trial@{version}"
    assert ask("fetch", "user/cells@none") == "user/cells has no such revision."


def test_a_cached_model_costs_one_request_and_follows_its_branch(hub, ask):
    repo = hub.add("model", "user/cells", FILES)
    ask("fetch", "user/cells")
    before = ask("load", "user/cells")
    hub.requests.clear()
    assert ask("fetch", "user/cells") == "fetched"
    assert hub.requests == ["GET /api/models/user/cells"]
    first = repo.branches["main"]
    repo.commit("main", FILES | {"trust.json": b'{"review_below": 0.5}'})
    hub.requests.clear()
    ask("fetch", f"user/cells@{first}")
    hub.requests.clear()
    assert ask("fetch", f"user/cells@{first}") == "fetched"
    assert hub.requests == []  # a commit never changes
    ask("fetch", "user/cells")
    assert ask("load", "user/cells") != before
    assert ask("load", f"user/cells@{first}").partition("/torch")[0].endswith(before.partition("@")[2].partition("/torch")[0])


def test_a_hub_that_is_silent_holds_no_cached_model_back(hub, ask):
    hub.add("model", "user/cells", FILES)
    ask("fetch", "user/cells")
    silent = threading.Event()
    hub.faults.append(Fault(".*", until=silent))
    hub.requests.clear()
    answers = [ask(action, "user/cells") for action in ("fetch", "load")]
    requests = list(hub.requests)
    answers.append(ask("classifier", "user/cells"))
    silent.set()
    assert answers[0] == "fetched"
    assert all(answer.startswith("user/cells@") for answer in answers[1:])
    assert len(requests) == 1
    assert hub.requests[1:] == ["HEAD /user/cells/resolve/main/config.json"]


def test_a_hub_id_is_fetched_by_one_commit_and_then_asked_for_its_branch_alone(hub, ask):
    repo = hub.add("model", "user/cells", FILES)
    name = ask("classifier", "user/cells")
    assert name == f"user/cells@{Classifier.load(FOLDER).version}/torch"
    commit = repo.branches["main"]
    assert all(request.count("/main/") == request.endswith("config.json") for request in hub.requests if "/resolve/" in request)
    assert any(f"/resolve/{commit}/model.safetensors" in request for request in hub.requests)
    hub.requests.clear()
    assert ask("classifier", "user/cells") == name
    assert hub.requests == ["HEAD /user/cells/resolve/main/config.json"]
    hub.requests.clear()
    assert ask("classifier", f"user/cells@{commit}").endswith(name.partition("@")[2])
    assert hub.requests == []
    hub.add("model", "user/animals", FILES | {"config.json": json.dumps({"label_names": ["cat"]} | TIMM).encode()})
    hub.requests.clear()
    assert "knows other labels (cat)" in ask("classifier", "user/animals")
    assert not [request for request in hub.requests if request.endswith(".safetensors") and "model" in request.split("/")[-1]]


def test_an_embedded_model_asks_the_hub_nothing(hub, ask):
    assert ask("embedded", "resnet18").startswith("resnet18@")
    assert hub.requests == []


def test_visitors_who_come_at_once_get_the_same_classifier(monkeypatch, model_folder):
    loads = []

    def load(folder, name):
        loads.append(name)
        time.sleep(0.05)  # so that another, which does not wait, loads it as well
        return object()

    monkeypatch.setattr(catalog.Classifier, "load", load)
    with ThreadPoolExecutor(8) as visitors:
        found = list(visitors.map(lambda _: catalog._load(str(model_folder), "at once"), range(8)))
    assert loads == ["at once"]
    assert len(set(map(id, found))) == 1


def test_what_is_wrong_with_a_repo_is_said_before_its_weights_are_fetched(hub, ask):
    config = json.loads(FILES["config.json"])
    hub.add("model", "user/private", FILES, private=True)
    hub.add("model", "user/pickle", {"config.json": FILES["config.json"], "pytorch_model.bin": b"pickle"})
    hub.add("model", "user/empty", {"README.md": b"# Soon"})
    hub.add("model", "user/animals", FILES | {"config.json": json.dumps(config | {"label_names": ["cat", "dog"]}).encode()})
    hub.add("model", "user/words", FILES | {"config.json": b'{"model_type": "bert"}'})
    hub.add("model", "user/garbage", FILES | {"config.json": b"{"})
    for name, words in (
        ("user/private", "may not see it"),
        ("user/gone", "may not see it"),
        ("user/pickle", "in pickle form only"),
        ("user/empty", "has no model.safetensors"),
        ("user/animals", "knows other labels"),
        ("user/words", "knows other labels"),
        ("user/garbage", "cannot be loaded"),
        ("a/b/c", "not the name of a repo"),
    ):
        assert words in ask("fetch", name), name
        assert isinstance(ask("load", name), str)
    assert not [request for request in hub.requests if request.endswith((".safetensors", ".bin"))]


def test_a_hub_that_fails_halfway_leaves_nothing_and_a_second_try_works(hub, ask):
    hub.add("model", "user/cells", FILES)
    slow = threading.Event()
    for fault, words in (
        (Fault("GET .*/api/", 500), "error (500)"),
        (Fault("GET .*/api/", 429, {"Retry-After": "7"}), "in 7 s"),
        (Fault("GET .*model.safetensors", cut=True), "broke off"),
        (Fault("GET .*model.safetensors", until=slow), "broke off"),
    ):
        hub.faults.append(fault)
        assert words in ask("fetch", "user/cells")
        assert "not on this disk" in ask("load", "user/cells")
        hub.faults.clear()
    slow.set()
    assert ask("fetch", "user/cells") == "fetched"
    assert ask("load", "user/cells").startswith("user/cells@")


@pytest.mark.parametrize("call", [catalog.load, catalog.fetch])
def test_a_model_that_is_not_offered_any_more_is_a_sentence(call):
    with pytest.raises(HubError, match="user/gone is not offered any more; choose another model"):
        call("user/gone")


def test_a_model_of_the_list_is_fetched_by_its_id_too(monkeypatch, tmp_path):
    (tmp_path / "models.toml").write_text('ours = "user/ours@v1"\n')
    monkeypatch.setattr(catalog, "LIST", tmp_path / "models.toml")
    asked = []
    monkeypatch.setattr(catalog, "_folder", lambda *place: asked.append(place) or str(tmp_path))
    monkeypatch.setattr(catalog, "_refresh", lambda *_: None)
    for name in ("ours", "user/ours@v1"):
        catalog.fetch(name)
    assert asked == [("user/ours", "v1")] * 2


def test_names_come_from_the_folder_the_file_and_the_variable(monkeypatch, tmp_path):
    assert catalog.names() == [DEFAULT, *[name for name in catalog.embedded() if name != DEFAULT]]
    (tmp_path / "models.toml").write_text('ours = "user/ours@v1"\nlater = ""\n')
    monkeypatch.setattr(catalog, "LIST", tmp_path / "models.toml")
    monkeypatch.setenv("PBC_MODELS", "user/one  user/two@v2")
    assert catalog.hub_models() == {"ours": "user/ours@v1", "user/one": "user/one", "user/two@v2": "user/two@v2"}
    assert catalog.names()[0] == DEFAULT
    for broken in ("ours = 1", "ours ="):
        (tmp_path / "models.toml").write_text(broken)
        with pytest.raises(HubError, match=r"models\.toml"):
            catalog.names()


def test_the_least_recently_used_model_leaves_the_memory(model_folder):
    folders = [str(model_folder), str(FOLDER), f"{FOLDER}/."]
    first = catalog._load(folders[0], "a")
    assert catalog._load(folders[0], "a") is first
    for folder in folders[1:]:
        catalog._load(folder, "b")
    assert catalog._load(folders[0], "a") is not first
