"""Training augmentation for laboratories that were never seen: another microscope, stain, light and camera for every picture.

What differs between laboratories is drawn anew for every picture, and more widely than it differs (Tobin et al. 2017): a new
laboratory looks like one more draw. Drawn are the scale and the framing, the stain (in haematoxylin-eosin-DAB space, Ruifrok &
Johnston 2001), the camera's colours, uneven light, stray light, focus, sharpening, noise and JPEG. A share of each batch, MILD,
is drawn at a fifth of the strength, so that pictures as they are stay well known.

Every function takes and returns float (n, 3, s, s) in 0..1 on one device. What chance decides is drawn on the CPU, so that it
is the same on every device.
"""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

MILD = 1 / 3  # of a batch
MILD_STRENGTH = 0.2
REFERENCE_SIDE = 128  # pixels; at it the widths below, of blur, are given

# Rows: how haematoxylin, eosin and DAB absorb red, green and blue (Ruifrok & Johnston 2001).
STAINS = F.normalize(torch.tensor([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]]))


class Draw:
    """Random tensors for a batch of n; `strength` (n,) is 1 for strong pictures and less for mild ones."""

    def __init__(self, n: int, generator: Generator, device: torch.device) -> None:
        mild = torch.rand(n, generator=generator).argsort() < round(MILD * n)
        self.n, self.generator, self.device = n, generator, device
        self._strength = torch.where(mild, MILD_STRENGTH, 1.0)
        self.strong = ~mild.to(device)

    def spread(self, *shape: int) -> Tensor:
        """Uniform in -strength..strength, of shape (n, *shape)."""
        drawn = torch.rand(self.n, *shape, generator=self.generator) * 2 - 1
        return (drawn * self._strength.view(-1, *[1] * len(shape))).to(self.device)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Uniform in low..high whatever the strength, of shape (n, *shape)."""
        return (low + (high - low) * torch.rand(self.n, *shape, generator=self.generator)).to(self.device)

    def chosen(self, share: float) -> Tensor:
        """The indices of a random share of the strong pictures, and of share * strength of the mild ones."""
        return (torch.rand(self.n, generator=self.generator) < share * self._strength).nonzero().flatten().to(self.device)

    def partners(self) -> Tensor:
        """A permutation of the batch: another picture for each."""
        return torch.randperm(self.n, generator=self.generator).to(self.device)


def randomise(pixels: Tensor, size: int, generator: Generator) -> Tensor:
    """uint8 (n, 3, s, s) -> float (n, 3, size, size) in 0..1. generator: of the CPU."""
    draw = Draw(len(pixels), generator, pixels.device)
    images = geometry(pixels, size, draw)
    for change in (style, stain, colour, light, haze, blur, sharpen, noise, jpeg):
        images = change(images, draw)
    return images


def geometry(pixels: Tensor, size: int, draw: Draw) -> Tensor:
    """Any turn, a flip, zoom, aspect and shift in one interpolation with reflected edges.

    Strong pictures show 0.4 to 1.25 of the picture's width, mild ones 0.85 to 1.05.
    """
    view = torch.where(draw.strong, draw.uniform(math.log(0.4), math.log(1.25)).exp(), draw.uniform(0.85, 1.05))
    angle = draw.uniform(0, 2 * math.pi)
    flip = torch.sign(draw.uniform(-1, 1))
    stretch = (0.15 * draw.spread()).exp().sqrt()
    shift = 0.24 * draw.spread(2) * view[:, None].clamp(max=1)  # coordinates are -1..1: 12 % of the width
    cos, sin = angle.cos() * view, angle.sin() * view
    rows = [torch.stack([cos * flip * stretch, -sin / stretch, shift[:, 0]], 1)]
    rows += [torch.stack([sin * flip * stretch, cos / stretch, shift[:, 1]], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), [draw.n, 3, size, size], align_corners=False)
    images = pixels.float().div_(255)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False).clamp_(0, 1)


def style(images: Tensor, draw: Draw) -> Tensor:
    """In 40 %: mean and spread of each channel's optical density move towards those of another picture of the batch.

    Reinhard's transfer between laboratories, as StyleMix (Zhou et al. 2021) does it with features.
    """
    some = draw.chosen(0.4)
    density = _density(images)
    std, mean = torch.std_mean(density, (2, 3), keepdim=True)
    other, share = draw.partners()[some], draw.uniform(0.2, 1.0, 1, 1, 1)[some]
    wanted_std, wanted_mean = torch.lerp(std[some], std[other], share), torch.lerp(mean[some], mean[other], share)
    moved = (density[some] - mean[some]) / (std[some] + 1e-4) * wanted_std + wanted_mean
    images[some] = (-moved).exp_().clamp_(0, 1)
    return images


def stain(images: Tensor, draw: Draw) -> Tensor:
    """Each stain times exp(+-0.45), plus +-0.06."""
    stains = STAINS.to(images.device)
    amounts = torch.einsum("ncyx,cs->nsyx", _density(images), torch.linalg.inv(stains))
    amounts = amounts * (0.45 * draw.spread(3, 1, 1)).exp() + 0.06 * draw.spread(3, 1, 1)
    return (-torch.einsum("nsyx,sc->ncyx", amounts, stains)).exp_().clamp_(0, 1)


def colour(images: Tensor, draw: Draw) -> Tensor:
    """In 80 %: a 3 x 3 mix (+-0.15), a gain a channel exp(+-0.3), a gamma exp(+-0.5). In 25 %: white balance."""
    mix = 0.15 * draw.spread(3, 3)
    mix = mix - torch.diag_embed(mix.sum(2))  # grey stays grey: the gains move it
    mix = (torch.eye(3, device=images.device) + mix) * (0.3 * draw.spread(3, 1)).exp()
    gamma = (0.5 * draw.spread(1, 1, 1)).exp()
    some = (draw.uniform(0, 1) < 0.8).nonzero().flatten()  # mild pictures too: their changes are small
    changed = torch.einsum("ndc,ncyx->ndyx", mix[some], images[some]).clamp_(1 / 255, 1)
    images[some] = changed.log_().mul_(gamma[some]).exp_()
    white = draw.chosen(0.25)
    if len(white):  # there is no quantile of nothing
        background = images[white].flatten(2).quantile(0.95, dim=2)[:, :, None, None].clamp(min=0.2)
        images[white] = images[white] / background
    return images.clamp_(0, 1)


def light(images: Tensor, draw: Draw) -> Tensor:
    """In 30 %: uneven light, a plane of +-0.2 across the picture."""
    some = draw.chosen(0.3)
    images[some] = images[some] * _planes(0.2 * draw.spread(1, 2)[some], images)
    return images.clamp_(0, 1)


def haze(images: Tensor, draw: Draw) -> Tensor:
    """In 40 %: a veil of up to 0.65 of some colour that varies across the picture, as of stray light in a simple camera."""
    some = draw.chosen(0.4)
    veil, share = draw.uniform(0.2, 0.8, 3, 1, 1)[some], draw.uniform(0.1, 0.65, 1, 1, 1)[some]
    images[some] = torch.lerp(images[some], veil, share) * _planes(0.1 * draw.spread(3, 2)[some], images)
    return images.clamp_(0, 1)


def blur(images: Tensor, draw: Draw) -> Tensor:
    """In 40 %: a Gaussian of 0.3 to 1.6 px at REFERENCE_SIDE."""
    some = draw.chosen(0.4)
    images[some] = _gaussian(images[some], draw.uniform(0.3, 1.6)[some] * images.shape[-1] / REFERENCE_SIDE)
    return images


def sharpen(images: Tensor, draw: Draw) -> Tensor:
    """In 25 %: over-sharpened, with dark and bright rings around edges."""
    some = draw.chosen(0.25)
    sigma, amount = draw.uniform(0.8, 2.0)[some], draw.uniform(0.5, 2.5, 1, 1, 1)[some]
    soft = _gaussian(images[some], sigma * images.shape[-1] / REFERENCE_SIDE)
    images[some] = torch.lerp(soft, images[some], 1 + amount)
    return images.clamp_(0, 1)


def noise(images: Tensor, draw: Draw) -> Tensor:
    """Gaussian noise of up to 0.03."""
    level = 0.03 * draw.spread(1, 1, 1).abs()
    return (images + level * torch.randn(images.shape, generator=draw.generator).to(images.device)).clamp_(0, 1)


LUMINANCE = torch.tensor([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])
FREQUENCIES = torch.arange(8)
COSINES = ((2 * FREQUENCIES[None] + 1) * FREQUENCIES[:, None] * math.pi / 16).cos() / 2
COSINES[0] /= math.sqrt(2)
# About JPEG's tables at quality 50: steps that grow with the frequency, twice as coarse for the colours.
STEPS = 10 + 6.5 * (FREQUENCIES[:, None] + FREQUENCIES)
STEPS = torch.stack([STEPS, STEPS * 1.8, STEPS * 1.8]) / 255


def jpeg(images: Tensor, draw: Draw) -> Tensor:
    """In 30 %: JPEG's loss (8 x 8 cosines rounded to steps) at a quality of about 25 to 85, without its subsampling."""
    some = draw.chosen(0.3)
    coarse = draw.uniform(math.log(0.3), math.log(2.0), 1, 1, 1, 1, 1).exp()[some]
    luminance, cosines, steps = (table.to(images.device) for table in (LUMINANCE, COSINES, STEPS))
    blocks = torch.einsum("dc,ncyx->ndyx", luminance, images[some]).unfold(2, 8, 8).unfold(3, 8, 8)
    steps = steps[None, :, None, None] * coarse
    waves = ((cosines @ blocks @ cosines.T) / steps).round_().mul_(steps)
    blocks = cosines.T @ waves @ cosines
    flat = blocks.permute(0, 1, 2, 4, 3, 5).reshape(len(some), 3, *images.shape[2:])
    images[some] = torch.einsum("cd,ndyx->ncyx", torch.linalg.inv(luminance), flat).clamp_(0, 1)
    return images


def _density(images: Tensor) -> Tensor:
    """What was absorbed, from 0 (white) upwards."""
    return -images.clamp(min=1 / 255).log()


def _planes(slopes: Tensor, images: Tensor) -> Tensor:
    """(n, c, s, s): 1 in the middle, changing by the slopes (n, c, 2) towards the lower and the right edge."""
    axis = torch.linspace(-1, 1, images.shape[-1], device=images.device)
    return 1 + slopes[:, :, 0, None, None] * axis[:, None] + slopes[:, :, 1, None, None] * axis


def _gaussian(images: Tensor, sigma: Tensor) -> Tensor:
    """Each picture blurred by its own sigma (n,) in pixels."""
    if not len(images):  # a convolution has one group or more
        return images
    offsets = torch.arange(-4, 5, device=images.device)
    kernel = (-((offsets / sigma[:, None]) ** 2) / 2).exp()
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(3, 0)
    flat = F.pad(images.flatten(0, 1)[None], (4, 4, 4, 4), mode="reflect")
    flat = F.conv2d(flat, kernel[:, None, None, :], groups=len(kernel))
    flat = F.conv2d(flat, kernel[:, None, :, None], groups=len(kernel))
    return flat[0].unflatten(0, (-1, 3))
