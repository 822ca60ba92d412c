"""Training augmentation, in batches, on the device where the pixels are.

Follows the thesis ("Data"): random flips, rotations, zoom, lighting, and a random crop of at least 0.75 of the area. A
blood cell has no up or down, so the rotation is over the full circle. All geometry is one affine map, so a picture is
interpolated once. Evaluation does not come here: it uses the preprocessing that the model folder carries.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

MIN_AREA = 0.75  # of the picture that a crop keeps (thesis)


def augment(pixels: Tensor, generator: torch.Generator, lighting: float) -> Tensor:
    """Return a randomly turned, flipped, cropped and relit copy of a batch.

    pixels: uint8 (n, 3, s, s). generator: a CPU generator, so that the draws are the same on every device.
    lighting: the largest relative change of brightness, contrast and each colour channel. Result: float32 in 0..1,
    same shape.
    """
    images = pixels.float().div_(255)
    theta = _affine(len(pixels), generator).to(pixels.device)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return _relight(images, generator, lighting)


def _affine(n: int, generator: torch.Generator) -> Tensor:
    """(n, 2, 3) maps from output to input coordinates, both in -1..1."""
    angle = torch.rand(n, generator=generator) * 2 * math.pi
    side = torch.empty(n).uniform_(MIN_AREA, 1, generator=generator).sqrt()
    flip = torch.randint(0, 2, (n,), generator=generator) * 2 - 1
    shift = (torch.rand(n, 2, generator=generator) * 2 - 1) * (1 - side)[:, None]  # stays inside the picture
    cos, sin = side * angle.cos(), side * angle.sin()
    rows = [torch.stack([cos * flip, -sin, shift[:, 0]], 1), torch.stack([sin * flip, cos, shift[:, 1]], 1)]
    return torch.stack(rows, 1)


def _relight(images: Tensor, generator: torch.Generator, lighting: float) -> Tensor:
    """Multiply each colour channel by its own factor, then stretch the contrast about the picture's mean."""

    def factors(*shape: int) -> Tensor:
        return (1 + lighting * (torch.rand(shape, generator=generator) * 2 - 1)).to(images.device)

    n = len(images)
    images = images * factors(n, 1, 1, 1) * (1 + (factors(n, 3, 1, 1) - 1) / 4)
    mean = images.mean((1, 2, 3), keepdim=True)
    return ((images - mean) * factors(n, 1, 1, 1) + mean).clamp_(0, 1)
