"""The temperature of Guo et al. 2017: what logits are divided by, so that probabilities are as right as they say."""

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from torch import nn


def fit_temperature(logits: np.ndarray, answers: np.ndarray, lowest: float = 0.1) -> float:
    """What logits (n, classes) are to be divided by so that they suit the answers (n,) best; `lowest` to 10."""

    def loss(temperature: float) -> float:
        return -log_softmax(logits / temperature, 1)[np.arange(len(answers)), answers].mean()

    return float(minimize_scalar(loss, bounds=(lowest, 10), method="bounded").x)


def divide(head: nn.Module, temperature: float) -> None:
    """Divide the logits in the weights, in place: whoever loads them, by whichever library, gets calibrated probabilities."""
    with torch.no_grad():
        for parameter in head.parameters():
            parameter /= temperature
