"""Models that files are answered by, loaded once."""

import gzip
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from spanbert_tf import SpanBertTokenizer
from spanbert_tf.export import task_loading
from spanbert_tf.handles import find
from spanbert_tf.prediction import answer_parts
from tests.export.test_evaluation import TEXTS, VOCABULARY, make_answerer, make_text_classifier
from tests.tasks import test_relation_extractor as relations


@pytest.fixture(scope="module", autouse=True)
def loaded_once() -> Iterator[None]:
    """Keeps what is loaded, with its graphs, which take longer than all else."""
    with pytest.MonkeyPatch.context() as patch:
        load_task = task_loading.load_task
        by_path = cache(lambda path, trust: load_task(path, trust=trust))

        def load(handle: Any, trust: bool = False) -> Any:
            return by_path(find(handle).path, trust)

        patch.setattr(task_loading, "load_task", load)
        patch.setattr(answer_parts, "load_task", load)
        yield


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier and a question answerer, and files to ask them; and what finds relations."""
    folder = tmp_path_factory.mktemp("models")
    tokenizer = SpanBertTokenizer(VOCABULARY, lowercase=True)
    make_text_classifier(tokenizer).save_to_preset(str(folder / "classifier"))
    make_answerer(tokenizer, 2).save_to_preset(str(folder / "answerer"))
    extractor = relations.make_extractor(SpanBertTokenizer(relations.VOCABULARY, lowercase=True))
    extractor.save_to_preset(str(folder / "extractor"))
    relations.make_tagger(extractor.preprocessor.tokenizer).save_to_preset(str(folder / "tagger"))
    (folder / "texts.txt").write_text("\n".join(["", *TEXTS[1:]]))
    records = [{"question": "a b ?", "context": f"{text} é"} for text in TEXTS]
    lines = [f"{json.dumps(record)}\n" for record in records]
    (folder / "asked.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    return folder
