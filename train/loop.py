"""fit(): one plain loop with Accelerate, readable top to bottom.

Nothing random outlives a step: a batch is drawn from (seed, step), see batches.py. So the weights, the optimizer and a step
number are all that a checkpoint needs for a resumed run to equal an unbroken one.
"""

import contextlib
import csv
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn
from tqdm import tqdm

from train import checkpoint
from train.batches import Batches, Pictures
from train.evaluation import evaluate
from train.finalize import recompute_batch_norm
from train.network import adapter
from train.optim import set_rates
from train.recipe import Recipe, RecipeError
from train.state import State
from train.step import train_step
from train.timing import Stopwatch, peak_memory

CHECKPOINT_SECONDS = 120  # at most this much work is done twice after a crash
AGREE_EVERY = 8  # steps after which several GPUs ask each other whether to save or to stop: it makes them wait
LOOK_EVERY = 50  # steps after which a GPU is asked whether the loss is finite: it makes the host wait
CLEAN_SAMPLE = 2048  # training pictures on which batch-norm statistics are computed before each validation


def fit(
    recipe: Recipe,
    network: nn.Module,
    training: Mapping[str, Pictures],
    validation: Mapping[str, Pictures],
    run: Path,
    accelerator: Accelerator,
    should_stop: Callable[[int], bool] = lambda step: False,
    teacher: nn.Module | None = None,
) -> bool:
    """Train into run/checkpoints and run/history.csv, from where they stand; the best epoch on validation is kept.

    The pictures are those of each source, by name. The teacher is asked in epochs at full size, the only one that it knows.
    should_stop(step) is asked after every step; when it says yes the state is saved. Returns whether training is complete.
    Raises CheckpointError, and RecipeError where the loss is not finite any more.
    """
    state = State(recipe, network, run, accelerator)
    processes = (accelerator.process_index, accelerator.num_processes)
    whole = batches = Batches.of(training, recipe, adapter(network).statistics, *processes)
    wrapped, frozen, held_out = None, None, validation
    for epoch in range(len(state.progress.history), recipe.epochs):
        size = recipe.size_at(epoch)
        if size != batches.size:
            batches, held_out = whole.resized(size), {name: part.resized(size) for name, part in validation.items()}
        if frozen != (epoch < recipe.freeze_epochs):
            frozen = epoch < recipe.freeze_epochs
            wrapped = _prepare(network, accelerator, frozen)
        asked = teacher if size == recipe.image_size else None
        if not _train_epoch(state, wrapped, asked, batches, run, accelerator, should_stop):
            return False
        with _validated(state) as judged:
            if recipe.recomputes_batch_norm:
                recompute_batch_norm(judged, batches, CLEAN_SAMPLE)
            scores = evaluate(judged, held_out, accelerator)
            _close_epoch(state, judged, scores, batches, run, accelerator)
    return True


def _train_epoch(
    state: State,
    wrapped: nn.Module,
    teacher: nn.Module | None,
    batches: Batches,
    run: Path,
    accelerator: Accelerator,
    should_stop: Callable[[int], bool],
) -> bool:
    """The rest of the epoch under way; False when it was stopped, and saved, on the way."""
    progress, recipe, epoch = state.progress, batches.recipe, len(state.progress.history)
    end = (epoch + 1) * batches.steps
    watch, clock, stop = Stopwatch(accelerator.device), time.monotonic(), False
    gpu, several = accelerator.device.type == "cuda", accelerator.num_processes > 1
    agree_every = AGREE_EVERY if several and gpu else 1
    options = {"leave": False, "disable": not accelerator.is_local_main_process}
    name, done = f"epoch {epoch + 1}/{recipe.epochs}", progress.step % batches.steps
    with tqdm(desc=name, total=batches.steps, initial=done, **options) as bar:
        while progress.step < end:
            set_rates(state.optimizer, recipe, progress.step / batches.steps)
            with watch:
                images, targets = batches.at(progress.step)
            state.after_step(train_step(wrapped, teacher, state.optimizer, images, targets, recipe, accelerator))
            bar.update()
            stop = should_stop(progress.step) or stop
            last = progress.step == end
            if not last and progress.step % agree_every:
                continue
            due = time.monotonic() - state.saved > CHECKPOINT_SECONDS
            look = not gpu or several or stop or due or last or progress.step % LOOK_EVERY == 0
            stop, due, diverged = _agree(accelerator, stop, due, look and state.diverged.item() >= 0)
            if diverged:
                raise _divergence(state, batches)
            if stop or due or last:
                now = time.monotonic()
                progress.data_seconds += watch.read()
                progress.seconds, clock = progress.seconds + now - clock, now
            if stop or (due and not last):
                state.save(run, accelerator)
            if stop:
                return False
    return True


