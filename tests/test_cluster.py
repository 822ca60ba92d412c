"""classify --ray: the plain run's rows, from all that it reads, and from a pool of which an actor is killed."""

import os
import re
import select
import signal
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pyarrow
import pytest
from pyarrow import parquet

from cells import cluster
from cells.__main__ import main
from cells.model.classifier import Classifier
from cells.model.folder import ModelError
from cells.read.find_images import CallError, find_images
from cells.review import Cell, Review
from cells.synthetic import draw_cell
from cells.write.table import columns, to_frame, write_csv

ROOT = Path(__file__).resolve().parent.parent
PATIENT = {"RAY_raylet_start_wait_time_s": "600", "RAY_worker_niceness": "0"}  # a busy machine is a slow one
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "of-the-tests", "PYTHONUNBUFFERED": "1"}
ENVIRONMENT = os.environ | PATIENT | QUIET
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install -r requirements-dev.txt")


@pytest.fixture
def folder(tmp_path):
    """Seven pictures in folders, one of them broken."""
    for number, name in enumerate(("b/2.png", "b/=1.png", "a.jpg", "c/deep/3.png", "c/4.png", "d.png")):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_cell("lymphocyte", seed=number).resize((64, 64)).save(path)
    (tmp_path / "pictures" / "c" / "broken.png").write_bytes(b"not a picture")
    return tmp_path / "pictures"


@pytest.fixture
def dataset(folder, tmp_path):
    """Four of them as a parquet file of two row groups, as `datasets` writes one; one has no bytes, but a path."""
    files = [folder / name for name in ("d.png", "b/2.png", "c/broken.png", "a.jpg")]
    images = [{"bytes": file.read_bytes(), "path": None} for file in files[:3]] + [{"bytes": None, "path": str(files[3])}]
    path = tmp_path / "cells.parquet"
    parquet.write_table(pyarrow.table({"image_id": ["d", "2", "broken", "a"], "image": images}), path, row_group_size=3)
    return path


def started(*arguments: object) -> subprocess.Popen:
    command = [sys.executable, "-m", "cells", "classify", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)


def reader(pipe: Path) -> int:
    """The process that has a pipe open for reading, beside this one."""
    others = (place for place in Path("/proc").glob("[0-9]*") if int(place.name) != os.getpid())
    return next(int(place.name) for place in others if str(pipe) in opened(place))


def kill(process: int) -> None:
    """And wait until it is gone, with all that it had open."""
    handle = os.pidfd_open(process)
    signal.pidfd_send_signal(handle, signal.SIGKILL)
    select.select([handle], [], [])
    os.close(handle)


def opened(process: Path) -> list[str]:
    try:
        return [os.readlink(file) for file in (process / "fd").iterdir()]
    except OSError:  # it has ended, or is another user's
        return []


def plain(folder: Path, classifier: Classifier) -> pd.DataFrame:
    """What the classifier says of the dataset, of the folder as storage and of the folder, without Ray."""
    files = find_images(str(folder))
    names = ["d", "2", "broken", "a", *(f"file://{file}" for file in files), *files]
    sources = [*(str(folder / name) for name in ("d.png", "b/2.png", "c/broken.png", "a.jpg")), *files, *files]
    cells = tuple(map(Cell, classifier.predict(sources, names, batch_size=2)))
    return to_frame(Review(cells, str(classifier)))


@needs_ray
def test_the_result_is_the_plain_runs_also_when_an_actor_is_killed(folder, model_folder, tmp_path):
    """It is killed while it reads a picture, which is a pipe: it waits there until somebody writes to it."""
    line = (folder, folder / "nothing.png", "--model", model_folder, "--batch-size", 2, "--out")
    assert main(["classify", *map(str, line), str(tmp_path / "plain.csv"), "--as", "cell"]) == 1
    gate = folder / "c" / "4.png"
    picture = gate.read_bytes()
    gate.unlink()
    os.mkfifo(gate)
    process = started(*line, tmp_path / "ray.csv", "--ray")
    with open(gate, "wb"):
        kill(reader(gate))
    with open(gate, "wb") as again:  # another actor has taken it up
        again.write(picture)
    error = process.communicate(timeout=900)[1]
    assert process.returncode == 1, error
    assert error.endswith("2 of 8 files could not be read; their rows say why.\n")
    assert (tmp_path / "ray.csv").read_bytes() == (tmp_path / "plain.csv").read_bytes()
    assert not (tmp_path / "ray.csv.part").exists()


