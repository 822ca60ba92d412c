"""From the kept weights of a finished training to its model folder."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from cells.classes import KNOWN, describe
from cells.model.folder import write_classes
from cells.model.temperature import divide, fit_temperature
from train import checkpoint
from train.batches import Batches, Pictures
from train.evaluation import EVALUATION_BATCH, compute_logits
from train.network import adapter, export
from train.recipe import Recipe
from train.transforms import normalise


def write_model(
    recipe: Recipe, network: nn.Module, training: Mapping[str, Pictures], validation: Mapping[str, Pictures], run: Path
) -> dict[str, float]:
    """The run's kept weights -> RUN/model, calibrated; returns facts for metrics.json. Raises CheckpointError."""
    weights, facts = checkpoint.read_best(run / "checkpoints")
    network.load_state_dict(weights)
    recomputes = recipe.recomputes_batch_norm and any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())
    if recomputes:
        recompute_batch_norm(network, Batches.of(training, recipe, adapter(network).statistics))
    temperature = calibrate(network, validation)
    export(network, run / "model")
    if not KNOWN.keys() >= set(recipe.labels):  # a person can then say in the folder what the other classes are
        write_classes(run / "model", describe(recipe.labels))
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "best_epoch": facts["epoch"],
        "batch_norm_recomputed": recomputes,
        "temperature": round(temperature, 4),
    }


def recompute_batch_norm(network: nn.Module, batches: Batches, most: int | None = None) -> None:
    """Set the statistics of averaged weights, which have none of their own, from (at most so many) clean pictures.

    Running statistics of augmented batches make good weights look worse than they are. Batches are mixed: the variance
    between pictures of different types must lie within a batch, or it is not seen.
    """
    parts = list(batches.sample(most).to(batches.pictures.labels.device).split(EVALUATION_BATCH))
    if len(parts) > 1 and len(parts[-1]) == 1:  # batch-norm has no statistics of one picture
        parts[-2:] = [torch.cat(parts[-2:])]
    images = (normalise(batches.pictures.images[rows].float() / 255, *batches.statistics) for rows in parts)
    with torch.no_grad():
        update_bn(images, network)


def calibrate(network: nn.Module, sources: Mapping[str, Pictures]) -> float:
    """Divide the head by the temperature that suits held-out pictures best, and return it. No decision changes."""
    logits = torch.cat([compute_logits(network, pictures.images) for pictures in sources.values()]).double().cpu().numpy()
    labels = torch.cat([pictures.labels for pictures in sources.values()]).cpu().numpy()
    temperature = fit_temperature(logits, labels)
    divide(adapter(network).head, temperature)
    return temperature
