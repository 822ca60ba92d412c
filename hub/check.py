"""What was published, loaded as its users load it: every library must give the same answer."""

from collections.abc import Callable

import numpy as np
import timm
import torch
from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, RemoteEntryNotFoundError
from safetensors import SafetensorError
from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline
from transformers.utils import logging

from cells.messages import first_line
from cells.synthetic import draw_cell
from hub.catalog import look_up
from hub.messages import HubError, explained

logging.set_verbosity_error()  # transformers has a report of many lines on weights that do not fit
DRAWN = "lymphocyte"
TOLERANCE = 1e-3  # in probability: libraries resize a picture in slightly different ways


def check(repo_id: str, revision: str = "main") -> list[str]:
    """Classify a drawn cell through each library; a line for each. Raises HubError where they differ or fail."""
    _, files = look_up(repo_id, revision)
    with explained(repo_id):
        loaders = {name: load for name, load in LOADERS.items() if name != "timm" or _is_timm(files)}
        answers = {name: _loaded(name, load, repo_id, revision) for name, load in loaders.items()}
    reference = answers["AutoModelForImageClassification"]
    lines = []
    for name, answer in answers.items():
        label = max(answer, key=answer.get)
        gap = max(abs(answer.get(key, 1.0) - value) for key, value in reference.items())
        if gap > TOLERANCE:
            raise HubError("check_differs", repo=repo_id, library=name, gap=f"{gap:.3f}")
        lines.append(f"{name}: {label} {answer[label]:.4f}")
    return lines


def _loaded(name: str, load: Callable, repo_id: str, revision: str) -> dict[str, float]:
    """The answer through a library. Raises HubError where it does not know what it finds, and what explained() explains."""
    try:
        return load(repo_id, revision)
    except (ValueError, KeyError, TypeError, AttributeError, SafetensorError, RuntimeError, OSError) as error:
        if failed := _of_hub_or_disk(error):
            raise failed from None
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise HubError("check_failed", repo=repo_id, library=name, reason=reason) from None


def _of_hub_or_disk(error: BaseException | None) -> BaseException | None:
    """The error of the Hub or the disk that a library passes on or wraps, if any; an OSError of its own has no number."""
    if error is None or isinstance(error, RemoteEntryNotFoundError):  # the Hub answered: the repo lacks a file
        return None
    is_of_hub = isinstance(error, HTTPError | LocalEntryNotFoundError | OfflineModeIsEnabled)
    is_of_disk = isinstance(error, OSError) and error.errno is not None
    return error if is_of_hub or is_of_disk else _of_hub_or_disk(error.__cause__)


def _is_timm(files: list[str]) -> bool:
    """A network of timm's carries its preprocessing in config.json, one of transformers' in a file of its own."""
    return "preprocessor_config.json" not in files


def _transformers(repo_id: str, revision: str) -> dict[str, float]:
    network = AutoModelForImageClassification.from_pretrained(
        repo_id, revision=revision, trust_remote_code=False, use_safetensors=True
    ).eval()
    processor = AutoImageProcessor.from_pretrained(repo_id, revision=revision, trust_remote_code=False)
    return _answer(network(**processor(draw_cell(DRAWN), return_tensors="pt")).logits, network.config.id2label)


def _pipeline(repo_id: str, revision: str) -> dict[str, float]:
    classify = pipeline("image-classification", model=repo_id, revision=revision, device="cpu", trust_remote_code=False)
    return {row["label"]: row["score"] for row in classify(draw_cell(DRAWN), top_k=100)}


def _timm(repo_id: str, revision: str) -> dict[str, float]:
    network = timm.create_model(f"hf-hub:{repo_id}@{revision}", pretrained=True).eval()
    preprocess = timm.data.create_transform(**timm.data.resolve_data_config({}, model=network))
    return _answer(network(preprocess(draw_cell(DRAWN))[None]), network.pretrained_cfg["label_names"])


@torch.inference_mode()
def _answer(logits: torch.Tensor, labels: dict | list) -> dict[str, float]:
    return {labels[index]: share for index, share in enumerate(np.array(logits.detach().softmax(1)[0]).tolist())}


LOADERS = {"AutoModelForImageClassification": _transformers, "pipeline": _pipeline, "timm": _timm}
