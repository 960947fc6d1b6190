"""Uses exported models as someone would who has never heard of this package.

    python fresh_process.py FOLDER

reads the SavedModels and `features.npz` in the folder, and writes `results.npz` there.
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401 - registers the operations of the text functions


def encoder_results(folder: Path, features: dict[str, tf.Tensor]) -> dict[str, object]:
    encoder = tf.saved_model.load(str(folder / "encoder" / "1"))
    ids, mask, segments = (features[n] for n in ("token_ids", "padding_mask", "segment_ids"))
    inputs = {"input_word_ids": ids, "input_mask": mask, "input_type_ids": segments}
    outputs = encoder(inputs)
    texts = tf.constant(["The snowman melts.", "a fine film, " * 30])
    served = encoder.signatures["serving_default"](text=texts)
    tokens = encoder.signatures["tokens"](**inputs)
    return {
        "keys": sorted(outputs),
        "sequence_output": outputs["sequence_output"],
        "pooled_output": outputs["pooled_output"],
        "default": outputs["default"],
        "encoder_outputs": tf.stack(outputs["encoder_outputs"]),
        "embedding": encoder(ids, mask, segments),
        "embedding_of_arrays": encoder(ids.numpy(), mask.numpy(), segments.numpy()),
        "embedding_by_keywords": encoder(
            input_ids=ids, input_mask=mask, segment_ids=segments, training=False
        ),
        "training_dict": tf.stack([encoder(inputs, training=True)["default"] for _ in range(2)]),
        "training_tensors": tf.stack(
            [encoder(ids, mask, segments, training=True) for _ in range(2)]
        ),
        "variables": len(encoder.variables),
        "trainable_variables": len(encoder.trainable_variables),
        "regularization_losses": len(encoder.regularization_losses),
        "vocabulary": Path(encoder.vocab_file.asset_path.numpy().decode()).read_text("utf-8"),
        "do_lower_case": encoder.do_lower_case,
        "signatures": sorted(encoder.signatures),
        "served_keys": sorted(served),
        "served_sequence_output": served["sequence_output"],
        "served_pooled_output": served["pooled_output"],
        "tokens_pooled_output": tokens["pooled_output"],
    }


def preprocessor_results(folder: Path) -> dict[str, object]:
    preprocessor = tf.saved_model.load(str(folder / "preprocessor" / "1"))
    sentences = tf.constant(["The snowman melts.", ""])
    packed = preprocessor(sentences)
    served = preprocessor.signatures["serving_default"](text=sentences)
    pieces = preprocessor.tokenize(sentences)
    ids, starts, ends = preprocessor.tokenize_with_offsets(sentences)
    words = tf.ragged.constant([[[5], [6, 7]], []], dtype=tf.int32, ragged_rank=2)
    pair = preprocessor.bert_pack_inputs([pieces, pieces], seq_length=8)
    single = preprocessor.bert_pack_inputs([pieces])
    of_words = preprocessor.bert_pack_inputs([words, words], seq_length=tf.constant(9))
    special_tokens = preprocessor.tokenize.get_special_tokens_dict()
    return {
        **{f"packed_{name}": tensor for name, tensor in packed.items()},
        **{f"pair_{name}": tensor for name, tensor in pair.items()},
        **{f"special_{name}": tensor for name, tensor in special_tokens.items()},
        "preprocessor_served": served["input_word_ids"],
        "single": single["input_word_ids"],
        "of_words": of_words["input_word_ids"],
        "pieces": pieces.to_tensor(-1),
        "ids": ids.to_tensor(-1),
        "starts": starts.to_tensor(-1),
        "ends": ends.to_tensor(-1),
    }


def pretrained_results(folder: Path, features: dict[str, tf.Tensor]) -> dict[str, object]:
    encoder = tf.saved_model.load(str(folder / "pretrained" / "1"))
    ids, mask, segments = (features[n] for n in ("token_ids", "padding_mask", "segment_ids"))
    states = encoder({"input_word_ids": ids, "input_mask": mask, "input_type_ids": segments})
    states = states["sequence_output"]
    boundaries = tf.constant([[[0, 3], [4, 7]], [[0, 4], [0, 4]]])
    lists = {"encoder": encoder, "mlm": encoder.mlm, "sbo": encoder.sbo}
    return {
        "mlm_logits": encoder.mlm(states, tf.constant([[1, 6, 2], [3, 0, 0]])),
        "sbo_logits": encoder.sbo(states, boundaries, tf.constant([[1, 0], [2, 4]])),
        **{
            f"trainable_of_{name}": [variable.name for variable in part.trainable_variables]
            for name, part in lists.items()
        },
    }


def classifier_results(folder: Path) -> dict[str, object]:
    classifier = tf.saved_model.load(str(folder / "classifier" / "1"))
    texts = tf.constant(["A fine film.", "the plot was very, very dull and the music loud", ""])
    served = classifier.signatures["serving_default"](text=texts)
    pairs = classifier.signatures["pairs"](text=texts, pair=texts[::-1])
    return {
        **{f"classifier_{name}": tensor for name, tensor in served.items()},
        "classifier_pairs": pairs["probabilities"],
        "classifier_called": classifier(texts)["probabilities"],
        "classifier_of_nothing": classifier(tf.constant([], tf.string))["label"],
        "task": Path(classifier.task_file.asset_path.numpy().decode()).read_text("utf-8"),
    }


def hub_results(folder: Path, features: dict[str, tf.Tensor]) -> dict[str, object]:
    try:
        import tensorflow_hub as hub
    except ModuleNotFoundError as error:
        return {"hub_is_missing": str(error)}
    encoder = hub.load(str(folder / "encoder" / "1"))
    ids, mask, segments = (features[n] for n in ("token_ids", "padding_mask", "segment_ids"))
    return {"hub_embedding": encoder(ids, mask, segments)}


def as_array(value: object) -> np.ndarray:
    array = np.array(value)
    return array.astype("S") if array.dtype == object else array


def main(folder: Path) -> None:
    with np.load(folder / "features.npz") as arrays:
        features = {name: tf.constant(array) for name, array in arrays.items()}
    results = {
        **encoder_results(folder, features),
        **preprocessor_results(folder),
        **pretrained_results(folder, features),
        **classifier_results(folder),
        **hub_results(folder, features),
        "modules": sorted(name for name in sys.modules if name.split(".")[0] == "spanbert_tf"),
    }
    np.savez(folder / "results.npz", **{name: as_array(value) for name, value in results.items()})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