def _divergence(state: State, batches: Batches) -> RecipeError:
    recipe, step = batches.recipe, state.diverged.item()
    step = state.progress.step if step < 0 else step + 1  # another process saw it
    return RecipeError(
        f"{recipe.name}: the loss is not finite at step {step} (epoch {(step - 1) // batches.steps + 1}), so nothing more is "
        f"learnt; try lr={recipe.lr / 10:g} or max_grad_norm=1.0, or ACCELERATE_MIXED_PRECISION=no if it is not, with another "
        "--out."
    )


def _close_epoch(
    state: State, judged: nn.Module, scores: dict[str, float], batches: Batches, run: Path, accelerator: Accelerator
) -> None:
    """A row of history; the weights are kept if they are the best on validation; the state is saved then, or when due."""
    progress, recipe = state.progress, batches.recipe
    pictures = batches.steps * recipe.batch_size
    row = {
        "epoch": len(progress.history) + 1,
        "size": batches.size,
        "train_loss": state.mean_loss_sum(accelerator).item() / batches.steps,
        **{f"validation_{key}": value for key, value in scores.items()},
        "seconds": progress.seconds,
        "images_per_second": pictures / progress.seconds,
        "data_share": progress.data_seconds / progress.seconds,
        "peak_memory_mb": peak_memory(accelerator.device) / 1e6,
    }
    progress.history.append(row)
    # Smaller training sizes are not what the model folder will use, so they do not compete.
    best = batches.size == recipe.image_size and scores["balanced_accuracy"] > progress.best
    if best:
        progress.best = scores["balanced_accuracy"]
    state.loss_sum.zero_()
    progress.seconds = progress.data_seconds = 0.0
    clock = time.monotonic()
    if accelerator.is_main_process:
        if best:
            checkpoint.write(run / "checkpoints" / checkpoint.BEST, judged.state_dict(), {"epoch": row["epoch"]})
        _write_history(run / "history.csv", progress.history)
        tqdm.write(_describe(row, recipe))
    accelerator.log(row, step=row["epoch"])
    (due,) = _agree(accelerator, time.monotonic() - state.saved > CHECKPOINT_SECONDS)
    if best or due or row["epoch"] == recipe.epochs:
        state.save(run, accelerator)  # last: what it says is done is on the disk
        progress.seconds = time.monotonic() - clock


@contextlib.contextmanager
def _validated(state: State) -> Iterator[nn.Module]:
    """The network that is validated and kept, in float32: within it, Accelerate's autocast is off."""
    if state.average:
        yield state.average.module
        return
    forward = vars(state.network).pop("forward", None)  # where Accelerate puts its autocast
    try:
        yield state.network
    finally:
        if forward is not None:
            state.network.forward = forward


def _prepare(network: nn.Module, accelerator: Accelerator, frozen: bool) -> nn.Module:
    """The network as Accelerate runs it, with gradients for everything or for its head alone.

    Anew for each of the two, since several processes agree on what has gradients only once.
    """
    network.requires_grad_(not frozen)
    adapter(network).head.requires_grad_(True)
    return accelerator.prepare_model(accelerator.unwrap_model(network, keep_fp32_wrapper=False))


def _agree(accelerator: Accelerator, *wishes: bool) -> list[bool]:
    """Each wish of any process is every process's."""
    if accelerator.num_processes == 1:
        return list(wishes)
    flags = torch.tensor(wishes, dtype=torch.int32, device=accelerator.device)
    return accelerator.reduce(flags, "sum").bool().tolist()


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
