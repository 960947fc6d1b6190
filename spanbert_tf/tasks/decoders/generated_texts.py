"""Pieces that a decoder wrote -> texts as people write them.

Letters: b texts of a batch, r rows, k texts of a row, o pieces of a text.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from spanbert_tf.data.batching.rows import Rows
from spanbert_tf.data.readers.text_pairs import TextPair
from spanbert_tf.features import GENERATED_IDS, GENERATED_SCORES
from spanbert_tf.layers.next_pieces import NEVER, Search
from spanbert_tf.metrics.generation import AVERAGES, generation_scores
from spanbert_tf.metrics.reports import Report
from spanbert_tf.models.decoding import Decoder
from spanbert_tf.tokenization.joining import spaced
from spanbert_tf.tokenization.normalization import SPECIAL_TOKENS

_EAST_ASIAN = "[\u3000-\u303f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uff00-\uffef]"
_NUMBERS = (r"(\d) ([.,:]) (\d)", r"\1\2\3")  # 3.5, 1,000, 9:30
# Word pieces do not tell where punctuation has spaces.  Patterns and replacements, in this order,
# that Python's `re` (with `re.ASCII`) and RE2 take alike; no two matches of one may overlap.
_SPACING = (
    *(_NUMBERS, _NUMBERS),  # Of 1.5.2024 the second match begins with the end of the first.
    (r" ([.,!?;:%)\]}…])", r"\1"),
    (r"([(\[{]) ", r"\1"),
    (r" - ", "-"),
    (r" ' (s|t|re|ve|ll|d|m)\b", r"'\1"),
    (rf" ({_EAST_ASIAN})", r"\1"),
    (rf"({_EAST_ASIAN}) ", r"\1"),
)


@dataclass(frozen=True)
class GeneratedText:
    """A text that was written, as Hugging Face's pipelines give it.

    Attributes:
        generated_text: It; empty for a text without a word piece.
        score: Its log probability by its length, see `Search`; 0 at most.
    """

    generated_text: str
    score: float

    def __str__(self) -> str:
        return self.generated_text


@dataclass(frozen=True)
class TextWriter(Search, Decoder):
    """Joins pieces to words and texts; and says how these are searched, see `Search`.

    Attributes:
        vocabulary: The pieces of the texts that are written, in the order of their ids.
        use: What texts are written for, one of `USES`; `None`: it is not said.

    Raises:
        ValueError: As `Search`; or there are more beams than pieces.
    """

    in_network: ClassVar = tuple(of.name for of in fields(Search) if of.name != "num_answers")

    vocabulary: tuple[str, ...] = field(kw_only=True)
    use: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        most = len(self.vocabulary) - len(SPECIAL_TOKENS)
        if self.num_beams > most:
            raise ValueError(
                f"`num_beams` must be at most {most}, the number of word pieces that texts are "
                f"written in, but is {self.num_beams}."
            )

    def check_use(self, verb: str, use: str) -> None:
        """Refuses a verb of another use."""
        if self.use != use:
            whose = "has none" if self.use is None else f"has {self.use!r}"
            raise ValueError(
                f"`{verb}` is for models with `use={use!r}`, but this one {whose}; `generate` "
                "writes texts with any."
            )

    def answers(
        self, decoded: dict[str, Any], rows: Rows | None, columns: Sequence[Sequence[str]]
    ) -> list[Any]:
        """A `GeneratedText` for each text; with `num_answers` above 1 a list of them."""
        pieces = np.array(self._spaced(), object)
        ids, scores = decoded[GENERATED_IDS.name], decoded[GENERATED_SCORES.name]
        texts = [
            [_as_written("".join(pieces[text[text >= 0]])) for text in row[: self.num_answers]]
            for row in ids
        ]
        return self._as_asked(texts, scores)

    def serve(
        self, decoded: dict[str, tf.Tensor], rows: Rows, columns: Sequence[tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """`generated_text`, string, and `score`, float32, both `[b, k]`, the best first."""
        ids, scores = decoded[GENERATED_IDS.name], decoded[GENERATED_SCORES.name]
        pieces = tf.gather(tf.constant(self._spaced()), tf.maximum(ids, 0))
        texts = tf.strings.reduce_join(tf.where(ids >= 0, pieces, ""), axis=-1)
        for pattern, replacement in _SPACING:
            texts = tf.strings.regex_replace(texts, pattern, replacement)
        return {"generated_text": tf.strings.strip(texts), "score": scores}

    def served(self, outputs: dict[str, np.ndarray]) -> list[Any]:
        """The answers for each text."""
        texts = [[text.decode() for text in row] for row in outputs["generated_text"]]
        return self._as_asked(texts, outputs["score"])

    def _as_asked(self, texts: Sequence[Sequence[str]], scores: np.ndarray) -> list[Any]:
        found = [
            [
                GeneratedText(text, float(score))
                for text, score in zip(*both, strict=False)
                if score > NEVER / 2
            ][: self.num_answers]
            for both in zip(texts, scores, strict=True)
        ]
        if self.num_answers > 1:
            return found
        # Where pieces that must not repeat ran out, there is no text.
        return [answers[0] if answers else GeneratedText("", 0.0) for answers in found]

    def _spaced(self) -> list[str]:
        """Pieces with what stands before them; nothing for special tokens."""
        return ["" if piece in SPECIAL_TOKENS else spaced(piece) for piece in self.vocabulary]


def _as_written(text: str) -> str:
    """`a man ' s hat , red` -> `a man's hat, red`."""
    for pattern, replacement in _SPACING:
        text = re.sub(pattern, replacement, text, flags=re.ASCII)
    return text.strip()


class WritesTexts:
    """Methods of a task that writes texts, which its exports have too."""

    decoder: Any
    answer_texts: Any

    def generate(self, texts: Any, batch_size: int | None = None, **search: Any) -> Any:
        """Writes texts.

            task.generate("Ein Mann fährt Rad.").generated_text
            task.generate(texts, num_beams=5, num_answers=3, no_repeat_ngram=3)
            task.generate(texts, top_p=0.9, temperature=0.8, seed=7)  # drawn, not searched

        Args:
            texts: A string, or a list of strings; what a row has no room for is cut.
            batch_size: Texts in a batch.  `None`: as many as have 1,024 tokens.
            **search: Fields of `Search` that this call has otherwise than the task.  An export has
                them fixed, `num_answers` apart.

        Returns:
            A `GeneratedText` for a string, a list of them for several, in their order; with
            `num_answers` above 1 a list of so many at most, the best first, in place of each.

        Raises:
            TypeError: A text is not a string, or there is no such field.
            ValueError: A field is out of its range.
        """
        search = {name: value for name, value in search.items() if value is not None}
        return self.answer_texts(texts, batch_size, **search)

    def translate(self, texts: Any, batch_size: int | None = None, **search: Any) -> Any:
        """`generate` of a model whose `use` is translation; else a `ValueError`."""
        self.decoder.check_use("translate", "translation")
        return self.generate(texts, batch_size, **search)

    def summarize(self, texts: Any, batch_size: int | None = None, **search: Any) -> Any:
        """`generate` of a model whose `use` is summarization; else a `ValueError`."""
        self.decoder.check_use("summarize", "summarization")
        return self.generate(texts, batch_size, **search)

    def score(self, answers: Sequence[Any], records: Sequence[TextPair]) -> dict[str, float]:
        """BLEU, chrF and ROUGE-L, see `generation_scores`."""
        texts = [answer.generated_text for answer in answers]
        return generation_scores(texts, [record.target for record in records])

    def report(self, answers: Sequence[Any], records: Sequence[TextPair]) -> Report:
        """What the figures are of."""
        return Report(AVERAGES)

    @classmethod
    def gold_of(cls, record: TextPair) -> str:
        """What people wrote."""
        return record.target

    def is_right(self, answer: GeneratedText, record: TextPair) -> bool:
        """Whether it is that, spaces aside."""
        return answer.generated_text.split() == record.target.split()
