"""One run: from a recipe and pictures to a run folder with its model folder, predictions, metrics and figures."""

import contextlib
import dataclasses
import io
import json
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import datasets
import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from PIL import Image
from torch import Tensor, nn

from cells import pbc
from cells.classes import LABELS
from train import checkpoint, data, duplicates, loop, recipe, report, uncertainty
from train import network as model
from train.recipe import Recipe
from train.report import RunError

TRACKERS = ("tensorboard",)


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
        print(f"{run} is complete:")
        report.show(run)
        return 0
    accelerator = start(chosen, run, tracker)
    torch.manual_seed(chosen.seed)
    network, teacher = model.build(chosen), model.build_teacher(chosen)
    with accelerator.main_process_first():  # it makes the split, the others read it
        begun = run / "split.csv"
        prepared = prepare(chosen, sources, split_file or (begun if begun.exists() else None), accelerator.print)
        _begin(chosen, prepared, run)
    if tracker:
        accelerator.init_trackers("blood-cells", {key: str(value) for key, value in dataclasses.asdict(chosen).items()})
    subsets = {part: prepared.subset(part, accelerator.device) for part in ("train", "validation")}
    prepared = dataclasses.replace(prepared, pixels=prepared.pixels[:0].clone())  # their copies are all that is needed
    with _signals() as came:
        complete = loop.fit(
            *(chosen, network, subsets["train"], subsets["validation"], run, accelerator),
            should_stop=lambda step: came() or should_stop(step),
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
    """Refuse a folder in which another recipe was begun."""
    file = run / "recipe.json"
    if not file.exists():
        return
    try:
        theirs = json.loads(file.read_text())
    except ValueError:
        raise RunError(f"{file} is broken; remove {run}, or give another --out.") from None
    different = chosen.differences(theirs)
    if different:
        values = ", ".join(f"{key}={theirs.get(key)} there, {value} here" for key, value in different.items())
        raise RunError(f"{run} is a run of another recipe ({values}); give another --out, or remove it.")


def start(chosen: Recipe, run: Path, tracker: str | None = None) -> Accelerator:
    """Accelerate, as the machine and the recipe ask for it. Raises RunError."""
    if chosen.gpu and not torch.cuda.is_available():
        raise RunError(f"{chosen.name} is meant for a GPU and there is none; gpu=False trains it on the CPU all the same.")
    if tracker and tracker not in map(str, get_available_trackers()):  # Accelerate would train without a word in it
        raise RunError(f"--track {tracker}: it is not installed; pip install {tracker} adds it.")
    gpu = torch.cuda.is_available()
    # None: as Accelerate is told to, by its launcher or by ACCELERATE_MIXED_PRECISION; few processors gain by bfloat16.
    precision = "bf16" if gpu and torch.cuda.is_bf16_supported(including_emulation=False) else None
    # cpu=True is what makes several processes on CPUs find each other.
    accelerator = Accelerator(cpu=not gpu, mixed_precision=precision, log_with=tracker, project_dir=run)
    if chosen.batch_size % accelerator.num_processes:
        raise RunError(f"batch_size={chosen.batch_size} is not a multiple of the {accelerator.num_processes} processes.")
    return accelerator


@dataclass(frozen=True)
class Prepared:
    """The pictures of a run: encoded, decoded, and the part of each."""

    dataset: datasets.Dataset
    pixels: Tensor  # uint8 (n, 3, s, s)
    parts: list[str]

    def rows(self, part: str) -> list[int]:
        return [index for index, one in enumerate(self.parts) if one == part]

    def subset(self, part: str, device: torch.device) -> loop.Pixels:
        rows = torch.tensor(self.rows(part))
        return loop.Pixels(self.pixels[rows].to(device), torch.tensor(self.dataset["label"][:])[rows].to(device))


def prepare(chosen: Recipe, sources: Sequence[str], split_file: Path | None, say: Callable[[str], None] = print) -> Prepared:
    """Read, decode and split the pictures of a recipe. Raises DataError."""
    dataset, parts = _load_split(chosen, sources, split_file, say)
    say(f"decoding {len(dataset)} pictures to {chosen.image_size} px")
    pixels = data.decode(dataset, chosen.image_size)
    if parts is None:
        say("looking for pictures that show the same cells")
        parts = data.split(dataset, duplicates.groups(pixels))
    _check_parts(dataset, parts, chosen)
    say(", ".join(f"{parts.count(part)} {part}" for part in pbc.PARTS))
    return Prepared(dataset, pixels, parts)


def _begin(chosen: Recipe, prepared: Prepared, run: Path) -> None:
    """The run folder with its recipe and its split, or a refusal where another split is."""
    ids, file = prepared.dataset["image_id"][:], run / "split.csv"
    if file.exists():
        if pbc.read_split(file) != dict(zip(ids, prepared.parts, strict=True)):
            raise RunError(f"{run} was begun with other pictures or another split ({file}); give another --out.")
        return
    run.mkdir(parents=True, exist_ok=True)
    checkpoint.write_text(run / "recipe.json", chosen.to_json())
    pbc.write_split(file.with_suffix(".partial"), ids, prepared.parts)
    file.with_suffix(".partial").replace(file)  # last, and whole: its presence says that the run has begun


def _load_split(
    chosen: Recipe, sources: Sequence[str], split_file: Path | None, say: Callable[[str], None]
) -> tuple[datasets.Dataset, list[str] | None]:
    """(the pictures that have one of the recipe's labels, the part of each as a split file has it)."""
    found = data.load(sources)
    dataset = data.label(found, chosen.labels)
    if chosen.num_classes != len(LABELS):
        say(f"{len(found) - len(dataset)} pictures without a subtype left out.")
    if not split_file:
        return dataset, None
    given = pbc.read_split(split_file)
    rows = [index for index, one in enumerate(dataset["image_id"][:]) if one in given]
    say(f"{split_file}: {len(rows)} of {len(given)} pictures found; {len(dataset) - len(rows)} others left out.")
    dataset = dataset.select(rows)
    return dataset, [given[one] for one in dataset["image_id"][:]]


def _check_parts(dataset: datasets.Dataset, parts: list[str], chosen: Recipe) -> None:
    counts = {part: parts.count(part) for part in pbc.PARTS}
    if not all(counts.values()):
        raise pbc.DataError(f"every part needs pictures; there are {counts}.")
    if counts["train"] < chosen.batch_size:
        raise pbc.DataError(f"{counts['train']} training pictures are fewer than batch_size={chosen.batch_size}.")
    trained = {label for label, part in zip(dataset["label"][:], parts, strict=True) if part == "train"}
    missing = [name for index, name in enumerate(chosen.labels) if index not in trained]
    if missing:
        raise pbc.DataError(f"no training picture of {', '.join(missing)}; each of the classes needs some.")


@contextlib.contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """Within it, a first Ctrl-C or SIGTERM waits for the step under way; yields whether one came. A second ends at once."""
    came: list[int] = []
    before = {}

    def note(number: int, frame: object) -> None:
        came.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, note)
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _finish(
    chosen: Recipe,
    network: nn.Module,
    subsets: dict[str, loop.Pixels],
    prepared: Prepared,
    run: Path,
    accelerator: Accelerator,
) -> None:
    """The kept weights -> model folder -> predictions through it, as its users would make them -> metrics, figures."""
    weights, kept = checkpoint.read_best(run / "checkpoints")
    network.load_state_dict(weights)
    loop.recompute_batch_norm(network, subsets["train"])
    temperature = loop.calibrate(network, subsets["validation"])
    model.export(network, chosen, run / "model")
    backend = uncertainty.fit(run, prepared.dataset, prepared.parts)
    facts = _facts(chosen, prepared) | {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "best_epoch": kept["epoch"],
        "temperature": round(temperature, 4),
        "processes": accelerator.num_processes,
        "mixed_precision": accelerator.mixed_precision,
        "backend": backend,  # that answered the validation and the test pictures
    }
    report.write(run, facts, prepared.dataset)


def _facts(chosen: Recipe, prepared: Prepared) -> dict:
    """What only the run itself knows and a reader needs to repeat it."""
    overrides = chosen.differences(json.loads(recipe.load(chosen.name).to_json()))
    values = [shlex.quote(f"{key}={value}") for key, value in overrides.items()]
    return {
        "recipe": chosen.name,
        "architecture": chosen.architecture,
        "command": " ".join(["python -m train", chosen.name, *values]),
        "pretrained": chosen.pretrained,
        "teacher": chosen.teacher,
        "seed": chosen.seed,
        "image_size": chosen.image_size,
        "pictures": {part: prepared.parts.count(part) for part in pbc.PARTS},
        "picture_format": _format(prepared.dataset),
        "device": describe_device(),
        "torch": torch.__version__,
        "versions": {name: metadata.version(name) for name in ("accelerate", "timm", "torchvision", "transformers")},
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
