"""fit() and evaluate(): one plain loop with Accelerate, readable top to bottom.

Nothing random outlives a step: the order of an epoch is drawn from (seed, epoch) and everything else from (seed, step).
So the weights, the optimizer and a step number are all that a checkpoint needs for a resumed run to equal an unbroken one.
"""

import contextlib
import csv
import math
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from scipy.optimize import minimize_scalar
from sklearn.metrics import balanced_accuracy_score
from timm.optim import Muon
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn
from torchvision.transforms.v2 import MixUp
from tqdm import tqdm

from train import checkpoint
from train import network as model
from train.network import MEAN, STD
from train.recipe import Recipe
from train.transforms import augment, draw

CHECKPOINT_SECONDS = 120  # at most this much work is done twice after a crash
AGREE_EVERY = 8  # steps after which several GPUs ask each other whether to save or to stop: it makes them wait
EVALUATION_BATCH = 256
TEACHER_TEMPERATURE = 3.0  # softens a teacher's answers, so that the unlikely classes say something (Hinton et al. 2015)
CLEAN_SAMPLE = 2048  # training pictures on which batch-norm statistics are computed before each validation


@dataclass(frozen=True)
class Pixels:
    """Pictures decoded once, on the device: uint8 (n, 3, s, s) and their labels (n,)."""

    images: Tensor
    labels: Tensor

    def resized(self, size: int) -> "Pixels":
        """The same at another side, antialiased."""
        if size == self.images.shape[-1]:
            return self
        batches = (
            F.interpolate(batch.float(), size=(size, size), mode="bilinear", antialias=True).round().clamp(0, 255).byte()
            for batch in self.images.split(EVALUATION_BATCH)
        )
        return Pixels(torch.cat(list(batches)), self.labels)


def normalise(images: Tensor) -> Tensor:
    """Float (n, 3, s, s) in 0..1 -> what the network takes."""
    mean, std = _statistics(images.device)
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)


@cache  # a copy to a GPU at every step would make the host wait
def _statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    return tuple(torch.tensor(values, device=device)[:, None, None] for values in (MEAN, STD))


def one_cycle(progress: float, warmup: float) -> float:
    """The rate as a share of its peak at `progress` in 0..1: a cosine up from 1/25, then one down to nearly 0.

    Smith & Topin 2018, with fastai's shape, which the thesis used.
    """
    if progress < warmup:
        return 1 / 25 + (1 - 1 / 25) * (1 - math.cos(math.pi * progress / warmup)) / 2
    return (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) / 2 + 1e-5


def build_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """One group per layer and kind; `peak` is its rate at the top of the cycle.

    Only weights of layers decay: no biases, no scales, no position embeddings, no class token (Touvron et al. 2021). Muon
    (Jordan et al. 2024) is for the matrices between the first layer and the head; it takes AdamW for all else.
    """
    layers = model.layers(network)
    groups = []
    for depth, layer in enumerate(layers):
        share = depth / max(len(layers) - 1, 1)
        peak = recipe.lr if recipe.lr_first is None else recipe.lr_first * (recipe.lr / recipe.lr_first) ** share
        for decay, matrices in ((recipe.weight_decay, True), (0.0, False)):
            parameters = [p for p in layer if (p.ndim in (2, 4)) == matrices]
            outer = depth in (0, len(layers) - 1)
            groups.append(
                {"params": parameters, "weight_decay": decay, "peak": peak, "lr": peak}
                | ({"use_fallback": outer or not matrices} if recipe.optimizer == "muon" else {})
            )
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, nesterov=True)
    if recipe.optimizer == "muon":
        return Muon(groups, nesterov=True)
    return torch.optim.AdamW(groups, fused=True)


