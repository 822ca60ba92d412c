"""What a training costs: the time spent on its pictures, and the peak of memory."""

import resource
import sys
import time

import torch


class Stopwatch:
    """Seconds spent within `with` blocks, on a GPU in the work that they queue: `with watch: ...`, then watch.read()."""

    def __init__(self, device: torch.device) -> None:
        self.gpu = device.type == "cuda"
        self.blocks: list[tuple] = []

    def _now(self) -> float | torch.cuda.Event:
        if not self.gpu:
            return time.monotonic()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def __enter__(self) -> None:
        self.start = self._now()

    def __exit__(self, *exception: object) -> None:
        self.blocks.append((self.start, self._now()))

    def read(self) -> float:
        """The sum since the last reading."""
        if self.gpu:
            torch.cuda.synchronize()
        seconds = [start.elapsed_time(end) / 1000 if self.gpu else end - start for start, end in self.blocks]
        self.blocks = []
        return sum(seconds)


def peak_memory(device: torch.device) -> int:
    """Bytes, so far: of a GPU what tensors took at most, otherwise of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
