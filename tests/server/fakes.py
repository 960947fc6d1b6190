"""A task that needs no network."""

from typing import Any, ClassVar

import numpy as np

from spanbert_tf.models.decoding import Decoder
from spanbert_tf.settings import Asking


class Echo:
    """Answers a text with its own name and the text; it does not take the text "bad"."""

    class decoder:
        """Its answers have no lists."""

        lists: ClassVar = {}

    class task_class:
        """It takes one text."""

        signatures: ClassVar = {"serving_default": ("text",)}
        asked = ("text",)
        asking_cls = Asking
        decoder_cls = Decoder
        blank = None

    def __init__(self, name: str) -> None:
        self.name = name

    def answer_tensors(self, columns: Any) -> dict[str, np.ndarray]:
        if "bad" in columns[0]:
            raise ValueError("the text is bad")
        return {"answer": np.array([f"{self.name} {x}".encode() for x in columns[0]], object)}
