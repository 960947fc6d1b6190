"""TensorFlow 1 checkpoints of BERT, as Google published them: their files and their names.

A folder with `bert_config.json`, one checkpoint (such as `bert_model.ckpt.index` and its
`bert_model.ckpt.data-00000-of-00001`) and `vocab.txt`.
"""

import logging
import re
from pathlib import Path

import numpy as np
import tensorflow as tf

from spanbert_tf.checkpoints.hugging_face import CONFIG_FILE
from spanbert_tf.foreign_files import CheckpointError, reading

GOOGLE_CONFIG_FILE = "bert_config.json"
INDEX_SUFFIX = ".index"
_OTHERS = ("*.safetensors", "pytorch_model*.bin")  # They are read rather.

# What is BERT's: models built on it have variables of their own beside these scopes.
_OURS = re.compile(r"(.*/)?(bert|cls)/.+")
# From Google's name to the name that Hugging Face gave the same tensor, in this order.
_NAMES = (
    (re.compile(r"/"), "."),
    (re.compile(r"\.layer_(\d+)\."), r".layer.\1."),
    (re.compile(r"(\.\w+_embeddings)$"), r"\1.weight"),
    (re.compile(r"\.(kernel|gamma|output_weights)$"), ".weight"),
    (re.compile(r"\.(beta|output_bias)$"), ".bias"),
)
_TRANSPOSED = "/kernel"  # `[in, out]`, where Hugging Face has `[out, in]`.
# State of the training, beside the slots that an optimizer has for each variable.
_TRAINING_STATE = re.compile(
    r"global_step|(.*/)?(beta[12]_power|(current_)?loss_scale|good_steps|bad_steps)"
)

_log = logging.getLogger(__name__)


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder's weights are a TensorFlow 1 checkpoint, and not Hugging Face's too."""
    has_others = any(path for pattern in _OTHERS for path in folder.glob(pattern))
    return not has_others and any(folder.glob(f"*{INDEX_SUFFIX}"))


def name_of_config(folder: Path) -> str:
    """The name of a checkpoint's config: Google's where that is the only one there is."""
    files = [CONFIG_FILE, GOOGLE_CONFIG_FILE]
    return next((name for name in files if (folder / name).is_file()), CONFIG_FILE)


def read_tensors(folder: Path) -> dict[str, np.ndarray]:
    """Reads the checkpoint of a folder, without what its optimizer kept.

    Args:
        folder: Has one `*.index`, with its data files.

    Returns:
        Arrays by Hugging Face's keys, kernels `[out, in]`; variables that are not BERT's by their
        own names.

    Raises:
        CheckpointError: There are several checkpoints, or the one there is damaged.
    """
    indexes = sorted(path.name for path in folder.glob(f"*{INDEX_SUFFIX}"))
    if len(indexes) != 1:
        raise CheckpointError(
            f"{folder} has several checkpoints ({', '.join(indexes)}); expected one: keep the "
            "others, with their data files, elsewhere"
        )
    path = folder / indexes[0].removesuffix(INDEX_SUFFIX)
    with reading(path, "a whole checkpoint of TensorFlow"):
        reader = tf.train.load_checkpoint(str(path))
        shapes = reader.get_variable_to_shape_map()
        kept = [name for name in sorted(shapes) if not _is_training_state(name, shapes)]
        tensors = {_key(name): _value(name, reader.get_tensor(name)) for name in kept}
    if len(kept) < len(shapes):
        _log.info("%s: %d tensors of its optimizer are dropped", path, len(shapes) - len(kept))
    return tensors


def _is_training_state(name: str, shapes: dict[str, list[int]]) -> bool:
    """Whether a name is a counter, or that of a variable and, after it, of an optimizer's slot."""
    variable = name.rpartition("/")[0]
    is_slot = variable in shapes and shapes[variable] == shapes[name]
    return is_slot or _TRAINING_STATE.fullmatch(name) is not None


def _key(name: str) -> str:
    if _OURS.fullmatch(name):
        for pattern, replacement in _NAMES:
            name = pattern.sub(replacement, name)
    return name


def _value(name: str, value: np.ndarray) -> np.ndarray:
    return value.T if _OURS.fullmatch(name) and name.endswith(_TRANSPOSED) else value
