"""Save and resume. A checkpoint is one safetensors file: named tensors, and JSON in its header. Never a pickle.

Writing is atomic: a file appears under its name only when it is complete, so a run killed at any moment finds the last
whole one. The one before it is kept, for the case that the disk spoils the last.
"""

import contextlib
import json
import os
import zlib
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

LAST, BEST = "last.safetensors", "best.safetensors"
PREVIOUS = "previous.safetensors"  # what LAST was before


class CheckpointError(Exception):
    """A checkpoint that cannot be written or read. Its text is one line for the user."""


def write(path: Path, tensors: dict[str, Tensor], facts: dict) -> None:
    """Write tensors and JSON-able facts, replacing what is there. Raises CheckpointError, and leaves what was there."""
    partial = path.with_suffix(".partial")
    tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    header = {"facts": json.dumps(facts), "crc32": str(_checksum(tensors))}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, partial, header)
        if path.name == LAST and path.exists():
            os.replace(path, path.with_name(PREVIOUS))
        os.replace(partial, path)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise CheckpointError(f"{path} cannot be written: {error}; the checkpoint before it is whole.") from error


def write_text(path: Path, text: str) -> None:
    """Write a small file, whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    os.replace(partial, path)


def read(path: Path) -> tuple[dict[str, Tensor], dict]:
    """(tensors on the CPU, facts) of a file that write() wrote. Raises CheckpointError."""
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata()
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (it does not iterate)
        if str(_checksum(tensors)) != header["crc32"]:
            raise CheckpointError(f"{path} is broken: its content does not match its checksum.")
        return tensors, json.loads(header["facts"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is broken: {error}.") from error


def read_last(folder: Path) -> tuple[dict[str, Tensor], dict] | None:
    """The newest whole checkpoint of a run, with a word about a broken one; None for a new run. Raises CheckpointError."""
    files = [file for name in (LAST, PREVIOUS) if (file := folder / name).exists()]
    for file in files:
        try:
            return read(file)
        except CheckpointError as error:
            if file is files[-1]:
                raise CheckpointError(f"{error} No other checkpoint is left; remove {folder} to begin again.") from None
            print(f"{error} The one before it is used.", flush=True)
            with contextlib.suppress(FileNotFoundError):  # another process did it
                file.replace(file.with_suffix(".broken"))  # it must not push out the good one at the next save
    return None


def read_best(folder: Path) -> tuple[dict[str, Tensor], dict]:
    """The kept weights of a complete run and {"epoch": ...}; if they are broken, the last epoch's, with a word about it.

    Raises CheckpointError.
    """
    try:
        return read(folder / BEST)
    except CheckpointError as error:
        print(f"{error} The last epoch's weights are used.", flush=True)
        tensors, facts = read_last(folder)
        averaged = any(key.startswith("average.") for key in tensors)
        prefix = "average.module." if averaged else "network."
        weights = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        return weights, {"epoch": len(facts["history"])}


def _checksum(tensors: dict[str, Tensor]) -> int:
    """Of every byte, in the order of the names: safetensors itself notices only a wrong length."""
    value = 0
    for key in sorted(tensors):
        value = zlib.crc32(tensors[key].reshape(-1).view(torch.uint8).numpy(), value)
    return value


def pack(modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Everything that a step changes, under flat names."""
    tensors = {f"{name}.{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in state.items() if isinstance(value, Tensor)}
    # Copies, since safetensors refuses shared memory; off the device, where there may be no room for them.
    return {key: value.detach().to("cpu", copy=True) for key, value in tensors.items()}


def unpack(tensors: dict[str, Tensor], modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer) -> None:
    """The reverse of pack, into the same modules and optimizer."""
    for name, module in modules.items():
        prefix = f"{name}."
        module.load_state_dict({key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)})
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if value.shape == parameter.shape:  # fused AdamW takes the two to lie in memory alike, and does not check
                values[name] = torch.empty_like(parameter).copy_(value)
