"""Functions of a network as graphs, kept for as long as they are right."""

import operator
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import tensorflow as tf

_MOST = 16  # Those that were used last are kept: what is drawn by a seed has a graph for each.

_asked_once: ContextVar[bool] = ContextVar("asked_once", default=False)


@contextmanager
def asked_once() -> Iterator[None]:
    """Has tasks answer a few texts without a graph.

    To trace one takes seconds, which a process that asks but once does not win back.
    """
    token = _asked_once.set(True)
    try:
        yield
    finally:
        _asked_once.reset(token)


def is_asked_once() -> bool:
    """Whether this is within `asked_once`."""
    return _asked_once.get()


class Graphs:
    """Functions as graphs for any shapes, each by a key that has all it takes for constant.

    Each is traced anew once its network has other variables: LoRA and quantization change them, and
    what a graph has seen it keeps.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[Sequence[Any], Any]] = {}

    def call(
        self, key: Hashable, function: Callable[..., Any], variables: Sequence[Any], *arguments: Any
    ) -> Any:
        """Calls a function as a graph.

        Args:
            key: What it is kept by.
            function: It, from tensors to tensors.
            variables: Those that it reads.
            *arguments: Tensors, or dictionaries of them.
        """
        known, graph = self._known.pop(key, ((), None))
        is_new = graph is None or len(known) != len(variables)
        if is_new or any(map(operator.is_not, known, variables)):
            specs = tf.nest.map_structure(
                lambda tensor: tf.TensorSpec([None] * tensor.shape.rank, tensor.dtype), arguments
            )
            graph = tf.function(function, input_signature=specs, autograph=False)
            known = variables
        self._known[key] = (known, graph)  # The last one now.
        if len(self._known) > _MOST:
            del self._known[next(iter(self._known))]
        return graph(*arguments)
