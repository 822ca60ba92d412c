"""Checkpoints, and the runs that live by them: killed, stopped, spoilt on the disk, shared by two processes."""

import errno
import functools
import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import connection
from pathlib import Path

import pandas as pd
import pytest
import torch
from accelerate import Accelerator
from safetensors import SafetensorError

from train import __main__ as program
from train import backend, checkpoint, figures, loop, metrics, recipe, report, run
from train.checkpoint import BEST, LAST, PREVIOUS, CheckpointError
from train.network import build
from train.state import State

ROOT = Path(__file__).resolve().parent.parent
MEASURED = ["seconds", "images_per_second", "data_share", "peak_memory_mb"]  # no two runs have them in common
OCCASIONAL = ["time", "date", "commit"]  # in metrics.json
# Three steps an epoch; the head is alone in the first, pictures have their full size in the last.
RECIPE = [
    "vit_tiny_scratch",
    "image_size=64",
    "progressive_resizing=((0.5, 0.5),)",
    "epochs=3",
    "freeze_epochs=1",
    "batch_size=32",
]
RECIPE += ["lr=1e-3", "ema_decay=0.5"]  # so that nine steps show
CHANCE = ["mixup=0.4", "drop_path=0.2", "gradient_accumulation_steps=2"]  # all that draws random numbers, and a batch in parts
STUCK = 300  # seconds


def skip_figures(*arguments: object) -> None:
    """In place of figures.draw_all, which takes longer than the training: the files that the model folder gets."""
    folder = arguments[-1]
    folder.mkdir(exist_ok=True)
    for name in report.CARD_FIGURES:
        (folder / f"{name}.png").touch()


def skip_export(*arguments: object) -> str:
    """In place of backend.choose: an export to ONNX takes longer than the training too."""
    return backend.TORCH


