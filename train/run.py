"""One run: from a recipe and pictures to a run folder with its model folder, predictions, metrics and figures."""

import contextlib
import dataclasses
import io
import json
import os
import platform
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path

import datasets
import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from PIL import Image
from torch import nn

from cells import pbc
from train import checkpoint, finalize, loop, recipe, report, training_ids, uncertainty
from train.batches import Pictures
from train.data import Prepared, prepare
from train.network import build, build_teacher, check
from train.recipe import Recipe
from train.report import RunError

TRACKERS = ("tensorboard",)
LIBRARIES = ("accelerate", "numpy", "onnxruntime", "timm", "torchvision", "transformers")  # whose versions a run notes


def train(
    chosen: Recipe,
    sources: Sequence[str],
    split_file: Path | None,
    run: Path,
    should_stop: Callable[[int], bool] = lambda step: False,
    tracker: str | None = None,
) -> int:
    """Carry a run from where it stands to its metrics; 0 when complete, 130 when stopped on the way.

    should_stop(step) is asked after every step, as are Ctrl-C and SIGTERM. Every process of a launch calls this; the main
    one writes. Raises RunError, DataError, RecipeError, CheckpointError.
    """
    _check_run(run, chosen)
    if (run / "metrics.json").exists():
        _check_split(run, split_file)
        print(f"{run} is complete:")
        report.show(run)
        return 0
    accelerator = start(chosen, run, tracker)
    torch.manual_seed(chosen.seed)
    network, teacher = build(chosen), build_teacher(chosen)
    check(network, teacher, chosen)
    with accelerator.main_process_first():  # it makes the split, the others read it
        present = run / "split.csv"
        prepared = prepare(chosen, sources, split_file or (present if present.exists() else None), accelerator.print)
        training_ids.check(chosen, prepared.ids("validation", "test"), accelerator.print)
        _open_run(chosen, prepared, run)
    if tracker:
        accelerator.init_trackers("blood-cells", {key: str(value) for key, value in dataclasses.asdict(chosen).items()})
    subsets = {part: prepared.subset(part, accelerator.device) for part in ("train", "validation")}
    prepared = dataclasses.replace(prepared, pixels=prepared.pixels[:0].clone())  # their copies are all that is needed
    with _signals() as interrupted:
        complete = loop.fit(
            *(chosen, network, subsets["train"], subsets["validation"], run, accelerator),
            should_stop=lambda step: interrupted() or should_stop(step),
            teacher=teacher.to(accelerator.device) if teacher else None,
        )
    if complete and accelerator.is_main_process:
        # Without Accelerate's autocast: the folder's users compute in float32.
        network = accelerator.unwrap_model(network, keep_fp32_wrapper=False)
        _finish(chosen, network, subsets, prepared, run, accelerator)
        report.show(run)
    accelerator.end_training()
    if not complete:
        accelerator.print(f"stopped and saved in {run}; the same line carries on.")
    return 0 if complete else 130


def _check_run(run: Path, chosen: Recipe) -> None:
    """Refuse a folder of another recipe."""
    file = run / "recipe.json"
    if not file.exists():
        return
    try:
        found = json.loads(file.read_text())
    except ValueError:
        raise RunError(f"{file} is broken; remove {run}, or give another --out.") from None
    different = chosen.differences(found)
    parts = different.pop("gradient_accumulation_steps", None)
    if different:
        old = {new: key for key, new in recipe.OLD_KEYS.items()}
        values = ", ".join(
            f"{key}={found.get(key, found.get(old.get(key)))} there, {value} here" for key, value in different.items()
        )
        raise RunError(f"{run} is a run of another recipe ({values}); give another --out, or remove it.")
    if parts is not None:
        print(
            f"gradient_accumulation_steps={parts} from here on: a batch takes less memory, and the steps are the same but for "
            "rounding, and for what is drawn or measured in each part (stochastic depth, batch-norm).",
        )


def _check_split(run: Path, split_file: Path | None) -> None:
    """Refuse a finished run of another split than the one that is asked for."""
    given = pbc.read_split(split_file) if split_file else {}
    if given and any(given.get(image_id) != part for image_id, part in pbc.read_split(run / "split.csv").items()):
        raise RunError(f"{run} is complete, with another split than {split_file}; give another --out, or remove it.")