@dataclass
class Progress:
    """What a checkpoint says beside the tensors."""

    step: int = 0  # optimizer steps done
    seconds: float = 0.0  # spent training in the epoch under way
    data_seconds: float = 0.0  # of these, spent fetching and augmenting pictures
    best: float = -1.0  # the kept epoch's balanced accuracy on validation
    history: list[dict] = field(default_factory=list)  # one row an epoch: history.csv


@dataclass
class State:
    """Everything that a step changes."""

    network: nn.Module
    average: AveragedModel  # of the weights; this is what is validated and kept
    optimizer: torch.optim.Optimizer
    loss_sum: Tensor  # of the epoch under way, of this process; on the device, so that no step waits for it
    progress: Progress

    @classmethod
    def begin(cls, recipe: Recipe, network: nn.Module, run: Path, accelerator: Accelerator) -> "State":
        """Where the run stands, or at its first step. Raises CheckpointError."""
        network = network.to(accelerator.device, memory_format=torch.channels_last)
        average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay))
        optimizer = accelerator.prepare_optimizer(build_optimizer(network, recipe))
        loss_sum = torch.zeros((), device=accelerator.device, dtype=torch.float64)
        state = cls(network, average, optimizer, loss_sum, Progress())
        if found := checkpoint.read_last(run / "checkpoints"):
            tensors, facts = found
            loss_sum += tensors.pop("loss_sum").to(accelerator.device)
            checkpoint.unpack(tensors, state.modules, optimizer)
            state.progress = Progress(**facts)
        return state

    @property
    def modules(self) -> dict[str, nn.Module]:
        return {"network": self.network, "average": self.average}

    def mean_loss_sum(self, accelerator: Accelerator) -> Tensor:
        return accelerator.reduce(self.loss_sum.clone(), "mean")

    def save(self, run: Path, accelerator: Accelerator) -> None:
        """Called by every process, done by one; returns when it is on the disk. Raises CheckpointError."""
        loss_sum = self.mean_loss_sum(accelerator)
        if accelerator.is_main_process:
            tensors = checkpoint.pack(self.modules, self.optimizer) | {"loss_sum": loss_sum}
            checkpoint.write(run / "checkpoints" / checkpoint.LAST, tensors, asdict(self.progress))
        accelerator.wait_for_everyone()


def fit(
    recipe: Recipe,
    network: nn.Module,
    training: Pixels,
    validation: Pixels,
    run: Path,
    accelerator: Accelerator,
    should_stop: Callable[[int], bool] = lambda step: False,
    teacher: nn.Module | None = None,
) -> bool:
    """Train into run/checkpoints and run/history.csv, from where they stand; the best epoch on validation is kept.

    The teacher is asked in epochs at full size, the only one that it knows. should_stop(step) is asked after every step; when
    it says yes the state is saved. Returns whether training is complete. Raises CheckpointError.
    """
    state = State.begin(recipe, network, run, accelerator)
    wrapped, frozen = None, None
    pixels, held_out = training, validation
    for epoch in range(len(state.progress.history), recipe.epochs):
        size = recipe.size_at(epoch)
        if size != pixels.images.shape[-1]:
            pixels, held_out = training.resized(size), validation.resized(size)
        if frozen != (epoch < recipe.freeze_epochs):
            frozen = epoch < recipe.freeze_epochs
            wrapped = _prepare(network, accelerator, frozen)
        asked = teacher if size == recipe.image_size else None
        if not _train_epoch(state, wrapped, asked, pixels, recipe, run, accelerator, should_stop):
            return False
        recompute_batch_norm(state.average.module, pixels, CLEAN_SAMPLE)
        scores = evaluate(state.average.module, held_out, accelerator)
        _close_epoch(state, scores, size, len(pixels.labels), recipe, run, accelerator)
    return True


