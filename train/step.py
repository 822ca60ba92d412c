"""One step of the optimizer."""

import contextlib

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from train.recipe import Recipe

TEACHER_TEMPERATURE = 3.0  # softens a teacher's answers, so that the unlikely classes say something (Hinton et al. 2015)


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
    set_to_train(network, recipe.batch_norm == "kept")
    total = torch.zeros((), device=accelerator.device, dtype=torch.float64)
    parts = list(zip(*(_in_parts(one, recipe.gradient_accumulation_steps) for one in (images, targets)), strict=True))
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


def set_to_train(network: nn.Module, keeps_statistics: bool) -> None:
    """Training mode; with `keeps_statistics` batch-norm answers by the statistics that it has, and learns none."""
    network.train()
    if keeps_statistics:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


def _in_parts(batch: Tensor, number: int) -> tuple[Tensor, ...]:
    """At most so many parts, each of two pictures or more: batch-norm has no statistics of one."""
    number = max(min(number, len(batch) // 2), 1)
    parts = batch.chunk(number)
    return parts if len(parts[-1]) > 1 else batch.tensor_split(number)


def distillation(logits: Tensor, answers: Tensor) -> Tensor:
    """How far a network is from its teacher, both given as logits (n, classes) (Hinton et al. 2015)."""
    softened = (answers / TEACHER_TEMPERATURE).softmax(1)
    return F.kl_div((logits / TEACHER_TEMPERATURE).log_softmax(1), softened, reduction="batchmean") * TEACHER_TEMPERATURE**2
