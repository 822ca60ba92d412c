"""Training augmentation, in batches, on the device where the pixels are.

Follows the thesis ("Data"): random flips, rotations, zoom, lighting, and a random crop of at least 0.75 of the area. A
blood cell has no up or down, so the rotation is over the full circle. All geometry is one affine map, so a picture is
interpolated once. Evaluation does not come here: it uses the preprocessing that the model folder carries.
"""

import math
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

MIN_AREA = 0.75  # of the picture that a crop keeps (thesis)
# ImageNet's, as in the thesis.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Draws:
    """What chance decided for each of n pictures."""

    affine: Tensor  # (n, 2, 3): maps from output to input coordinates, both in -1..1
    brightness: Tensor  # (n, 3, 1, 1): the factor of each colour channel
    contrast: Tensor  # (n, 1, 1, 1)

    def of(self, rows: Tensor) -> "Draws":
        """Those of some of the pictures: what one process has of a batch that several share."""
        return Draws(self.affine[rows], self.brightness[rows], self.contrast[rows])

    def to(self, device: torch.device) -> "Draws":
        """The same on a device."""
        return Draws(*(to_device(value, device) for value in vars(self).values()))


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """The same on a device. A GPU gets it from pinned memory, so that the host does not wait for the copy."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values


def draw(n: int, lighting: float, generator: torch.Generator) -> Draws:
    """Decide for n pictures. generator: a CPU generator, so that the draws are the same on every device.

    lighting: the largest relative change of brightness and of contrast; a colour channel's is a quarter of it.
    """

    def factors(*shape: int) -> Tensor:
        return 1 + lighting * (torch.rand(shape, generator=generator) * 2 - 1)

    affine = _draw_affine(n, generator)
    brightness = factors(n, 1, 1, 1) * (1 + (factors(n, 3, 1, 1) - 1) / 4)
    return Draws(affine, brightness, factors(n, 1, 1, 1))


def augment(pixels: Tensor, draws: Draws) -> Tensor:
    """Turn, flip, crop and relight a batch: uint8 (n, 3, s, s) -> float32 in 0..1, same shape."""
    draws = draws.to(pixels.device)
    images = pixels.float().div_(255)
    grid = F.affine_grid(draws.affine, list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    images = images * draws.brightness
    mean = images.mean((1, 2, 3), keepdim=True)
    return ((images - mean) * draws.contrast + mean).clamp_(0, 1)


def normalise(images: Tensor, mean: tuple[float, ...] = MEAN, std: tuple[float, ...] = STD) -> Tensor:
    """Float (n, 3, s, s) in 0..1 -> what a network takes, by the statistics of its adapter."""
    mean, std = (_constant(values, images.device) for values in (mean, std))
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)


@cache  # a copy to a GPU at every step would make the host wait
def _constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device)[:, None, None]


def _draw_affine(n: int, generator: torch.Generator) -> Tensor:
    angle = torch.rand(n, generator=generator) * 2 * math.pi
    side = torch.empty(n).uniform_(MIN_AREA, 1, generator=generator).sqrt()
    flip = torch.randint(0, 2, (n,), generator=generator) * 2 - 1
    shift = (torch.rand(n, 2, generator=generator) * 2 - 1) * (1 - side)[:, None]  # stays inside the picture
    cos, sin = side * angle.cos(), side * angle.sin()
    rows = [torch.stack([cos * flip, -sin, shift[:, 0]], 1), torch.stack([sin * flip, cos, shift[:, 1]], 1)]
    return torch.stack(rows, 1)