def _train_epoch(
    state: State,
    wrapped: nn.Module,
    teacher: nn.Module | None,
    pixels: Pixels,
    recipe: Recipe,
    run: Path,
    accelerator: Accelerator,
    should_stop: Callable[[int], bool],
) -> bool:
    """The rest of the epoch under way; False when it was stopped, and saved, on the way."""
    progress, epoch = state.progress, len(state.progress.history)
    order = order_of(len(pixels.labels), recipe, epoch).to(pixels.labels.device)
    done, end = epoch * len(order), (epoch + 1) * len(order)
    watch = Stopwatch(accelerator.device)
    clock = saved = time.monotonic()
    stop = False
    agree_every = AGREE_EVERY if accelerator.num_processes > 1 and accelerator.device.type == "cuda" else 1
    name = f"epoch {epoch + 1}/{recipe.epochs}"
    hidden = not accelerator.is_local_main_process
    for step in tqdm(range(progress.step, end), name, len(order), initial=progress.step - done, leave=False, disable=hidden):
        set_rates(state.optimizer, recipe, step / len(order))
        with watch:
            images, targets = fetch(pixels, order[step - done], step, recipe, accelerator)
        state.loss_sum += train_step(wrapped, teacher, state.optimizer, images, targets, recipe, accelerator)
        state.average.update_parameters(state.network)
        progress.step = step + 1
        stop = should_stop(progress.step) or stop
        if progress.step == end or progress.step % agree_every == 0:
            stop, due = _agree(accelerator, stop, time.monotonic() - saved > CHECKPOINT_SECONDS)
            if stop or due or progress.step == end:
                progress.data_seconds += watch.read()
                now = time.monotonic()
                progress.seconds, clock = progress.seconds + now - clock, now
            if stop or due:
                state.save(run, accelerator)
                saved = clock = time.monotonic()
            if stop:
                return False
    return True


def _close_epoch(
    state: State, scores: dict[str, float], size: int, n: int, recipe: Recipe, run: Path, accelerator: Accelerator
) -> None:
    """A row of history; the weights are kept if they are the best on validation; the state is saved."""
    progress = state.progress
    steps = n // recipe.batch_size
    row = {
        "epoch": len(progress.history) + 1,
        "size": size,
        "train_loss": state.mean_loss_sum(accelerator).item() / steps,
        **{f"validation_{key}": value for key, value in scores.items()},
        "seconds": progress.seconds,
        "images_per_second": steps * recipe.batch_size / progress.seconds,
        "data_share": progress.data_seconds / progress.seconds,
        "peak_memory_mb": peak_memory(accelerator.device) / 1e6,
    }
    progress.history.append(row)
    # Smaller training sizes are not what the model folder will use, so they do not compete.
    kept = size == recipe.image_size and scores["balanced_accuracy"] > progress.best
    if kept:
        progress.best = scores["balanced_accuracy"]
    state.loss_sum.zero_()
    progress.seconds = progress.data_seconds = 0.0
    if accelerator.is_main_process:
        if kept:
            weights = state.average.module.state_dict()
            checkpoint.write(run / "checkpoints" / checkpoint.BEST, weights, {"epoch": row["epoch"]})
        _write_history(run / "history.csv", progress.history)
        tqdm.write(_describe(row, recipe))
    accelerator.log(row, step=row["epoch"])
    state.save(run, accelerator)  # last: what it says is done is on the disk


def _prepare(network: nn.Module, accelerator: Accelerator, frozen: bool) -> nn.Module:
    """The network as Accelerate runs it, with gradients for everything or for its head alone.

    Anew for each of the two, since several processes agree on what has gradients only once.
    """
    network.requires_grad_(not frozen)
    model.head(network).requires_grad_(True)
    return accelerator.prepare_model(accelerator.unwrap_model(network, keep_fp32_wrapper=False))


def _agree(accelerator: Accelerator, *wishes: bool) -> list[bool]:
    """Each wish of any process is every process's."""
    if accelerator.num_processes == 1:
        return list(wishes)
    flags = torch.tensor(wishes, dtype=torch.int32, device=accelerator.device)
    return accelerator.reduce(flags, "sum").bool().tolist()


