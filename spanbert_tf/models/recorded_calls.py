"""What layers are given, and give, while a network runs, in whatever graph."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any


@contextmanager
def recorded_calls(layers: Sequence[Any], wanted: Callable[[Any, Any], Any]) -> Iterator[list[Any]]:
    """Lists what layers were given or gave when a network last called them, one after the other.

    Heads reach their encoder's layers in ways of their own, but all of them call the layers.

    Args:
        layers: Layers in the order in which they are called.
        wanted: What to list, of a layer's first input and its output.
    """
    found: list[Any] = []

    def recording(layer: Any, call: Callable[..., Any]) -> Callable[..., Any]:
        def recorded(inputs: Any, *args: Any, **kwargs: Any) -> Any:
            if layer is layers[0]:
                found.clear()
            outputs = call(inputs, *args, **kwargs)
            found.append(wanted(inputs, outputs))
            return outputs

        return recorded

    for layer in layers:
        layer.__dict__["call"] = recording(layer, layer.call)
    try:
        yield found
    finally:
        for layer in layers:
            del layer.__dict__["call"]
