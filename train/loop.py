"""fit() and evaluate(): one plain loop with Accelerate, readable top to bottom.

Nothing random outlives a step: the order of an epoch is drawn from (seed, epoch) and everything else from (seed, step).
So the weights, the optimizer and a step number are all that a checkpoint needs for a resumed run to equal an unbroken one.
"""

import csv
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from scipy.optimize import minimize_scalar
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn
from tqdm import tqdm

from train import checkpoint
from train.model import MEAN, STD
from train.recipe import Recipe
from train.transforms import augment

CHECKPOINT_SECONDS = 120  # at most this much work is done twice after a crash
EVALUATION_BATCH = 256
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
    mean, std = (torch.tensor(values, device=images.device)[:, None, None] for values in (MEAN, STD))
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)


def one_cycle(progress: float, warmup: float) -> float:
    """The rate as a share of its peak at `progress` in 0..1: a cosine up from 1/25, then one down to nearly 0.

    Smith & Topin 2018, with fastai's shape, which the thesis used.
    """
    if progress < warmup:
        return 1 / 25 + (1 - 1 / 25) * (1 - math.cos(math.pi * progress / warmup)) / 2
    return (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup))) / 2 + 1e-5


def build_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """One group per layer and kind; `peak` is its rate at the top of the cycle. Vectors and biases do not decay."""
    layers = _layers(network)
    groups = []
    for depth, layer in enumerate(layers):
        share = depth / max(len(layers) - 1, 1)
        peak = recipe.lr if recipe.lr_first is None else recipe.lr_first * (recipe.lr / recipe.lr_first) ** share
        for decay, matrices in ((recipe.weight_decay, True), (0.0, False)):
            parameters = [p for p in layer if (p.ndim > 1) == matrices]
            groups.append({"params": parameters, "weight_decay": decay, "peak": peak, "lr": peak})
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups)


def _layers(network: nn.Module) -> list[list[nn.Parameter]]:
    """The parameters from the first layer to the head, by the top-level parts of the timm network."""
    return [parameters for part in network.timm_model.children() if (parameters := list(part.parameters()))]


@dataclass
class Progress:
    """What a checkpoint says beside the tensors."""

    step: int = 0  # optimizer steps done
    seconds: float = 0.0  # spent training in the epoch under way
    best: float = -1.0  # the kept epoch's balanced accuracy on validation
    history: list[dict] = field(default_factory=list)  # one row an epoch: history.csv