@pytest.fixture
def head():
    """The address of a cluster of two processors on this machine."""
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    settings = ["--head", "--port=0", "--num-cpus=2", "--include-dashboard=false", "--block"]
    process = subprocess.Popen(
        [*ray, "start", *settings], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    said = ""
    while (address := re.search(r"--address='([^']+)'", said)) is None:
        line = process.stdout.readline()
        assert line, f"no cluster was started: {said}"
        said += line
    yield address[1]
    os.killpg(process.pid, signal.SIGKILL)  # all that it started; asked to end, it takes half a minute
    process.communicate(timeout=120)


@needs_ray
def test_a_cluster_reads_parquet_and_storage_and_writes_parquet(head, folder, dataset, model_folder, tmp_path):
    """Object storage is stood for by file://, which goes through the same file systems of Arrow."""
    out, uri = tmp_path / "out.parquet", folder.as_uri()
    process = started(dataset, uri, folder, "--model", model_folder, "--batch-size", 2, "--out", out, "--ray", head)
    error = process.communicate(timeout=900)[1]
    assert process.returncode == 1, error
    write_csv(plain(folder, Classifier.load(model_folder)), tmp_path / "plain.csv")
    frame, expected = pd.read_parquet(out), pd.read_csv(tmp_path / "plain.csv")
    expected["file"] = expected["file"].str.removeprefix("'")  # in a CSV alone, against formulas
    pd.testing.assert_frame_equal(frame, expected, check_dtype=False, rtol=0, atol=1e-5)
    assert list(frame.columns) == columns()
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.parquet"]


@needs_ray
def test_storage_is_walked_in_the_order_of_a_folder(folder):
    found = [file for batch in cluster.batches([folder.as_uri()], 2) for file in batch.files]
    assert found == [f"file://{file}" for file in find_images(str(folder))]


@needs_ray
def test_batches_are_the_plain_runs_and_a_row_group_is_one(folder, dataset):
    found = cluster.batches([str(folder / "a.jpg"), str(folder / "c"), str(dataset)], 2)
    names = [[Path(file).name for file in batch.files] for batch in found]
    assert names == [["a.jpg", "4.png"], ["broken.png", "3.png"], ["d", "2", "broken"], ["a"]]


@needs_ray
def test_pictures_without_a_name_are_numbered(tmp_path):
    path = tmp_path / "cells.parquet"
    images = [{"bytes": b"x", "path": name} for name in ("a.png", None, None)]
    parquet.write_table(pyarrow.table({"image": images}), path, row_group_size=2)
    names = [file for batch in cluster.batches([str(path)], 2) for file in batch.files]
    assert names == ["a.png", f"{path} row 1", f"{path} row 2"]
    parquet.write_table(pyarrow.table({"image_id": [0, 7, None], "image": images}), path)
    assert [file for batch in cluster.batches([str(path)], 3) for file in batch.files] == ["0", "7", f"{path} row 2"]


@needs_ray
def test_what_cannot_be_read_is_one_sentence(tmp_path):
    (tmp_path / "broken.parquet").write_bytes(b"no parquet")
    parquet.write_table(pyarrow.table({"picture": [1]}), tmp_path / "other.parquet")
    (tmp_path / "empty").mkdir()
    for path, words in (
        (tmp_path / "broken.parquet", "cannot be read"),
        (tmp_path / "other.parquet", "has no column of pictures"),
        ((tmp_path / "empty").as_uri(), "holds no picture"),
        ("nonsense://bucket/folder", "cannot be read"),
        (tmp_path / "pictures.zip", "--ray does not read a ZIP"),
    ):
        with pytest.raises(CallError, match=words) as caught:
            cluster.batches([str(path)], 2)
        assert "\n" not in str(caught.value)


@needs_ray
def test_an_actor_says_what_the_plain_run_says(folder, dataset, model_folder):
    classifier = Classifier.load(model_folder)
    actor = cluster.Actor(str(model_folder), str(classifier), 2)
    batches = cluster.batches([str(dataset), folder.as_uri(), str(folder)], 2)
    frames = [actor(pyarrow.Table.from_pylist([batch._asdict()])) for batch in batches]
    assert [len(frame) for frame in frames] == [len(batch.files) for batch in batches]
    expected = plain(folder, classifier)
    pd.testing.assert_frame_equal(pd.concat(frames, ignore_index=True), expected, check_dtype=False, rtol=0, atol=1e-5)


def test_an_actor_uses_no_gpu(model_folder, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    cluster.Actor(str(model_folder), str(Classifier.load(model_folder)), 2)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


@needs_ray
def test_an_object_that_is_gone_is_a_row(folder, model_folder):
    (batch,) = cluster.batches([(folder / "b").as_uri()], 2)
    (folder / "b" / "2.png").unlink()
    actor = cluster.Actor(str(model_folder), str(Classifier.load(model_folder)), 2)
    frame = actor(pyarrow.Table.from_pylist([batch._asdict()]))
    assert frame["status"].eq("error").tolist() == [True, False]
    assert frame["message"][0] == "There is no such file."


def test_an_actor_refuses_another_version_of_the_model(model_folder):
    with pytest.raises(ModelError, match="where the call is of tiny@00000000"):
        cluster.Actor(str(model_folder), "tiny@00000000", 2)


def test_wrong_calls_are_one_line_and_status_2(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    for arguments, words in (
        (["--ray"], "--ray writes a file: give --out"),
        (["--out", tmp_path / "out.xlsx", "--ray"], "the ending is to be .csv or .parquet"),
        (["--out", tmp_path / "out.parquet"], "the ending is to be .csv, .xlsx or .json"),
        (["--out", tmp_path / "out.csv", "--ray"], f"pip install '{cluster.REQUIREMENT}'"),
    ):
        assert main(["classify", str(folder), *map(str, arguments)]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.startswith("error: ")
        assert error.count("\n") == 1


def test_the_version_that_is_named_is_the_pinned_one():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"]["ray"] == [cluster.REQUIREMENT]
