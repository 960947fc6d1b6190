"""Negatives that are hard to tell from what belongs to a text, found by search."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from spanbert_tf.data.batching.texts import as_str, list_of_strings
from spanbert_tf.search.text_index import TextIndex
from spanbert_tf.search.unit_vectors import AnyEmbedder, as_embedder, encode


def mine_negatives(
    embedder: AnyEmbedder,
    anchors: Sequence[str],
    positives: Sequence[str],
    corpus: Sequence[str] | None = None,
    count: int = 1,
    candidates: int = 50,
    most_similar: float = 0.95,
) -> tuple[list[str], list[str], list[str]]:
    """Finds for pairs of texts the negatives that a model takes most easily for the positive.

        embedder.fit(mine_negatives(embedder, questions, paragraphs))

    A text of the corpus that is nearly as near to the anchor as its positive is likely to mean the
    same and to be labelled by nobody; so what has more than a part of the positive's cosine is left
    out (positive-aware mining, Moreira et al., 2024).

    Args:
        embedder: What has `encode_text`, or the handle of a model, see `load_embedder`.
        anchors: Texts.
        positives: For each a text that means the same, or answers it.
        corpus: Where negatives come from.  `None`: the positives.
        count: The most negatives of a pair.
        candidates: How many of the texts nearest to an anchor are looked at.
        most_similar: The part of the positive's cosine that a negative's may reach.

    Returns:
        Anchors, positives and negatives, one for each triplet in the order of the pairs, the
        nearest negative of a pair first.  A pair without any has no triplet.

    Raises:
        TypeError: A text is not a string.
        ValueError: There are not as many positives as anchors, or no pairs; a number is out of
            range; or the embedder gives NaN.
    """
    anchors, positives = (
        [as_str(text) for text in list_of_strings(texts, name)]
        for texts, name in ((anchors, "anchors"), (positives, "positives"))
    )
    if len(anchors) != len(positives) or not anchors:
        raise ValueError(
            f"expected pairs, got {len(anchors)} anchors and {len(positives)} positives."
        )
    if count < 1 or candidates < 1 or not 0 < most_similar <= 1:
        raise ValueError(
            "`count` and `candidates` must be at least 1, and `most_similar` above 0 and at most "
            f"1, but are {count}, {candidates} and {most_similar}."
        )
    index = TextIndex(as_embedder(embedder))
    index.add(list(dict.fromkeys(positives if corpus is None else corpus)))
    belonging: defaultdict[str, set[str]] = defaultdict(set)
    for anchor, positive in zip(anchors, positives, strict=True):
        belonging[anchor] |= {anchor, positive}
    vectors = encode(index.embedder, anchors)
    bounds = most_similar * np.sum(vectors * encode(index.embedder, positives), axis=1)
    triplets = []
    found = index.search_vectors(vectors, candidates)
    for anchor, positive, hits, bound in zip(anchors, positives, found, bounds, strict=True):
        negatives = [
            hit.text for hit in hits if hit.text not in belonging[anchor] and hit.score <= bound
        ]
        triplets += [(anchor, positive, negative) for negative in negatives[:count]]
    columns = zip(*triplets, strict=True) if triplets else ((), (), ())
    first, second, third = map(list, columns)
    return first, second, third
