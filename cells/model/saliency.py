"""Saliency: where in a picture lies what speaks for a class.

One method serves every network: gradient times activation, summed over channels, at the last layer whose output still has
places (cells/model/layers.py). For a ResNet, whose head is a linear layer on a mean, that is the class activation map (Zhou et
al. 2016; Draelos and Carin 2020, "HiResCAM"); for a ViT it is taken on the patches that enter the last block, from which the
class token reads.
"""

import threading

import numpy as np
import torch
from PIL import Image

from cells.model.classifier import Classifier

EXPLAINING = threading.Lock()  # two hooks in one network would take each other's tensors


def heatmap(classifier: Classifier, image: Image.Image, label: str) -> np.ndarray:
    """(rows, columns) in 0..1: how much each part of the picture speaks for the label, 1 the most, 0 not at all.

    The grid is the network's own and coarse: 4 x 4 for a ResNet at 128 pixels, 8 x 8 for a ViT. Raises KeyError for an
    unknown label, ModelError for a network of which no layer with places is known.
    """
    from captum.attr import LayerGradientXActivation  # seconds that only a heatmap costs

    network, layers = classifier.network, classifier.layers
    output = network.config.label2id[label]
    pixels = torch.from_numpy(classifier.preprocess(image))[None].to(network.device)
    method = LayerGradientXActivation(lambda batch: network(pixel_values=batch).logits, layers.last_with_places())
    with EXPLAINING:
        found = method.attribute(pixels, target=output)[0]
    saliency = layers.grid(found.detach().cpu())
    grid = saliency.sum(0).clamp(min=0).numpy()
    return grid / max(grid.max(), 1e-12)


def overlay(image: Image.Image, grid: np.ndarray) -> Image.Image:
    """The picture with the heatmap over it: what speaks for the class keeps its colours, the rest is dimmed."""
    mask = Image.fromarray(np.uint8(grid * 255)).resize(image.size, Image.Resampling.BICUBIC)
    dimmed = Image.blend(image.convert("L").convert("RGB"), Image.new("RGB", image.size, "black"), 0.55)
    return Image.composite(image, dimmed, mask)