def _process(rank: int, processes: int, port: int, log: Path, arguments: list[str], events: list[Callable[[], None]]) -> None:
    """What torchrun runs, but for figures and ONNX files."""
    with open(log, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    torch.set_num_threads(1)
    figures.draw_all = skip_figures
    backend.choose = skip_export
    if processes > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for event in events:
        event()
    sys.exit(program.main(arguments))


def launch(arguments: list[str], processes: int = 1, *events: Callable[[], None]) -> tuple[list[int], str]:
    """(the exit status of each process, what they printed); when one of them dies the others are killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["train.__main__"])  # imported once for all of them
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    log = Path(arguments[-1]).with_suffix(".log")
    log.unlink(missing_ok=True)
    fixed = (processes, port, log, arguments, events)
    children = [context.Process(target=_process, args=(rank, *fixed)) for rank in range(processes)]
    for child in children:
        child.start()
    running = {child.sentinel: child for child in children}
    while running:
        ended = [running.pop(sentinel) for sentinel in connection.wait(list(running), STUCK)]
        if not ended or any(child.exitcode not in (0, 130) for child in ended):
            for child in running.values():
                child.kill()
    for child in children:
        child.join()
    return [child.exitcode for child in children], log.read_text()


# What befalls a run: these happen inside its processes.


def kill_after(step: int) -> None:
    def kill(now: int) -> bool:
        if now == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    program.train = functools.partial(run.train, should_stop=kill)


def kill_while_writing() -> None:
    def write_half(tensors: dict, path: Path, header: dict) -> None:
        whole(tensors, path, header)
        os.truncate(path, path.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)

    whole, checkpoint.save_file = checkpoint.save_file, write_half


def stop_after(step: int) -> None:
    """Asks the last process alone."""
    if os.environ.get("RANK") in (None, "1"):
        program.train = functools.partial(run.train, should_stop=lambda now: now == step)


def save_after_every_step() -> None:
    loop.CHECKPOINT_SECONDS = 0


def step_of(folder: Path) -> int:
    return checkpoint.read(folder / "checkpoints" / LAST)[1]["step"]


def assert_same(run: Path, other: Path) -> None:
    for name in ("predictions.csv", "validation.csv", "split.csv", "model/model.safetensors", "model/trust.json"):
        assert (run / name).read_bytes() == (other / name).read_bytes(), name
    histories = (pd.read_csv(folder / "history.csv").drop(columns=MEASURED) for folder in (run, other))
    pd.testing.assert_frame_equal(*histories)
    ours, theirs = (json.loads((folder / "metrics.json").read_text()) for folder in (run, other))
    assert {**ours, **dict.fromkeys(OCCASIONAL)} == {**theirs, **dict.fromkeys(OCCASIONAL)}


@pytest.fixture(scope="module")
def whole(parquet, tmp_path_factory) -> Callable[..., Path]:
    """whole(processes, overrides): the folder of an unbroken run, made once."""

    @functools.cache
    def make(processes: int, *overrides: str) -> Path:
        folder = tmp_path_factory.mktemp("whole") / "run"
        codes, output = launch([*RECIPE, *overrides, "--data", parquet, "--out", str(folder)], processes)
        assert codes == [0] * processes, output
        return folder

    return make


@pytest.mark.parametrize(("processes", "optimizer"), [(1, "muon"), (2, "adamw")])
def test_a_run_that_is_killed_again_and_again_ends_as_an_unbroken_one(whole, parquet, tmp_path, processes, optimizer):
    folder = tmp_path / "run"
    changed = [*CHANCE, f"optimizer={optimizer}"]
    line = [*RECIPE, *changed, "--data", parquet, "--out", str(folder)]
    for events, saved in (
        ([functools.partial(kill_after, 1)], None),  # nothing is saved yet
        ([functools.partial(kill_after, 4), save_after_every_step], 3),  # in the second epoch, after the first was saved
        ([functools.partial(kill_after, 6), save_after_every_step], 5),  # in the middle of an epoch
        ([kill_while_writing, save_after_every_step], 5),
    ):
        codes, output = launch(line, processes, *events)
        assert -signal.SIGKILL in codes, output
        assert not (folder / "metrics.json").exists()
        if saved:
            assert step_of(folder) == saved
    codes, output = launch(line, processes)
    assert codes == [0] * processes, output
    assert_same(folder, whole(processes, *changed))


def test_two_processes_train_what_one_does(whole):
    """Without batch-norm, whose statistics are of a process's own part, they differ by rounding alone."""
    one, two = whole(1), whole(2)
    histories = [pd.read_csv(folder / "history.csv").drop(columns=MEASURED) for folder in (one, two)]
    pd.testing.assert_frame_equal(*histories, rtol=2e-3, atol=2e-3)
    first, second = (pd.read_csv(folder / "predictions.csv") for folder in (one, two))
    assert first["image_id"].equals(second["image_id"])
    assert abs(metrics.probabilities_of(first) - metrics.probabilities_of(second)).max() < 0.01
    assert histories[0]["validation_loss"].nunique() == 3


def test_two_processes_stop_together_and_train_the_head_alone_first(parquet, tmp_path):
    folder = tmp_path / "run"
    chosen = recipe.load(RECIPE[0]).override(RECIPE[1:])
    torch.manual_seed(chosen.seed)
    start = build(chosen).state_dict()
    for stop, parts in ((2, {"classifier"}), (5, {"vit", "classifier"})):
        codes, output = launch([*RECIPE, "--data", parquet, "--out", str(folder)], 2, functools.partial(stop_after, stop))
        assert codes == [130, 130], output
        assert output.count("the same line carries on") == 1
        tensors, facts = checkpoint.read(folder / "checkpoints" / LAST)
        assert facts["step"] == stop
        moved = {name.split(".")[0] for name, value in start.items() if not torch.equal(tensors[f"network.{name}"], value)}
        assert moved == parts


def test_sigterm_to_torchrun_saves(parquet, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(port)]
    line = [*RECIPE, "epochs=1000", "--data", parquet, "--out", str(tmp_path / "run")]
    process = subprocess.Popen(
        [*torchrun, "-m", "train", *line], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ
    )
    deadline = time.monotonic() + STUCK
    while not (tmp_path / "run" / "history.csv").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    process.terminate()
    output, _ = process.communicate(timeout=STUCK)
    assert output.count("the same line carries on") == 1, output
    assert step_of(tmp_path / "run") > 0


def test_a_batch_that_the_processes_cannot_share_is_one_line(parquet, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Accelerator, "num_processes", 3)
    assert program.main([*RECIPE, "--data", parquet, "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == "error: batch_size=32 is not a multiple of the 3 processes.\n"


@pytest.fixture(scope="module")
def stopped(parquet, tmp_path_factory) -> Path:
    """A run that was stopped in its second epoch: it has two checkpoints."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    line = [*RECIPE, *CHANCE, "--data", parquet, "--out", str(folder)]
    codes, output = launch(line, 1, functools.partial(stop_after, 5), save_after_every_step)
    assert codes == [130], output
    assert [checkpoint.read(folder / "checkpoints" / name)[1]["step"] for name in (LAST, PREVIOUS)] == [5, 4]
    return folder


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def flip(file: Path) -> None:
    """One bit, among the tensors."""
    with open(file, "r+b") as content:
        content.seek(file.stat().st_size * 3 // 4)
        byte = content.read(1)[0]
        content.seek(-1, os.SEEK_CUR)
        content.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("spoil", [truncate, flip])
def test_the_checkpoint_before_a_broken_one_is_used(whole, stopped, parquet, tmp_path, spoil):
    folder = Path(shutil.copytree(stopped, tmp_path / "run"))
    spoil(folder / "checkpoints" / LAST)
    codes, output = launch([*RECIPE, *CHANCE, "--data", parquet, "--out", str(folder)])
    assert codes == [0], output
    assert f"{LAST} is broken" in output
    assert output.count("The one before it is used.") == 1
    assert_same(folder, whole(1, *CHANCE))


def test_two_processes_pass_over_a_broken_checkpoint_together(stopped, parquet, tmp_path):
    folder = Path(shutil.copytree(stopped, tmp_path / "run"))
    truncate(folder / "checkpoints" / LAST)
    line = [*RECIPE, *CHANCE, "--data", parquet, "--out", str(folder)]
    codes, output = launch(line, 2, functools.partial(stop_after, 6))
    assert codes == [130, 130], output
    assert step_of(folder) == 6  # from 4, where the one before stands


def test_a_run_whose_kept_weights_are_broken_ends_with_its_last(whole, parquet, tmp_path):
    """Here the last are the kept ones: epochs at a smaller size do not compete."""
    folder = Path(shutil.copytree(whole(1, *CHANCE), tmp_path / "run"))
    (folder / "metrics.json").unlink()
    flip(folder / "checkpoints" / BEST)
    codes, output = launch([*RECIPE, *CHANCE, "--data", parquet, "--out", str(folder)])
    assert codes == [0], output
    assert f"{BEST} is broken" in output
    assert "The last epoch's weights are used." in output
    assert_same(folder, whole(1, *CHANCE))


def test_two_broken_checkpoints_are_one_line_and_status_2(stopped, parquet, tmp_path, capsys):
    folder = Path(shutil.copytree(stopped, tmp_path / "run"))
    flip(folder / "checkpoints" / LAST)
    truncate(folder / "checkpoints" / PREVIOUS)
    assert program.main([*RECIPE, *CHANCE, "--data", parquet, "--out", str(folder)]) == 2
    printed = capsys.readouterr()
    assert f"{LAST} is broken" in printed.out
    assert printed.err.startswith("error: ")
    assert f"{PREVIOUS} is broken" in printed.err
    assert "No other checkpoint is left" in printed.err
    assert printed.err.count("\n") == 1


def fill_the_disk(patch: pytest.MonkeyPatch, error: Exception) -> None:
    def save(tensors: dict, path: Path, header: dict) -> None:
        path.write_bytes(b"some of it")
        raise error

    patch.setattr(checkpoint, "save_file", save)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), SafetensorError("I/O error: No space left on device")]
)
def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch, error):
    checkpoint.write(tmp_path / LAST, {"weight": torch.arange(3)}, {"step": 1})
    fill_the_disk(monkeypatch, error)
    with pytest.raises(CheckpointError, match="No space left on device") as caught:
        checkpoint.write(tmp_path / LAST, {"weight": torch.arange(4)}, {"step": 2})
    assert "\n" not in str(caught.value)
    tensors, facts = checkpoint.read_last(tmp_path)
    assert (tensors["weight"].tolist(), facts) == ([0, 1, 2], {"step": 1})
    assert [path.name for path in tmp_path.iterdir()] == [LAST]


def test_a_disk_that_fills_up_in_training_is_one_line_and_status_2(parquet, tmp_path, capsys, monkeypatch):
    fill_the_disk(monkeypatch, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)
    assert program.main([*RECIPE, "--data", parquet, "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err.rpartition("\r")[2].lstrip()
    assert "No space left on device" in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_a_checkpoint_is_the_weights_the_averages_and_the_moments(tmp_path):
    """A step from a checkpoint is the step without it, also where weights lie in memory in an order of their own."""

    def build() -> tuple[dict, torch.optim.Optimizer]:
        torch.manual_seed(0)
        network = torch.nn.Conv2d(3, 4, 2).to(memory_format=torch.channels_last)
        return {"network": network}, torch.optim.AdamW(network.parameters(), fused=True)

    def step(modules: dict, optimizer: torch.optim.Optimizer, number: int) -> None:
        modules["network"](torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(number))).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    through, resumed = build(), build()
    for number in range(3):
        step(*through, number)
    checkpoint.write(tmp_path / LAST, checkpoint.pack(*through), {})
    checkpoint.unpack(checkpoint.read(tmp_path / LAST)[0], *resumed)
    for modules, optimizer in (through, resumed):
        step(modules, optimizer, 3)
    for ours, theirs in zip(*(state[0]["network"].parameters() for state in (through, resumed)), strict=True):
        assert torch.equal(ours, theirs)


@pytest.fixture
def tiny() -> recipe.Recipe:
    """ResNet18 from nothing, three steps an epoch, no averaged weights."""
    values = ["image_size=32", "progressive_resizing=()", "epochs=3", "batch_size=32", "lr=0.05", "ema_decay=0.0"]
    return recipe.load("resnet18_scratch").override(values)


def test_the_scale_of_float16s_loss_is_in_the_checkpoint(tiny, tmp_path):
    accelerator = Accelerator(cpu=True)
    for scale, expected in ((1024.0, 1024.0), (8.0, 1024.0)):  # the second finds the first's
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        state = State(tiny, build(tiny), tmp_path, accelerator)
        assert accelerator.scaler.get_scale() == expected
        state.save(tmp_path, accelerator)
    assert checkpoint.read(tmp_path / "checkpoints" / LAST)[1]["scaler"]["scale"] == 1024


def test_a_checkpoint_is_written_when_it_is_due_or_the_epoch_is_the_best(tiny, parquet, tmp_path, monkeypatch):
    scores = iter([0.5, 0.3, 0.4])
    monkeypatch.setattr(loop, "evaluate", lambda *_: {"loss": 1.0, "accuracy": 0.5, "balanced_accuracy": next(scores)})
    written = []
    whole = checkpoint.write
    monkeypatch.setattr(checkpoint, "write", lambda path, *rest: written.append(path.name) or whole(path, *rest))
    monkeypatch.setattr(run, "_finish", lambda *_: None)
    monkeypatch.setattr(report, "show", lambda _: None)
    assert run.train(tiny, [parquet], None, tmp_path) == 0
    assert written == [BEST, LAST, LAST]  # the best epoch, none for the second, the last epoch
    tensors, facts = checkpoint.read(tmp_path / "checkpoints" / LAST)
    assert len(facts["history"]) == 3
    assert not any(key.startswith("average.") for key in tensors)  # no copy of weights that are not averaged


def test_a_run_goes_on_in_more_parts_after_it_was_out_of_memory(tiny, parquet, tmp_path, capsys):
    assert run.train(tiny, [parquet], None, tmp_path, lambda step: step == 2) == 130
    smaller = tiny.override(["gradient_accumulation_steps=4"])
    assert run.train(smaller, [parquet], None, tmp_path, lambda step: step == 4) == 130
    assert step_of(tmp_path) == 4
    assert "gradient_accumulation_steps=4 from here on" in capsys.readouterr().out
    with pytest.raises(run.RunError, match=r"lr=0\.05 there, 0\.1 here"):
        run.train(smaller.override(["lr=0.1"]), [parquet], None, tmp_path)


def test_a_run_of_an_older_recipe_goes_on(tiny, parquet, tmp_path):
    """It spells a key in the old way, and lacks what has come since."""
    assert run.train(tiny, [parquet], None, tmp_path, lambda step: step == 2) == 130
    written = json.loads((tmp_path / "recipe.json").read_text())
    old = {key: value for key, value in written.items() if key not in ("progressive_resizing", "classes", "sources", "balance")}
    (tmp_path / "recipe.json").write_text(json.dumps(old | {"growth": []}))
    assert run.train(tiny, [parquet], None, tmp_path, lambda step: step == 3) == 130
    (tmp_path / "recipe.json").write_text(json.dumps(old | {"growth": [[0.5, 0.5]]}))
    with pytest.raises(run.RunError, match=r"progressive_resizing=\[\[0\.5, 0\.5\]\] there, \(\) here"):
        run.train(tiny, [parquet], None, tmp_path)


@pytest.mark.parametrize("size", [0, 4, 100, -1])
def test_a_piece_of_a_checkpoint_is_one_line(tmp_path, size):
    file = tmp_path / BEST
    checkpoint.write(file, {"weight": torch.arange(30)}, {"epoch": 1})
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(CheckpointError, match="is broken") as caught:
        checkpoint.read(file)
    assert "\n" not in str(caught.value)


def test_spoilt_facts_are_one_line(tmp_path):
    file = tmp_path / BEST
    checkpoint.write(file, {"weight": torch.arange(30)}, {"epoch": 1})
    file.write_bytes(file.read_bytes().replace(b": 1}", b": 1]"))
    with pytest.raises(CheckpointError, match="is broken"):
        checkpoint.read(file)
