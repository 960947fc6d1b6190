"""Small pretraining runs for the tests."""

from pathlib import Path
from typing import Any

import keras

from spanbert_tf.backbone import SpanBertBackbone
from spanbert_tf.settings import Pretraining, RunOptions
from spanbert_tf.training.pretraining.run import Pretrained, pretrain

SETTINGS = {"steps": 12, "token_budget": 256, "learning_rate": 3e-3, "num_buckets": 2}
RUN_OPTIONS = {"log_steps": 2, "validation_steps": 6, "validation_batches": 2}


def make_corpus(folder: Path) -> Path:
    """Prepares a corpus of several shards."""
    # Not before: a module that makes a tokenizer starts TensorFlow's threads, which no fork has.
    from tests.data.corpora import prepare, random_documents, write_documents

    path = write_documents(folder / "texts.txt", random_documents(60))
    prepare([path], folder / "corpus", sequence_length=32)
    return folder / "corpus"


def make_encoder(folder: Path, dropout: float = 0.1) -> Path:
    """Writes the preset of an encoder of one layer."""
    from tests.data.corpora import TOKENIZER, VOCABULARY

    keras.utils.set_random_seed(1)
    backbone = SpanBertBackbone(len(VOCABULARY), 1, 2, 16, 32, dropout, max_sequence_length=32)
    folder.mkdir(exist_ok=True)
    backbone.save_to_preset(str(folder / "encoder"))
    TOKENIZER.save_to_preset(str(folder / "encoder"))
    return folder / "encoder"


def run(
    folder: Path,
    name: str,
    settings: dict[str, Any] | None = None,
    run_options: dict[str, Any] | None = None,
    **options: Any,
) -> Pretrained:
    """Pretrains the encoder on the corpus of a folder."""
    return pretrain(
        Pretraining(**SETTINGS | (settings or {})),
        folder / "corpus",
        output=folder / name,
        run_options=RunOptions(**RUN_OPTIONS | (run_options or {})),
        **{"write": None, "encoder": folder / "encoder"} | options,
    )
