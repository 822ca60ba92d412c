"""Pictures that show the same cells: copies under two names, and crops of one field of view that overlap.

PBC cuts one picture per cell out of a scanner's field. Two cells that lie close together appear in each other's pictures,
so a split by picture would show a network parts of its test set. Here such pictures form one group.

Two steps. The amplitude spectrum of a small grey picture does not change when the picture is shifted, so its nearest
neighbours are the candidates. The normalised cross-correlation of a pair over all shifts up to MAX_SHIFT then decides:
on PBC it is above 0.93 for 74 pairs, 13 of them copies, and below 0.88 for every other candidate.
"""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

SIZE = 64  # pixels; the side at which pictures are compared
MAX_SHIFT = 20  # pixels of SIZE, so about a third of the side
NEIGHBOURS = 10
SAME_FIELD = 0.9
BATCH = 256


def groups(pixels: Tensor) -> np.ndarray:
    """Return an integer (n,) for each picture of uint8 (n, 3, s, s): equal for pictures that show the same cells."""
    return groups_of(*overlaps(pixels), len(pixels))


def groups_of(pairs: Tensor, correlation: Tensor, n: int) -> np.ndarray:
    """The same from what overlaps() found among n pictures."""
    same = pairs[correlation > SAME_FIELD].cpu().numpy()
    graph = coo_array((np.ones(len(same)), (same[:, 0], same[:, 1])), shape=(n, n))
    return connected_components(graph, directed=False)[1]


def overlaps(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Candidate pairs (m, 2), the smaller index first, and their best correlation over all shifts (m,)."""
    grey = torch.cat([_grey(batch) for batch in pixels.split(BATCH)])
    pairs = _candidates(grey)
    spectra, norms = zip(*(_prepare(batch) for batch in grey.split(BATCH)), strict=True)
    spectra, norms = torch.cat(spectra), torch.cat(norms)
    return pairs, torch.cat([_correlate(spectra, norms, batch) for batch in pairs.split(BATCH)])


def _grey(batch: Tensor) -> Tensor:
    """(n, SIZE, SIZE) with mean 0."""
    grey = F.interpolate(batch.float().mean(1, keepdim=True), size=(SIZE, SIZE), mode="area")[:, 0]
    return grey - grey.mean((1, 2), keepdim=True)


def _candidates(grey: Tensor) -> Tensor:
    """The NEIGHBOURS nearest of each picture by amplitude spectrum at half the size, as unique pairs."""
    half = F.avg_pool2d(grey, 2)
    features = torch.log1p(torch.fft.rfft2(half).abs()).flatten(1)
    features = F.normalize(features - features.mean(0), dim=1)
    pairs = []
    for start in range(0, len(features), BATCH):
        similarity = features[start : start + BATCH] @ features.T
        rows = torch.arange(start, start + len(similarity), device=grey.device)
        similarity[rows - start, rows] = -2  # not its own neighbour
        nearest = similarity.topk(min(NEIGHBOURS, len(features) - 1)).indices
        pairs.append(torch.stack([rows[:, None].expand_as(nearest), nearest], -1).flatten(0, 1))
    return torch.cat(pairs).sort(1).values.unique(dim=0)


# Pictures are padded so that a shift up to MAX_SHIFT does not wrap around.
_PADDED = (SIZE + MAX_SHIFT + 15) // 16 * 16
_SHIFTS = torch.arange(-MAX_SHIFT, MAX_SHIFT + 1) % _PADDED


def _over_shifts(product: Tensor) -> Tensor:
    """Cross-correlation (n, 2 MAX_SHIFT + 1, 2 MAX_SHIFT + 1) from a product of padded spectra."""
    values = torch.fft.irfft2(product, s=(_PADDED, _PADDED))
    shifts = _SHIFTS.to(values.device)
    return values[:, shifts[:, None], shifts]


def _prepare(grey: Tensor) -> tuple[Tensor, Tensor]:
    """What a picture brings to every pair: its padded spectrum, and sum and energy of its overlap at each shift."""
    spectrum, energy, ones = (
        torch.fft.rfft2(values, s=(_PADDED, _PADDED)) for values in (grey, grey**2, torch.ones_like(grey))
    )
    return spectrum, torch.stack([_over_shifts(values * ones.conj()) for values in (spectrum, energy)], 1)


def _correlate(spectra: Tensor, norms: Tensor, pairs: Tensor) -> Tensor:
    """The best correlation coefficient of each pair, taken over the pixels that overlap at a shift."""
    first, second = pairs.T
    product = _over_shifts(spectra[first] * spectra[second].conj())
    (sum_1, energy_1), (sum_2, energy_2) = norms[first].unbind(1), norms[second].flip(2, 3).unbind(1)
    side = SIZE - torch.arange(-MAX_SHIFT, MAX_SHIFT + 1, device=product.device).abs()
    pixels = side[:, None] * side
    covariance = product - sum_1 * sum_2 / pixels
    variances = (energy_1 - sum_1**2 / pixels).clamp(min=1) * (energy_2 - sum_2**2 / pixels).clamp(min=1)
    return (covariance / variances.sqrt()).flatten(1).amax(1)