def fit(
    recipe: Recipe,
    network: nn.Module,
    training: Pixels,
    validation: Pixels,
    run: Path,
    accelerator: Accelerator,
    should_stop: Callable[[int], bool] = lambda step: False,
) -> bool:
    """Train into run/checkpoints and run/history.csv, from where they stand; the best epoch on validation is kept.

    should_stop(step) is asked after every step; when it says yes the state is saved. Returns whether training is complete.
    """
    network = network.to(memory_format=torch.channels_last)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(recipe.average_decay))
    average = average.to(accelerator.device)
    network, optimizer = accelerator.prepare(network, build_optimizer(network, recipe))
    modules = {"network": accelerator.unwrap_model(network), "average": average}
    loss_sum = torch.zeros((), device=accelerator.device)  # of the epoch under way; on the device, so that no step waits
    last = run / "checkpoints" / checkpoint.LAST
    progress = Progress()
    if last.exists():
        tensors, facts = checkpoint.read(last)
        loss_sum += tensors.pop("loss_sum").to(accelerator.device)
        checkpoint.unpack(tensors, modules, optimizer)
        progress = Progress(**facts)

    def save() -> None:
        checkpoint.write(last, checkpoint.pack(modules, optimizer) | {"loss_sum": loss_sum}, asdict(progress))

    steps = len(training.labels) // recipe.batch_size
    pixels, held_out = training, validation
    for epoch in range(len(progress.history), recipe.epochs):
        done = epoch * steps  # before this epoch
        size = recipe.size_at(epoch)
        if size != pixels.images.shape[-1]:
            pixels, held_out = training.resized(size), validation.resized(size)
        _unfreeze(modules["network"], everything=epoch >= recipe.head_epochs)
        clock = saved = time.monotonic()
        order = _order(len(pixels.labels), recipe, epoch)
        with tqdm(total=steps, initial=progress.step - done, desc=f"epoch {epoch + 1}/{recipe.epochs}", leave=False) as bar:
            while progress.step < done + steps:
                indices = order[progress.step - done].to(accelerator.device)
                _set_rates(optimizer, recipe, progress.step / steps)
                batch = Pixels(pixels.images[indices], pixels.labels[indices])
                loss_sum += train_step(network, optimizer, batch, progress.step, recipe, accelerator)
                average.update_parameters(modules["network"])
                progress.step += 1
                bar.update()
                now = time.monotonic()
                progress.seconds, clock = progress.seconds + now - clock, now
                stop = should_stop(progress.step)
                if stop or now - saved > CHECKPOINT_SECONDS:
                    save()
                    saved = now
                if stop:
                    return False
        recompute_batch_norm(average.module, pixels, CLEAN_SAMPLE)
        scores = evaluate(average, held_out)
        progress.history.append(
            {
                "epoch": epoch + 1,
                "size": size,
                "train_loss": loss_sum.item() / steps,
                **{f"validation_{key}": value for key, value in scores.items()},
                "seconds": progress.seconds,
                "images_per_second": steps * recipe.batch_size / progress.seconds,
            }
        )
        # Smaller training sizes are not what the model folder will use, so they do not compete.
        if size == recipe.image_size and scores["balanced_accuracy"] > progress.best:
            progress.best = scores["balanced_accuracy"]
            checkpoint.write(run / "checkpoints" / checkpoint.BEST, average.module.state_dict(), {"epoch": epoch + 1})
        loss_sum.zero_()
        progress.seconds = 0.0
        _write_history(run / "history.csv", progress.history)
        save()  # last: what it says is done is on the disk
        tqdm.write(_describe(progress.history[-1], recipe))
    return True


def train_step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Pixels,
    step: int,
    recipe: Recipe,
    accelerator: Accelerator,
) -> Tensor:
    """One optimizer step on an augmented batch; returns its loss, a scalar on the device."""
    seed = recipe.seed * 1_000_003 + step
    torch.manual_seed(seed)  # stochastic layers
    network.train()
    images = normalise(augment(batch.images, torch.Generator().manual_seed(seed), recipe.lighting))
    with accelerator.autocast():
        logits = network(pixel_values=images).logits
        loss = F.cross_entropy(logits, batch.labels, label_smoothing=recipe.label_smoothing)
    accelerator.backward(loss)
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach()


@torch.inference_mode()
def compute_logits(network: nn.Module, pixels: Pixels) -> Tensor:
    """(n, labels) of clean pictures."""
    network.eval()
    return torch.cat([network(normalise(batch.float() / 255)).logits for batch in pixels.images.split(EVALUATION_BATCH)])


def evaluate(network: nn.Module, pixels: Pixels) -> dict[str, float]:
    """Loss, accuracy and balanced accuracy on clean pictures."""
    logits = compute_logits(network, pixels)
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
        for parameter in network.timm_model.get_classifier().parameters():
            parameter /= result.x
    return float(result.x)


def _order(n: int, recipe: Recipe, epoch: int) -> Tensor:
    """(steps, batch_size) indices of an epoch; the remainder of the shuffled pictures waits for another epoch."""
    shuffled = torch.randperm(n, generator=torch.Generator().manual_seed(recipe.seed * 1_000_003 + epoch))
    return shuffled[: n // recipe.batch_size * recipe.batch_size].view(-1, recipe.batch_size)


def _unfreeze(network: nn.Module, everything: bool) -> None:
    """Let gradients reach the whole network, or its head alone."""
    network.requires_grad_(everything)
    network.timm_model.get_classifier().requires_grad_(True)


def _set_rates(optimizer: torch.optim.Optimizer, recipe: Recipe, epoch: float) -> None:
    """One cycle for the head alone, if the recipe has it, and one for everything."""
    if epoch < recipe.head_epochs:
        factor = one_cycle(epoch / recipe.head_epochs, recipe.warmup) * recipe.lr_head_alone / recipe.lr
    else:
        factor = one_cycle((epoch - recipe.head_epochs) / (recipe.epochs - recipe.head_epochs), recipe.warmup)
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
