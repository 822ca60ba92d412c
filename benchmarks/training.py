"""How fast networks train, beside what a user would pick instead: python -m benchmarks.training [RECIPE...]; --help says more.

The same network, size, batch and precision, on the same JPEG files of drawn cells (360 x 363 px), trained by

    ours     train.loop.fit: pictures decoded once, before the time counts; augmented in batches where the network is
    trainer  transformers' Trainer as its example run_image_classification.py sets it up: a picture is decoded, cropped, flipped
             and normalised each time that it is fetched, and no option is changed from its default (no workers, AdamW)
    timm     the loop of timm's train.py with its defaults: 4 workers, random crops, colour jitter, SGD, smoothed labels

In turns, each time in a process of its own. What counts are the steps after the first ones, which allocate memory, choose
kernels, compile, and use up what workers had ready; no validation, no logging. Prints images/s, and ours / theirs by rounds.
"""

import argparse
import os
import tempfile
from functools import partial
from pathlib import Path

import datasets
import timm
import torch
import torch.nn.functional as F
from timm.data import ImageDataset, create_loader
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from torch.utils.flop_counter import FlopCounterMode
from torchvision.transforms import Compose, Normalize, RandomHorizontalFlip, RandomResizedCrop, ToTensor
from transformers import Trainer, TrainerCallback, TrainerControl, TrainingArguments

from benchmarks.steps import Window, as_measured, decode_pictures, read_pictures, write_pictures
from benchmarks.timing import alone, compare, spread
from train import loop, recipe, run
from train.network import build
from train.recipe import VITS, Recipe
from train.transforms import MEAN, STD

WARM_UP = 10  # steps: timm's workers have 8 batches ready when the first step begins
COMPILER = "ACCELERATE_DYNAMO_BACKEND"  # compiles ours; the others have options of their own for it, which are off
TIMM_WORKERS = 4  # the default of its train.py
# Matrix products of dense bfloat16, TFLOP/s, as NVIDIA's data sheets have them.
PEAKS = {"NVIDIA H100 80GB HBM3": 989, "NVIDIA H100 PCIe": 756, "NVIDIA H200": 989, "NVIDIA A100": 312}


def main() -> None:
    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser("python -m benchmarks.training", description="Measure how fast networks train.")
    thesis = ["resnet18", "resnet34", "vit_base", "vit_large"] if gpu else ["resnet18"]
    parser.add_argument("recipes", nargs="*", default=thesis, metavar="RECIPE", help=f"default here {' '.join(thesis)}")
    parser.add_argument("--size", type=int, default=224 if gpu else 128, metavar="PIXELS", help="default here %(default)s")
    parser.add_argument("--batch", type=int, metavar="N", help="pictures a step (default the recipe's)")
    parser.add_argument("--steps", type=int, default=100 if gpu else 20, metavar="N", help="default here %(default)s")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="rounds (default %(default)s)")
    options = parser.parse_args()
    batch = [f"batch_size={options.batch}"] * (options.batch is not None)
    for name in options.recipes:
        side_by_side(as_measured(recipe.load(name).override(batch), options.size), options.steps, options.repeats)


