"""A network in two: up to the layer at half of its depth, and from there to its answer.

Whoever trains the second half alone computes the states between the two once.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from cells.model.layers import TransformersLayers


class _ReachedError(Exception):
    """The first half is done."""


class Halves:
    """The halves of a network. One that is more than a chain of layers has no first half: its states are the pictures."""

    def __init__(self, layers: TransformersLayers, pixel_values: Tensor) -> None:
        """`pixel_values` (n, 3, s, s) are some pictures, on which the two halves are checked against the whole."""
        self.network = layers.network
        self._first: list[nn.Module] = []  # those that second() passes by; the last gives the states
        with torch.inference_mode():
            expected, states = layers.answer(pixel_values)
            found = states[len(states) // 2]  # up to where pooled() in cells/model/torch_network.py looks
            self._first = _modules_until(self.network, found, pixel_values)
            try:
                fits = torch.allclose(self.second(self.first(pixel_values)), expected, atol=1e-4)
            except (RuntimeError, ValueError, TypeError, IndexError):  # what a layer says of a state that is not for it
                fits = False
        if not fits:
            self._first = []

    def first(self, pixel_values: Tensor) -> Tensor:
        """(n, ...) states of pictures (n, 3, s, s)."""
        if not self._first:
            return pixel_values
        reached = []

        def stop(module: nn.Module, inputs: object, output: Tensor) -> None:
            reached.append(output)
            raise _ReachedError

        hook = self._first[-1].register_forward_hook(stop)
        with contextlib.suppress(_ReachedError):
            self.network(pixel_values=pixel_values)
        hook.remove()
        return reached[0]

    def second(self, states: Tensor) -> Tensor:
        """(n, classes) logits of states."""
        with _passed_by(self._first):
            return self.network(pixel_values=states).logits

    def parameters(self) -> list[nn.Parameter]:
        """Those of the second half."""
        first = {parameter for module in self._first for parameter in module.parameters()}
        return [parameter for parameter in self.network.parameters() if parameter not in first]


def _modules_until(network: nn.Module, state: Tensor, pixel_values: Tensor) -> list[nn.Module]:
    """The outermost modules that compute a state, in order; none where no module gives it."""
    finished: list[tuple[str, nn.Module, bool]] = []
    hooks = [
        module.register_forward_hook(
            lambda module, _, output, name=name: finished.append((name, module, _is_same(output, state)))
        )
        for name, module in network.named_modules()
    ]
    network(pixel_values=pixel_values)
    for hook in hooks:
        hook.remove()
    giving = [index for index, (_, _, gives) in enumerate(finished) if gives]
    if not giving:
        return []
    last, module, _ = finished[giving[-1]]
    before = {name: module for name, module, _ in finished[: giving[-1]]}
    return [module for name, module in before.items() if not last.startswith(f"{name}.") and _is_beside(name, last)] + [module]


def _is_beside(name: str, last: str) -> bool:
    """Whether the parent of a module holds the last one."""
    return last.startswith(name.rpartition(".")[0]) and not name.startswith(f"{last}.")


def _is_same(output: object, state: Tensor) -> bool:
    return isinstance(output, Tensor) and output.shape == state.shape and torch.equal(output, state)


@contextlib.contextmanager
def _passed_by(modules: list[nn.Module]) -> Iterator[None]:
    """Within it, these modules give what they are given."""
    for module in modules:
        module.forward = lambda states, *arguments, **named: states
    try:
        yield
    finally:
        for module in modules:
            del module.forward
