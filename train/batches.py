"""The batches of a training: pictures of one or several sources, a share of every batch each.

What a batch holds and how it is augmented depends on the seed and the step alone, so a resumed run sees what an unbroken one
sees, and several processes that share a batch need not talk about it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import MixUp

from train.domain_randomisation import randomise
from train.recipe import DOMAIN_RANDOMISATION, Recipe
from train.transforms import MEAN, STD, augment, draw, normalise, to_device

RESIZE_BATCH = 256
SEEDS = 1_000_003  # between the seeds of two runs; more than a run has steps


@dataclass(frozen=True)
class Pictures:
    """Pictures decoded once, on the device: uint8 (n, 3, s, s) and their labels (n,)."""

    images: Tensor
    labels: Tensor

    def resized(self, size: int) -> "Pictures":
        """The same at another side, antialiased."""
        if size == self.images.shape[-1]:
            return self
        batches = (
            F.interpolate(batch.float(), size=(size, size), mode="bilinear", antialias=True).round().clamp(0, 255).byte()
            for batch in self.images.split(RESIZE_BATCH)
        )
        return Pictures(torch.cat(list(batches)), self.labels)


@dataclass(frozen=True)
class Batches:
    """`batches.at(step)` -> (images, targets). Make it with `Batches.of`.

    An epoch is one pass over the first source; the others are passed over at their own pace.
    """

    pictures: Pictures  # of all sources, one after another
    lengths: tuple[int, ...]  # how many are of each source
    counts: tuple[int, ...]  # pictures of each source in a batch
    recipe: Recipe
    size: int  # the side in pixels of the pictures in a batch
    statistics: tuple[tuple[float, ...], tuple[float, ...]]  # see network.Adapter
    process: int
    processes: int
    _passes: dict[int, tuple[int, Tensor]] = field(default_factory=dict, compare=False)  # source -> its pass under way

    @classmethod
    def of(
        cls,
        sources: Mapping[str, Pictures],
        recipe: Recipe,
        statistics: tuple[tuple[float, ...], tuple[float, ...]] = (MEAN, STD),
        process: int = 0,
        processes: int = 1,
    ) -> "Batches":
        """From the training pictures of each source, by name, in the order of recipe.sources."""
        parts = list(sources.values())
        pictures = parts[0]
        if len(parts) > 1:
            pictures = Pictures(torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts]))
        lengths = tuple(len(part.labels) for part in parts)
        shares = dict(recipe.sources) if len(parts) > 1 else dict.fromkeys(sources, 1.0)
        counts = split_batch(recipe.batch_size, [shares[name] for name in sources])
        return cls(pictures, lengths, counts, recipe, pictures.images.shape[-1], statistics, process, processes)

    @property
    def steps(self) -> int:
        """Of an epoch. The remainder of the shuffled pictures waits for another epoch."""
        return self.lengths[0] // self.counts[0]

    def resized(self, size: int) -> "Batches":
        """The same batches of pictures of another side. Domain randomisation zooms into the pictures as they are."""
        if self.recipe.augmentation == DOMAIN_RANDOMISATION:
            return replace(self, size=size)
        return replace(self, size=size, pictures=self.pictures.resized(size))

    def rows(self, step: int) -> Tensor:
        """(batch_size,) indices into `pictures`, for all processes, on the CPU."""
        found, first = [], 0
        for source, (length, count) in enumerate(zip(self.lengths, self.counts, strict=True)):
            number, place = divmod(step, max(length // count, 1))
            if self._passes.get(source, (None,))[0] != number:
                self._passes[source] = (number, self._order(source, number, first))
            found.append(self._passes[source][1][place])
            first += length
        if len(found) == 1:
            return found[0]
        # Mixed, so that every part of a batch, and every process, has pictures of each source.
        mixed = torch.randperm(self.recipe.batch_size, generator=_generator(self.recipe.seed, step))
        return torch.cat(found)[mixed]

    def _order(self, source: int, number: int, first: int) -> Tensor:
        """(steps, count) indices of one pass over a source, whose pictures begin at `first`."""
        length, count = self.lengths[source], self.counts[source]
        steps = max(length // count, 1)
        generator = _generator(self.recipe.seed, number, source)
        if self.recipe.balance == 1 and length >= count:
            order = torch.randperm(length, generator=generator)[: steps * count]
        else:
            weights = self._weights(self.pictures.labels[first : first + length].cpu())
            order = torch.multinomial(weights, steps * count, replacement=True, generator=generator)
        return order.view(steps, count) + first

    def _weights(self, labels: Tensor) -> Tensor:
        """(n,) by which pictures are drawn: those of a class weigh together as much as their number to the power `balance`."""
        numbers = torch.bincount(labels)[labels].double()
        return numbers ** (self.recipe.balance - 1)

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """This process's part of a batch, augmented and normalised, and its targets: label indices, or shares after MixUp."""
        recipe = self.recipe
        seed = recipe.seed * SEEDS + step
        rows = to_device(self.rows(step)[self.process :: self.processes], self.pictures.labels.device)
        images, targets = self._augmented(self.pictures.images[rows], seed), self.pictures.labels[rows]
        torch.manual_seed(seed)  # one weight of MixUp for the whole batch
        if recipe.mixup:
            images, targets = MixUp(alpha=recipe.mixup, num_classes=len(recipe.labels))(images, targets)
        torch.manual_seed(seed + 500_009 * (1 + self.process))  # stochastic layers: each process its own
        return normalise(images, *self.statistics), targets

    def _augmented(self, pixels: Tensor, seed: int) -> Tensor:
        """This process's pixels as float in 0..1, at `size`."""
        if self.recipe.augmentation == DOMAIN_RANDOMISATION:  # pictures of a batch meet each other: each process its own
            return randomise(pixels, self.size, torch.Generator().manual_seed(seed + 500_009 * self.process))
        draws = draw(self.recipe.batch_size, self.recipe.lighting, torch.Generator().manual_seed(seed))
        return augment(pixels, draws.of(torch.arange(self.process, self.recipe.batch_size, self.processes)))

    def sample(self, most: int | None = None) -> Tensor:
        """Indices of (at most so many) training pictures, mixed as in the batches, on the CPU."""
        if len(self.lengths) == 1 and self.recipe.balance == 1:
            shuffled = torch.randperm(self.lengths[0], generator=torch.Generator().manual_seed(0))
            return shuffled[:most]
        steps = self.steps if most is None else max(min(self.steps, most // self.recipe.batch_size), 1)
        return torch.cat([self.rows(step) for step in range(steps)])


def split_batch(size: int, shares: list[float]) -> tuple[int, ...]:
    """How many of `size` pictures each share gets, at least one: whole numbers by the largest remainder."""
    exact = [size * share / sum(shares) for share in shares]
    counts = [max(int(one), 1) for one in exact]
    while sum(counts) != size:
        sign = 1 if sum(counts) < size else -1
        able = [index for index in range(len(counts)) if sign > 0 or counts[index] > 1]
        counts[max(able, key=lambda index: sign * (exact[index] - counts[index]))] += sign
    return tuple(counts)


def _generator(seed: int, number: int, source: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed * SEEDS + number + (source << 53))
