"""Whether there is a GPU, asked in a way that costs no import of PyTorch where there is none."""

import os
from functools import cache
from pathlib import Path

# What NVIDIA's driver (on Linux, in WSL, on Windows) and AMD's leave on a machine.
DRIVERS = (
    *(Path(place) for place in ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd")),
    Path(os.environ.get("SYSTEMROOT", "/"), "System32", "nvcuda.dll"),
)


@cache
def has_gpu() -> bool:
    """Whether PyTorch computes on a GPU here. Asked once; PyTorch, which takes seconds to import, only where a driver is."""
    if not any(driver.exists() for driver in DRIVERS):
        return False
    import torch

    return torch.cuda.is_available()
