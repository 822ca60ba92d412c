"""Side by side: what is compared is measured in turns, so that whatever else the machine does meets each of it alike."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, set_start_method
from typing import TypeVar

T = TypeVar("T")


def compare(measures: Mapping[str, Callable[[], float]], repeats: int, unit: str) -> dict[str, list[float]]:
    """Call each measure once a round, print the round, then what `report` says; returns what each gave, by name.

    A measure takes nothing and returns one number in `unit`. The first is ours. Every second round goes backwards, so that
    none always follows the same other.
    """
    values = {name: [] for name in measures}
    for number in range(repeats):
        names = list(measures)
        for name in names if number % 2 == 0 else reversed(names):
            values[name].append(measures[name]())
        print("  ".join(f"{name} {values[name][-1]:.4g} {unit}" for name in names), flush=True)
    print("\n".join(report(values, unit)), flush=True)
    return values


def report(values: Mapping[str, Sequence[float]], unit: str) -> list[str]:
    """A line for what each gave, and a line for the ratio of the first to each other, round by round."""
    ours, *others = values
    return [f"{name}: {spread(values[name], unit)}" for name in values] + [
        f"{ours} / {other}: {spread([a / b for a, b in zip(values[ours], values[other], strict=True)], 'times')}"
        for other in others
    ]


def spread(values: Sequence[float], unit: str) -> str:
    """The median, and from where to where they lie."""
    return f"median {statistics.median(values):.3g} {unit}, from {min(values):.3g} to {max(values):.3g}, {len(values)} repeats"


def alone(function: Callable[..., T], *arguments: object) -> T:
    """What the function returns, called in a process of its own: nothing is warm, and its peak of memory is its own."""
    with ProcessPoolExecutor(1, get_context("spawn"), _forget_spawn) as pool:
        return pool.submit(function, *arguments).result()


def _forget_spawn() -> None:
    """A spawned process would spawn its own workers too, each of which imports everything again."""
    set_start_method(None, force=True)
