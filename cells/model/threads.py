"""The cores that this process may use, and the threads that read and classify pictures on them."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds of a period of microseconds, or "max"


def count() -> int:
    """What the scheduler, a container's quota and OMP_NUM_THREADS leave to this process; 1 or more."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limits = [usable, *_quota(), *_asked()]
    return max(1, min(limits))


def _quota() -> list[int]:
    try:
        share, period = QUOTA.read_text().split()
        return [round(int(share) / int(period))]
    except (OSError, ValueError):  # no container, or one without a quota
        return []


def _asked() -> list[int]:
    text = os.environ.get("OMP_NUM_THREADS", "")
    return [int(text)] if text.isdecimal() else []


# One for all: more requests at once do not make more threads, so none of them slows the others by more than its share.
POOL = ThreadPoolExecutor(count(), thread_name_prefix="cells")
