"""A network's scores on clean pictures."""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor, nn

from train.batches import Pictures
from train.network import adapter
from train.transforms import normalise

EVALUATION_BATCH = 256


@torch.inference_mode()
def compute_logits(network: nn.Module, images: Tensor) -> Tensor:
    """(n, labels) of clean pictures, uint8 (n, 3, s, s)."""
    network.eval()
    statistics = adapter(network).statistics
    return torch.cat([network(normalise(batch.float() / 255, *statistics)).logits for batch in images.split(EVALUATION_BATCH)])


@torch.inference_mode()
def head_inputs(network: nn.Module, images: Tensor) -> np.ndarray:
    """(n, width): what the network's head is given, of clean pictures, uint8 (n, 3, s, s)."""
    seen = []
    hook = adapter(network).head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].flatten(1).cpu()))
    compute_logits(network, images.to(network.device))
    hook.remove()
    return torch.cat(seen).numpy()


def evaluate(network: nn.Module, sources: Mapping[str, Pictures], accelerator: Accelerator) -> dict[str, float]:
    """Loss, accuracy and balanced accuracy on clean pictures: the mean over sources and, of several, each source's own."""
    each = {name: _evaluate_one(network, pictures, accelerator) for name, pictures in sources.items()}
    scores = {key: sum(one[key] for one in each.values()) / len(each) for key in ("loss", "accuracy", "balanced_accuracy")}
    if len(each) > 1:
        scores |= {f"{key}_{name}": value for name, one in each.items() for key, value in one.items()}
    return scores


def _evaluate_one(network: nn.Module, pictures: Pictures, accelerator: Accelerator) -> dict[str, float]:
    """Each process computes its share."""
    n, processes = len(pictures.labels), accelerator.num_processes
    ours = torch.arange(accelerator.process_index, n + -n % processes, processes).clamp(max=n - 1)
    logits = accelerator.gather(compute_logits(network, pictures.images[ours.to(pictures.labels.device)]))
    logits = logits.unflatten(0, (processes, -1)).transpose(0, 1).flatten(0, 1)[:n]  # without the last ones' copies
    predicted = logits.argmax(1)
    return {
        "loss": F.cross_entropy(logits, pictures.labels).item(),
        "accuracy": (predicted == pictures.labels).float().mean().item(),
        "balanced_accuracy": balanced_accuracy_score(pictures.labels.cpu(), predicted.cpu()),
    }