class Stopwatch:
    """Seconds spent within `with` blocks, on a GPU in the work that they queue: `with watch: ...`, then watch.read()."""

    def __init__(self, device: torch.device) -> None:
        self.gpu = device.type == "cuda"
        self.blocks: list[tuple] = []

    def _now(self) -> float | torch.cuda.Event:
        if not self.gpu:
            return time.monotonic()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def __enter__(self) -> None:
        self.begin = self._now()

    def __exit__(self, *exception: object) -> None:
        self.blocks.append((self.begin, self._now()))

    def read(self) -> float:
        """The sum since the last reading."""
        if self.gpu:
            torch.cuda.synchronize()
        seconds = [begin.elapsed_time(end) / 1000 if self.gpu else end - begin for begin, end in self.blocks]
        self.blocks = []
        return sum(seconds)


def peak_memory(device: torch.device) -> int:
    """Bytes, so far: of a GPU what tensors took at most, otherwise of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def fetch(pixels: Pixels, rows: Tensor, step: int, recipe: Recipe, accelerator: Accelerator) -> tuple[Tensor, Tensor]:
    """This process's part of a batch, augmented and normalised, and its targets: label indices, or shares after MixUp."""
    seed = recipe.seed * 1_000_003 + step
    draws = draw(len(rows), recipe.lighting, torch.Generator().manual_seed(seed))
    ours = torch.arange(accelerator.process_index, len(rows), accelerator.num_processes)
    indices = rows[ours.to(rows.device)]
    images, targets = augment(pixels.images[indices], draws.of(ours)), pixels.labels[indices]
    torch.manual_seed(seed)  # one weight of MixUp for the whole batch
    if recipe.mixup:
        images, targets = MixUp(alpha=recipe.mixup, num_classes=len(recipe.labels))(images, targets)
    torch.manual_seed(seed + 500_009 * (1 + accelerator.process_index))  # stochastic layers: each process its own
    return normalise(images), targets


def train_step(
    network: nn.Module,
    teacher: nn.Module | None,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    targets: Tensor,
    recipe: Recipe,
    accelerator: Accelerator,
) -> Tensor:
    """One optimizer step; returns its loss, a scalar on the device."""
    network.train()
    total = torch.zeros((), device=accelerator.device, dtype=torch.float64)
    parts = list(
        zip(images.chunk(recipe.gradient_accumulation_steps), targets.chunk(recipe.gradient_accumulation_steps), strict=True)
    )
    for number, (part, answers) in enumerate(parts):
        last = number == len(parts) - 1
        with contextlib.nullcontext() if last else accelerator.no_sync(network):
            with accelerator.autocast():
                logits = network(pixel_values=part).logits
                loss = F.cross_entropy(logits, answers, label_smoothing=recipe.label_smoothing)
                if teacher is not None:
                    loss = (loss + distillation(logits, teacher(pixel_values=part).logits)) / 2
                loss = loss * len(part) / len(images)
            accelerator.backward(loss)
        total += loss.detach()
    if recipe.max_grad_norm:
        accelerator.clip_grad_norm_(network.parameters(), recipe.max_grad_norm)
    optimizer.step()
    optimizer.zero_grad()
    return total


def distillation(logits: Tensor, answers: Tensor) -> Tensor:
    """How far a network is from its teacher, both given as logits (n, classes) (Hinton et al. 2015)."""
    softened = (answers / TEACHER_TEMPERATURE).softmax(1)
    return F.kl_div((logits / TEACHER_TEMPERATURE).log_softmax(1), softened, reduction="batchmean") * TEACHER_TEMPERATURE**2


@torch.inference_mode()
def compute_logits(network: nn.Module, pixels: Pixels) -> Tensor:
    """(n, labels) of clean pictures."""
    network.eval()
    return torch.cat([network(normalise(batch.float() / 255)).logits for batch in pixels.images.split(EVALUATION_BATCH)])


