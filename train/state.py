"""Everything that a training step changes, and its way into a checkpoint and back."""

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from train import checkpoint
from train.optim import build_optimizer
from train.recipe import Recipe


@dataclass
class Progress:
    """What a checkpoint says beside the tensors."""

    step: int = 0  # optimizer steps done
    seconds: float = 0.0  # spent in the epoch under way: training, and writing checkpoints
    data_seconds: float = 0.0  # of these, spent fetching and augmenting pictures
    best: float = -1.0  # the best epoch's balanced accuracy on validation
    history: list[dict] = field(default_factory=list)  # one row an epoch: history.csv
    scaler: dict | None = None  # of the loss, in float16


class State:
    """Everything that a step changes."""

    def __init__(self, recipe: Recipe, network: nn.Module, run: Path, accelerator: Accelerator) -> None:
        """As the run's last checkpoint has it, or as before the first step. Raises CheckpointError."""
        device = accelerator.device
        self.network = network.to(device, memory_format=torch.channels_last)
        # Of the weights; this is what is validated and kept. Without averaging there is no copy.
        average = get_ema_multi_avg_fn(recipe.ema_decay)
        buffers = not recipe.recomputes_batch_norm  # batch-norm's statistics; otherwise they are computed in the end
        self.average = AveragedModel(network, multi_avg_fn=average, use_buffers=buffers) if recipe.ema_decay else None
        self.optimizer = accelerator.prepare_optimizer(build_optimizer(network, recipe))
        self.loss_sum = torch.zeros((), device=device, dtype=torch.float64)  # of the epoch, on the device: no step waits for it
        self.diverged = torch.full((), -1, device=device)  # the first step whose loss was not finite
        self.progress = Progress()
        self.saved = time.monotonic()
        if found := checkpoint.read_last(run / "checkpoints"):
            tensors, facts = found
            self.loss_sum += tensors.pop("loss_sum").to(device)
            checkpoint.unpack(tensors, self.modules, self.optimizer)
            self.progress = Progress(**facts)
            if accelerator.scaler is not None and self.progress.scaler:
                accelerator.scaler.load_state_dict(self.progress.scaler)

    @property
    def modules(self) -> dict[str, nn.Module]:
        """What a checkpoint holds, by name."""
        return {"network": self.network} | ({"average": self.average} if self.average else {})

    def after_step(self, loss: Tensor) -> None:
        """Add up the loss, note where it stops to be finite, and follow the weights."""
        self.loss_sum += loss
        self.diverged = torch.where((self.diverged < 0) & ~loss.isfinite(), self.progress.step, self.diverged)
        if self.average:
            self.average.update_parameters(self.network)
        self.progress.step += 1

    def mean_loss_sum(self, accelerator: Accelerator) -> Tensor:
        """Over the processes."""
        return accelerator.reduce(self.loss_sum.clone(), "mean")

    def save(self, run: Path, accelerator: Accelerator) -> None:
        """Called by every process, done by one; returns when it is on the disk. Raises CheckpointError."""
        loss_sum = self.mean_loss_sum(accelerator)
        if accelerator.scaler is not None:
            self.progress.scaler = accelerator.scaler.state_dict()
        if accelerator.is_main_process:
            tensors = checkpoint.pack(self.modules, self.optimizer) | {"loss_sum": loss_sum}
            checkpoint.write(run / "checkpoints" / checkpoint.LAST, tensors, asdict(self.progress))
        accelerator.wait_for_everyone()
        self.saved = time.monotonic()