def side_by_side(chosen: Recipe, steps: int, repeats: int) -> None:
    precision = run.start(chosen, Path()).mixed_precision.replace("no", "float32")
    print(f"{chosen.name}: {chosen.architecture} at {chosen.image_size} px in batches of {chosen.batch_size}, {precision}")
    print(f"{run.describe_device()}; {os.cpu_count()} cores; {steps} steps after {WARM_UP} that do not count")
    print(f"ours compiled by {os.environ[COMPILER]}" if COMPILER in os.environ else "nothing compiled", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # The loaders that work ahead are not to reach the end of the pictures.
        write_pictures(folder, (WARM_UP + steps + 2 * TIMM_WORKERS + 1) * chosen.batch_size)
        turns = {name: partial(alone, measure, name, chosen, folder, precision == "bf16", steps) for name in LOOPS}
        values = compare(turns, repeats, "images/s")
    if torch.cuda.is_available():
        print(utilisation(values["ours"], chosen))


def utilisation(rates: list[float], chosen: Recipe) -> str:
    """Model FLOP utilisation (Chowdhery et al. 2022): what the network's arithmetic takes of what the GPU could do."""
    name = torch.cuda.get_device_name()
    peak = next((peak for prefix, peak in PEAKS.items() if name.startswith(prefix)), None)
    tera = [rate * flops(chosen) / 1e12 for rate in rates]
    if peak is None:
        return f"ours: {spread(tera, 'TFLOP/s')}; the peak of {name} is not known here"
    return f"ours, model FLOP utilisation: {spread([100 * one / peak for one in tera], '%')} (of {peak} TFLOP/s in bfloat16)"


def flops(chosen: Recipe) -> float:
    """Floating-point operations for one picture, forward and backward; nothing is computed for it."""
    with torch.device("meta"):
        network, images, labels = build(chosen), torch.empty(2, 3, chosen.image_size, chosen.image_size), torch.ones(2)
        with FlopCounterMode(display=False) as counter:
            F.cross_entropy(network(pixel_values=images).logits, labels.long()).backward()
    return counter.get_total_flops() / len(images)


def measure(name: str, chosen: Recipe, folder: Path, bf16: bool, steps: int) -> float:
    """Images/s of one of the loops."""
    window = Window(WARM_UP, steps)
    with tempfile.TemporaryDirectory() as out:
        LOOPS[name](chosen, folder, bf16, window, Path(out))
    return window.rate * chosen.batch_size


def train_ours(chosen: Recipe, folder: Path, bf16: bool, window: Window, out: Path) -> None:
    accelerator = run.start(chosen, out)
    pictures = {"pbc": decode_pictures(folder, chosen.image_size, accelerator.device)}
    loop.fit(chosen, build(chosen), pictures, pictures, out, accelerator, should_stop=window)


def train_with_trainer(chosen: Recipe, folder: Path, bf16: bool, window: Window, out: Path) -> None:
    os.environ.pop(COMPILER, None)
    size = chosen.image_size
    transform = Compose([RandomResizedCrop(size), RandomHorizontalFlip(), ToTensor(), Normalize(MEAN, STD)])

    def transform_all(batch: dict) -> dict:
        return {"pixel_values": [transform(image.convert("RGB")) for image in batch["image"]], "label": batch["label"]}

    def collate(examples: list[dict]) -> dict:
        pixel_values = torch.stack([example["pixel_values"] for example in examples])
        return {"pixel_values": pixel_values, "labels": torch.tensor([example["label"] for example in examples])}

    class Steps(TrainerCallback):
        def on_step_end(self, args: object, state: object, control: TrainerControl, **_: object) -> None:
            control.should_training_stop = window()

    arguments = TrainingArguments(
        str(out),
        per_device_train_batch_size=chosen.batch_size,
        remove_unused_columns=False,
        bf16=bf16,
        use_cpu=not torch.cuda.is_available(),
    )
    pictures = read_pictures(folder).cast_column("image", datasets.Image()).with_transform(transform_all)
    Trainer(build(chosen), arguments, collate, pictures, callbacks=[Steps()]).train()


def train_with_timm(chosen: Recipe, folder: Path, bf16: bool, window: Window, out: Path) -> None:
    device, vit = torch.device("cuda" if torch.cuda.is_available() else "cpu"), chosen.architecture in VITS
    torch.backends.cudnn.benchmark = torch.backends.cuda.matmul.allow_tf32 = True
    name = f"{chosen.architecture}_patch{chosen.patch_size}_224" if vit else chosen.architecture
    size = {"img_size": chosen.image_size} if vit else {}
    network = timm.create_model(name, num_classes=len(chosen.labels), **size).to(device)
    optimizer = create_optimizer_v2(network, opt="sgd", lr=0.05, weight_decay=2e-5, momentum=0.9)
    criterion = LabelSmoothingCrossEntropy(0.1)
    loader = create_loader(
        ImageDataset(str(folder)),
        (3, chosen.image_size, chosen.image_size),
        chosen.batch_size,
        is_training=True,
        interpolation="random",
        num_workers=TIMM_WORKERS,
        device=device,
    )
    network.train()
    optimizer.zero_grad()
    for images, labels in loader:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = criterion(network(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if window():
            break


LOOPS = {"ours": train_ours, "trainer": train_with_trainer, "timm": train_with_timm}


if __name__ == "__main__":
    main()