def evaluate(network: nn.Module, pixels: Pixels, accelerator: Accelerator) -> dict[str, float]:
    """Loss, accuracy and balanced accuracy on clean pictures, of which each process computes its share."""
    n, processes = len(pixels.labels), accelerator.num_processes
    ours = torch.arange(accelerator.process_index, n + -n % processes, processes).clamp(max=n - 1).to(pixels.labels.device)
    logits = accelerator.gather(compute_logits(network, Pixels(pixels.images[ours], pixels.labels[ours])))
    logits = logits.unflatten(0, (processes, -1)).transpose(0, 1).flatten(0, 1)[:n]  # without the last ones' copies
    predicted = logits.argmax(1)
    return {
        "loss": F.cross_entropy(logits, pixels.labels).item(),
        "accuracy": (predicted == pixels.labels).float().mean().item(),
        "balanced_accuracy": balanced_accuracy_score(pixels.labels.cpu(), predicted.cpu()),
    }


def recompute_batch_norm(network: nn.Module, pixels: Pixels, most: int | None = None) -> None:
    """Set the statistics of averaged weights, which have none of their own, from (at most so many) clean pictures.

    Running statistics of augmented batches make good weights look worse than they are: 0.980 in place of 0.983 on
    validation, for the 27th epoch of resnet18_scratch. Batches are mixed: the variance between pictures of different types
    must lie within a batch, or it is not seen.
    """
    rows = torch.randperm(len(pixels.labels), generator=torch.Generator().manual_seed(0))[:most].to(pixels.labels.device)
    batches = (normalise(pixels.images[some].float() / 255) for some in rows.split(EVALUATION_BATCH))
    with torch.no_grad():
        update_bn(batches, network)


def calibrate(network: nn.Module, pixels: Pixels) -> float:
    """Divide the head by the temperature that suits held-out pictures best, and return it (Guo et al. 2017).

    No decision changes, and whoever loads the weights, by whichever library, gets calibrated probabilities.
    """
    logits = compute_logits(network, pixels).float()
    result = minimize_scalar(lambda t: F.cross_entropy(logits / t, pixels.labels).item(), bounds=(0.1, 10), method="bounded")
    with torch.no_grad():
        for parameter in model.head(network).parameters():
            parameter /= result.x
    return float(result.x)


def order_of(n: int, recipe: Recipe, epoch: int) -> Tensor:
    """(steps, batch_size) indices of an epoch; the remainder of the shuffled pictures waits for another epoch."""
    shuffled = torch.randperm(n, generator=torch.Generator().manual_seed(recipe.seed * 1_000_003 + epoch))
    return shuffled[: n // recipe.batch_size * recipe.batch_size].view(-1, recipe.batch_size)


def set_rates(optimizer: torch.optim.Optimizer, recipe: Recipe, epoch: float) -> None:
    """One cycle for the head alone, if the recipe has it, and one for everything."""
    if epoch < recipe.freeze_epochs:
        factor = one_cycle(epoch / recipe.freeze_epochs, recipe.warmup) * recipe.lr_head_alone / recipe.lr
    else:
        factor = one_cycle((epoch - recipe.freeze_epochs) / (recipe.epochs - recipe.freeze_epochs), recipe.warmup)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def _write_history(path: Path, history: list[dict]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, history[0], lineterminator="\n")
        writer.writeheader()
        for row in history:
            writer.writerow({key: f"{value:.5g}" if isinstance(value, float) else value for key, value in row.items()})


def _describe(row: dict, recipe: Recipe) -> str:
    return (
        f"epoch {row['epoch']:3d}/{recipe.epochs}  {row['size']:3d} px  train loss {row['train_loss']:.3f}  validation loss "
        f"{row['validation_loss']:.4f}  accuracy {row['validation_accuracy']:.4f}  balanced "
        f"{row['validation_balanced_accuracy']:.4f}  {row['images_per_second']:.0f} images/s"
    )
