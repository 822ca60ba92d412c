"""The cores that this process may use, and the threads that read and classify pictures on them."""

import os
import threading
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


def pool() -> ThreadPoolExecutor:
    """The threads of this process, made when they are first asked for.

    All classifiers share them: more requests at once do not make more threads, so none slows the others by more than its share.
    """
    global _pool
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(count(), thread_name_prefix="cells")
        return _pool


def _start_anew() -> None:
    """In a process that os.fork() has made: the threads of the pool, and whoever held the lock, stayed behind."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


_start_anew()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
