"""How text generation is fine-tuned, its files are read, and it is asked."""

from dataclasses import dataclass, fields, make_dataclass
from typing import Any

from spanbert_tf.layers.next_pieces import BeamSearch, Search
from spanbert_tf.metrics.generation import FIGURES
from spanbert_tf.setting_fields import PART, at_least, setting
from spanbert_tf.settings import Asking, FineTuning, TableFormat

USES = ("translation", "summarization")


@dataclass(frozen=True)
class TextGeneration(FineTuning, BeamSearch):
    """How text generation is fine-tuned."""

    decoder_layers: int = setting(3, int, "layers of the decoder", at_least(1))
    target_length: int = setting(
        128, int, "most word pieces of a text that is written, its end among them", at_least(2)
    )
    target_vocabulary: str | None = setting(
        None, str, "file of the word pieces that texts are written in; None: the encoder's"
    )
    target_lowercase: bool = setting(
        False, bool, "with --target-vocabulary: write in lower case and without accents"
    )
    label_smoothing: float = setting(
        0.1, float, "part of the probability that is to go to all pieces alike", PART
    )
    warm_start: bool = setting(
        True, bool, "without --target-vocabulary: begin with the encoder's weights in the decoder"
    )
    use: str | None = setting(
        None,
        str,
        "what texts are written for: the model has `translate` or `summarize` as a name of "
        "`generate`; None: neither",
        choices=USES,
    )
    reward: str | None = setting(
        None,
        str,
        "--encoder is a trained model of this task: go on with its decoder, and learn texts that "
        "are drawn by how much better this figure of them is than that of the greedy text "
        "(self-critical training); None: learn the targets, with a new decoder",
        choices=FIGURES,
    )
    cross_entropy: float = setting(
        0.0, float, "with --reward: part of the loss that the targets still have", PART
    )
    num_beams: int = setting(
        4, int, "texts that are followed at a time; 1: piece by piece the best", at_least(1)
    )


@dataclass(frozen=True)
class PairFiles(TableFormat):
    """Where a file has its texts, and how it is written; `None`: it is found."""

    source_column: str | None = setting(None, str, "column of the texts; None: source")
    target_column: str | None = setting(None, str, "column of what they shall become; None: target")


# Each setting of a search, `None` where the model's own shall hold.
TextAsking: Any = make_dataclass(
    "TextAsking",
    [
        (of.name, Any, setting(None, *(of.metadata[key] for key in ("type", "help", "range"))))
        for of in fields(Search)
    ],
    bases=(Asking,),
    frozen=True,
)
