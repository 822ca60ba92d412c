"""Save and resume. A checkpoint is one safetensors file: named tensors, and JSON in its header. Never a pickle.

Writing is atomic: a file appears under its name only when it is complete, so a run killed at any moment finds the last
whole one.
"""

import json
import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

LAST, BEST = "last.safetensors", "best.safetensors"


def write(path: Path, tensors: dict[str, Tensor], facts: dict) -> None:
    """Write tensors and JSON-able facts, replacing what is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file({key: value.detach().contiguous() for key, value in tensors.items()}, partial, {"facts": json.dumps(facts)})
    os.replace(partial, path)


def read(path: Path) -> tuple[dict[str, Tensor], dict]:
    """(tensors on the CPU, facts) of a file that write() wrote."""
    with safe_open(path, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, json.loads(file.metadata()["facts"])  # noqa: SIM118 (it does not iterate)


def pack(modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Everything that a step changes, under flat names."""
    tensors = {f"{name}.{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in state.items() if value is not None}
    return {key: value.clone() for key, value in tensors.items()}  # safetensors refuses shared memory


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
