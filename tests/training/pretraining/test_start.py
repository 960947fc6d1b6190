"""What pretraining starts from."""

from pathlib import Path

import numpy as np
import pytest

from spanbert_tf import SpanBertBackbone, SpanBertPretrainer, SpanBertTokenizer
from spanbert_tf.checkpoints.convert import load_hugging_face
from spanbert_tf.data.readers.lines import DataError
from spanbert_tf.export.hub import export_encoder
from spanbert_tf.settings import Pretraining, RunOptions
from spanbert_tf.training.pretraining.start import load_pretrainer, make_batches
from spanbert_tf.training.pretraining.workers import Workers
from tests.checkpoints.foreign_folders import write_checkpoint
from tests.data.corpora import TOKENIZER, VOCABULARY, prepare, random_documents, write_documents
from tests.training.pretraining.pretraining_runs import make_encoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    path = write_documents(folder / "texts.txt", random_documents(60))
    prepare([path], folder / "corpus", sequence_length=32)
    prepare([path], folder / "long_blocks", sequence_length=64)
    make_encoder(folder)
    return folder


def _values(layer):
    return [np.asarray(weight) for weight in layer.weights]


def test_new_weights_of_a_size_for_the_vocabulary_of_the_corpus(folder: Path):
    pretrainer = load_pretrainer(Pretraining(), "spanbert_tiny", folder / "corpus")
    assert pretrainer.backbone.num_layers == 2
    assert pretrainer.backbone.vocabulary_size == len(VOCABULARY)
    assert pretrainer.preprocessor.tokenizer.get_vocabulary() == VOCABULARY


def test_an_encoder_with_new_heads(folder: Path):
    settings = Pretraining(objective="mlm", dtype="mixed_bfloat16")
    pretrainer = load_pretrainer(settings, folder / "encoder", folder / "corpus")
    expected = SpanBertBackbone.from_preset(str(folder / "encoder"))
    for ours, theirs in zip(_values(pretrainer.backbone), _values(expected), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert pretrainer.sbo_head is None
    assert pretrainer.backbone.dtype_policy.name == "mixed_bfloat16"


def test_a_pretrainer_keeps_its_heads(folder: Path):
    backbone = SpanBertBackbone.from_preset(str(folder / "encoder"))
    before = SpanBertPretrainer(backbone, max_targets=7)
    before.save_to_preset(str(folder / "pretrainer"))
    TOKENIZER.save_to_preset(str(folder / "pretrainer"))
    settings = Pretraining(max_targets=7)
    after = load_pretrainer(settings, folder / "pretrainer", folder / "corpus")
    for ours, theirs in zip(_values(after), _values(before), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ValueError, match=r"max_targets=7, but the settings say 20"):
        load_pretrainer(Pretraining(max_targets=20), folder / "pretrainer", folder / "corpus")
    # Where the settings do not say, it is the head's.
    after = load_pretrainer(Pretraining(), folder / "pretrainer", folder / "corpus")
    assert (after.max_targets, after.preprocessor.max_targets) == (7, 7)


def test_a_saved_model_is_gone_on_with(folder: Path):
    backbone = SpanBertBackbone.from_preset(str(folder / "encoder"))
    pretrainer = SpanBertPretrainer(backbone, max_targets=7)
    for name, model in (("served", pretrainer), ("served_encoder", backbone)):
        export_encoder(model, TOKENIZER, folder / name)
        after = load_pretrainer(Pretraining(max_targets=7), folder / name, folder / "corpus")
        same = pretrainer if name == "served" else backbone
        ours = after if name == "served" else after.backbone
        for one, other in zip(_values(ours), _values(same), strict=True):
            np.testing.assert_array_equal(one, other)
        assert after.preprocessor.tokenizer.get_vocabulary() == VOCABULARY
    with pytest.raises(ValueError, match=r"max_targets=7, but the settings say 20"):
        load_pretrainer(Pretraining(max_targets=20), folder / "served", folder / "corpus")


def test_a_hugging_face_checkpoint(folder: Path):
    checkpoint = write_checkpoint(folder / "hugging_face", config={"max_position_embeddings": 32})
    settings = Pretraining(objective="mlm")
    pretrainer = load_pretrainer(settings, checkpoint, folder / "corpus")
    expected, _ = load_hugging_face(checkpoint)
    for ours, theirs in zip(_values(pretrainer.backbone), _values(expected), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert pretrainer.preprocessor.tokenizer.get_vocabulary()[0] == "[PAD]"


def test_blocks_must_fit_the_positions(folder: Path):
    with pytest.raises(ValueError, match=r"up to 64 tokens, .* positions for 32: .*-length 32"):
        load_pretrainer(Pretraining(), folder / "encoder", folder / "long_blocks")


def test_masks_and_held_out_shards_are_as_the_settings_say(folder: Path):
    settings = Pretraining(budget=0.4, token_budget=128, max_targets=3, validation_shards=2)
    pretrainer = load_pretrainer(settings, folder / "encoder", folder / "corpus")
    training, validation = make_batches(
        settings, folder / "corpus", pretrainer, Workers(), skip_bad_shards=False
    )
    shards = training.manifest.shards
    assert len(training.shards) == len(shards) - 2
    assert validation.shards == (len(shards) - 2, len(shards) - 1)
    features = next(iter(training.dataset()))
    pieces = features["padding_mask"].numpy().sum(1) - 2
    np.testing.assert_array_equal(
        features["mask_weights"].numpy().sum(1), np.ceil(0.4 * pieces).astype(int)
    )
    assert features["span_ids"].shape[2] == 3


def test_a_corpus_of_one_shard_with_one_held_out(folder: Path):
    path = write_documents(folder / "one.txt", random_documents(3))
    prepare([path], folder / "one_shard", sequence_length=32, shard_bytes=1 << 20)
    settings = Pretraining(token_budget=128, validation_shards=1)
    pretrainer = load_pretrainer(settings, folder / "encoder", folder / "one_shard")
    arguments = (folder / "one_shard", pretrainer, Workers(), False)
    with pytest.raises(
        ValueError, match=r"one_shard has 1 shard, and .* held out.*--validation-shards 0"
    ):
        make_batches(settings, *arguments)
    settings = Pretraining(token_budget=128, validation_shards=0)
    training, validation = make_batches(settings, *arguments)
    assert training.shards == (0,)
    assert validation is None


def test_another_tokenizer_is_refused(folder: Path):
    settings = Pretraining()
    pretrainer = load_pretrainer(settings, folder / "encoder", folder / "corpus")
    pretrainer.preprocessor.tokenizer = SpanBertTokenizer(VOCABULARY, lowercase=True)
    with pytest.raises(DataError, match="prepared with another tokenizer: lowercase"):
        make_batches(settings, folder / "corpus", pretrainer, Workers(), skip_bad_shards=False)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("steps", 0), ("budget", 0.0), ("objective", "nsp"), ("warmup_proportion", 1.0)],
)
def test_settings_out_of_range(setting: str, value: object):
    with pytest.raises(ValueError, match=rf"`{setting}` must be .*, but is {value!r}"):
        Pretraining(**{setting: value})


def test_bookkeeping_out_of_range():
    with pytest.raises(ValueError, match="`keep` must be above 0, but is 0"):
        RunOptions(keep=0)