def start(chosen: Recipe, run: Path, tracker: str | None = None) -> Accelerator:
    """Accelerate, as the machine and the recipe ask for it. Raises RunError."""
    if chosen.gpu and not torch.cuda.is_available():
        raise RunError(f"{chosen.name} is meant for a GPU and there is none; gpu=False trains it on the CPU all the same.")
    if tracker and tracker not in map(str, get_available_trackers()):  # Accelerate would train without a word in it
        raise RunError(f"--track {tracker}: it is not installed; pip install {tracker} adds it.")
    gpu = torch.cuda.is_available()
    # None: as Accelerate is told to, by its launcher or by ACCELERATE_MIXED_PRECISION; few processors gain by bfloat16.
    configured = "ACCELERATE_MIXED_PRECISION" in os.environ
    precision = "bf16" if not configured and gpu and torch.cuda.is_bf16_supported(including_emulation=False) else None
    # cpu=True is what makes several processes on CPUs find each other.
    accelerator = Accelerator(cpu=not gpu, mixed_precision=precision, log_with=tracker, project_dir=run)
    if chosen.batch_size % accelerator.num_processes:
        raise RunError(f"batch_size={chosen.batch_size} is not a multiple of the {accelerator.num_processes} processes.")
    if chosen.batch_size < 2 * accelerator.num_processes:  # batch-norm has no statistics of one picture
        raise RunError(f"batch_size={chosen.batch_size}: each of the {accelerator.num_processes} processes needs two pictures.")
    return accelerator


def _open_run(chosen: Recipe, prepared: Prepared, run: Path) -> None:
    """The run folder with its recipe and its split, or a refusal where another split is."""
    ids, file = prepared.dataset["image_id"][:], run / "split.csv"
    if file.exists():
        if pbc.read_split(file) != dict(zip(ids, prepared.parts, strict=True)):
            raise RunError(f"{run} was started with other pictures or another split ({file}); give another --out.")
        return
    run.mkdir(parents=True, exist_ok=True)
    checkpoint.write_text(run / "recipe.json", chosen.to_json())
    pbc.write_split(file.with_suffix(".partial"), ids, prepared.parts)
    file.with_suffix(".partial").replace(file)  # last, and whole: its presence says that the run has begun


@contextlib.contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """Within it, a first Ctrl-C or SIGTERM waits for the step under way, a second ends at once; yields whether one came in."""
    received: list[int] = []
    before = {}

    def note(number: int, frame: object) -> None:
        received.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, note)
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _finish(
    chosen: Recipe,
    network: nn.Module,
    subsets: dict[str, dict[str, Pictures]],
    prepared: Prepared,
    run: Path,
    accelerator: Accelerator,
) -> None:
    """The kept weights -> model folder -> predictions through it, as its users would make them -> metrics, figures."""
    kept = finalize.write_model(chosen, network, subsets["train"], subsets["validation"], run)
    training_ids.write(run / "model", prepared.ids("train"), chosen)
    fitted = uncertainty.fit(run, prepared.dataset, prepared.parts)
    facts = _facts(chosen, prepared) | kept
    facts |= {
        "processes": accelerator.num_processes,
        "mixed_precision": accelerator.mixed_precision,
        "backend": fitted["backend"],  # that answered the validation and the test pictures
    }
    report.write(run, facts, prepared.dataset)


def _facts(chosen: Recipe, prepared: Prepared) -> dict:
    """What only the run itself knows and a reader needs to repeat it."""
    original = recipe.load(chosen.name)
    overrides = chosen.differences(json.loads(original.to_json())) | ({"gpu": chosen.gpu} if chosen.gpu != original.gpu else {})
    values = [shlex.quote(f"{key}={value}") for key, value in overrides.items()]
    return {
        "recipe": chosen.name,
        "architecture": chosen.architecture,
        "command": " ".join(["python -m train", chosen.name, *values]),
        "pretrained": chosen.pretrained,
        "teacher": chosen.teacher,
        "sources": [name for name, _ in chosen.sources],
        "seed": chosen.seed,
        "image_size": chosen.image_size,
        "pictures": {part: prepared.parts.count(part) for part in pbc.PARTS},
        "picture_format": _format(prepared.dataset),
        "device": describe_device(),
        "torch": torch.__version__,
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in LIBRARIES},
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%d"),
    }


def describe_device() -> str:
    """The GPU's name, or that it is a CPU and with how many threads."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, {torch.get_num_threads()} threads"


def _commit() -> str | None:
    """Of this repository, marked where files differ from it; None where it is not one."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _format(dataset: datasets.Dataset) -> str:
    """As what the pictures are stored, for a reader who has them in another format: WEBP, JPEG."""
    source = pbc.source_of(dataset[0]["image"])
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        return image.format
