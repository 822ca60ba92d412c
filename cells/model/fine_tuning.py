"""The second half of a network, fine-tuned on a few labelled cells: what cells/model/adapt.py trains."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2

from cells.model.halves import Halves
from cells.model.layers import head_of
from cells.model.torch_network import TorchNetwork

VIEWS, ALL_VIEWS = 8, 2_000  # of a cell at most, two at least; of all cells together about
STEPS, MORE_STEPS, MOST_STEPS = 80, 0.2, 240  # of no cell; for each cell; at most
BATCH, RATE, SMOOTHING = 16, 1e-3, 0.1
PART = 64  # pictures that the network takes together

# A cell has no up or down; light and colour differ a little between two pictures of a laboratory.
LOOKS = v2.Compose(
    [
        v2.RandomHorizontalFlip(),
        v2.RandomVerticalFlip(),
        v2.RandomApply([v2.RandomRotation((90, 90))]),
        v2.ColorJitter(brightness=0.15, contrast=0.15, saturation=0.15, hue=0.02),
    ]
)
ZOOM, RATIO = (0.7, 1.0), (0.95, 1.05)  # of the area, of the sides


class FineTuning:
    """A network that is fitted to cells, again and again from where it started. Its randomness is PyTorch's own."""

    def __init__(self, network: TorchNetwork, pictures: Sequence[Image.Image], classes: Sequence[str]) -> None:
        """`classes` are the network's labels and further ones, for which its head gets rows."""
        self.network = network
        _widen(network, len(classes) - len(network.labels))
        network.network.to("cpu", memory_format=torch.channels_last)  # where the pictures lie; channels last, a third faster
        self._pixels = [network.preprocess(picture) for picture in pictures]
        self.halves = Halves(network.layers, _stacked(self._pixels[:2]))
        views = min(VIEWS, max(2, ALL_VIEWS // len(pictures)))
        with torch.inference_mode():
            self._plain = self._states(self._pixels)
            looks = [self._states([self._look(picture) for picture in pictures]) for _ in range(views)]
        self._views = torch.stack([self._plain, *looks], 1)  # (n, 1 + views, ...)
        self._start = copy.deepcopy(network.network.state_dict())
        network.network.requires_grad_(False)
        for parameter in self.halves.parameters():
            parameter.requires_grad_(True)

    def fit(self, answers: np.ndarray, rows: np.ndarray, share: float = 1) -> None:
        """Fit the network, as it was at first, to these rows of the pictures; `answers` (n,) are indices of classes.

        `share` of the usual steps.
        """
        self.network.network.load_state_dict(self._start)
        of_class = [torch.from_numpy(rows[answers[rows] == one]) for one in np.unique(answers[rows])]
        steps = round(share * min(MOST_STEPS, STEPS + MORE_STEPS * len(rows)))
        optimizer = torch.optim.AdamW(self.halves.parameters(), RATE, weight_decay=0)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.2)
        for step in range(steps):
            # Every type counts alike, however many cells of it were labelled.
            chosen = [of_class[(step * BATCH + place) % len(of_class)] for place in range(BATCH)]
            batch = torch.stack([some[torch.randint(len(some), ())] for some in chosen])
            states = self._views[batch, torch.randint(self._views.shape[1], (BATCH,))]
            loss = F.cross_entropy(self.halves.second(states), torch.from_numpy(answers)[batch], label_smoothing=SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()

    @torch.inference_mode()
    def features(self) -> np.ndarray:
        """(n, width) by which the rule of uncertainty says what is familiar, of the network as it is fitted."""
        return np.concatenate([self.network.collect(part)[1] for part in _parts(self._pixels)])

    @torch.inference_mode()
    def logits(self, rows: np.ndarray) -> np.ndarray:
        """(rows, classes) of the pictures as they are."""
        parts = torch.from_numpy(rows).split(PART)
        return torch.cat([self.halves.second(self._plain[part]) for part in parts]).float().numpy()

    def _look(self, picture: Image.Image) -> np.ndarray:
        crop = v2.RandomResizedCrop(picture.size[::-1], ZOOM, RATIO, antialias=True)
        return self.network.preprocess(LOOKS(crop(picture)))

    def _states(self, pixels: Sequence[np.ndarray]) -> Tensor:
        return torch.cat([self.halves.first(_stacked(part)) for part in _parts(pixels)]).clone()


def _parts(pixels: Sequence[np.ndarray]) -> list[Sequence[np.ndarray]]:
    return [pixels[start : start + PART] for start in range(0, len(pixels), PART)]


def _stacked(pixels: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(pixels))


def _widen(network: TorchNetwork, more: int) -> None:
    """Rows of the head for `more` classes: of the mean of the others, so that none is likelier from the start."""
    head = head_of(network.network)
    with torch.no_grad():
        for name, values in list(head.named_parameters()):
            mean = values.mean(0, keepdim=True).expand(more, *values.shape[1:])
            setattr(head, name, nn.Parameter(torch.cat([values, mean])))
    head.out_features += more
