"""Classes by their names or by a few examples, without training.

Letters: n texts, c classes, d width.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spanbert_tf.data.batching.texts import as_str, list_of_strings
from spanbert_tf.search.unit_vectors import AnyEmbedder, as_embedder, encode, normalize
from spanbert_tf.tasks.decoders.classes import Prediction

# Cosines are multiplied by it before they become probabilities: that by which encoders of texts
# are usually trained to tell one text from others (1 / 0.05).
_SHARPNESS = 20.0


class VectorClassifier:
    """A text has the class whose vector is nearest to its own.

        classifier = spanbert_tf.VectorClassifier(embedder, ["sport", "music", "politics"])
        classifier.classify("The choir sang for an hour.").label  # "music"

    The vector of a class is the mean of its examples' (nearest class mean; for few examples Snell
    et al., 2017), all of length 1.

    Args:
        embedder: As for `TextIndex`.
        classes: The classes by name, each with its examples, a string or a list of them; or names
            alone, which then are the examples.  What says more than a name, such as "a text about
            sport", does better.

    Raises:
        TypeError: An example is not a string, or `embedder` is none.
        ValueError: There are fewer than two classes, a class twice or one without examples, or the
            embedder gives NaN.
    """

    def __init__(
        self, embedder: AnyEmbedder, classes: Mapping[str, str | Sequence[str]] | Sequence[str]
    ) -> None:
        if isinstance(classes, str):
            raise TypeError(f"`classes` must be a list or a dictionary, but is {classes!r}.")
        pairs = classes.items() if isinstance(classes, Mapping) else [(x, x) for x in classes]
        named = [
            (name, [of] if isinstance(of, str) else list_of_strings(of, f"classes[{name!r}]"))
            for name, of in pairs
        ]
        self.class_names = tuple(name for name, _ in named)
        if len(named) < 2 or len(set(self.class_names)) < len(named):
            raise ValueError(
                f"expected at least two classes, each once, got {list(self.class_names)}."
            )
        for name, examples in named:
            if not examples:
                raise ValueError(f"the class {name!r} has no examples.")
        self.embedder = as_embedder(embedder)
        vectors = encode(self.embedder, [as_str(each) for _, of in named for each in of])
        starts = np.cumsum([0, *(len(of) for _, of in named[:-1])])
        # The direction of the sum is that of the mean.
        self._vectors = normalize(np.add.reduceat(vectors, starts, axis=0), "class")

    def classify(self, texts: str | Sequence[str]) -> Any:
        """Classifies texts.

        Args:
            texts: A string, or a list of them.

        Returns:
            A `Prediction`, or a list of them.  Probabilities are softmax of 20 times the cosines:
            they tell which class is nearer, and are not calibrated.

        Raises:
            TypeError: A text is not a string.
            ValueError: The embedder gives NaN or vectors of another width than of the examples.
        """
        is_one = isinstance(texts, str | bytes)
        listed: list[Any] = [texts] if is_one else list_of_strings(texts)
        if not listed:
            return []
        vectors = encode(self.embedder, [as_str(text) for text in listed])
        logits = _SHARPNESS * vectors @ self._vectors.T
        exps = np.exp(logits - logits.max(axis=1, keepdims=True))
        answers = [
            Prediction(
                self.class_names[int(np.argmax(row))],
                float(row.max()),
                dict(zip(self.class_names, row.tolist(), strict=True)),
            )
            for row in exps / exps.sum(axis=1, keepdims=True)
        ]
        return answers[0] if is_one else answers
