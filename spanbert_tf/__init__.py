"""SpanBERT for TensorFlow and Keras 3.

Importing the package imports neither TensorFlow nor Keras; the first use of a public name does.
Once both this package and `keras_hub` are imported, in either order, its base classes find ours:
`keras_hub.models.TextClassifier.from_preset(folder)`.  With `keras` alone its registry does:
`keras.models.load_model("mine.keras")`.

On a machine with JAX or torch alone there are `SpanBertBackbone`, `SpanMasking` and
`spanbert_tf.layers`; all else needs TensorFlow.
"""

from importlib import import_module
from types import ModuleType
from typing import Any

import wrapt

from spanbert_tf.keras_registry import register_on_demand
from spanbert_tf.tasks import TASKS

__version__ = "0.1.0"

# Public names, by the module that has them; those of tasks stand in `TASKS`.
_NAMES = {
    "backbone": ("SpanBertBackbone",),
    "checkpoints.convert": (
        "load_hugging_face",
        "load_hugging_face_pretrainer",
        "save_hugging_face",
    ),
    "checkpoints.sentence_transformers": ("save_sentence_transformers",),
    "export.adapters": ("load_adapter", "save_adapter"),
    "export.analyzer": ("Analyzer",),
    "export.hub": ("export_encoder", "export_preprocessor"),
    "export.litert": ("export_litert", "export_litert_classifier", "export_litert_encoder"),
    "export.litert_loading": ("load_litert",),
    "export.loading": ("load", "load_backbone", "load_tokenizer"),
    "export.serving": ("export_classifier", "export_task"),
    "export.task_loading": ("load_embedder", "load_task"),
    "layers.masking.span_masking": ("SpanMasking",),
    "models.lora": ("merge_lora",),
    "models.pruning": ("prune",),
    "search.hard_negatives": ("mine_negatives",),
    "search.recommendation": ("find_interests", "recommend"),
    "search.text_index": ("TextIndex",),
    "search.vector_classifier": ("VectorClassifier",),
    "tokenization.added_tokens": ("AddedToken",),
    "tokenization.tokenizer": ("SpanBertTokenizer",),
}
_MODULES = {name: f"spanbert_tf.{module}" for module, names in _NAMES.items() for name in names}
for _module, _, _name in (path.rpartition(".") for path in TASKS.values()):
    _MODULES |= {_name: _module, f"{_name}Preprocessor": _module}
_CLASS_MODULES = {module for name, module in _MODULES.items() if name.startswith("Span")}
# What else registers classes, and no module above imports.
_OTHER_CLASS_MODULES = {"spanbert_tf.export.encoder_layers", "spanbert_tf.training.schedules"}
# The first to register, in the order of their imports of one another.
_BACKBONE, _TOKENIZER = "spanbert_tf.backbone", "spanbert_tf.tokenization.tokenizer"

__all__ = sorted([*_MODULES, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import_module("keras_hub")  # Before any class module of ours, so that all of them register.
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _register_classes(_: ModuleType) -> None:
    for module in sorted(_CLASS_MODULES):
        import_module(module)


def _register_tokenizer(_: ModuleType) -> None:
    _import_if_there_is_tensorflow(_TOKENIZER)


def _register_all() -> None:
    import_module("keras_hub")  # With the classes that follow it.
    for module in sorted(_CLASS_MODULES | _OTHER_CLASS_MODULES):
        _import_if_there_is_tensorflow(module)


def _import_if_there_is_tensorflow(module: str) -> None:
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        # Under JAX or torch alone there is the backbone, which does without, and nothing follows.
        if (error.name or "").partition(".")[0] not in ("tensorflow", "tensorflow_text"):
            raise


def _register_on_demand(_: ModuleType) -> None:
    registration = import_module("keras.src.saving.object_registration")
    register_on_demand(registration, "spanbert_tf>", _register_all)


# A preset's config names its class only, so KerasHub must have met the class before.  Each of the
# first two follows the one before, and all others the second: if one of them is what imports
# keras_hub, it is half loaded, and they wait for it.
wrapt.register_post_import_hook(_register_classes, _TOKENIZER)
wrapt.register_post_import_hook(_register_tokenizer, _BACKBONE)
wrapt.register_post_import_hook(lambda _: import_module(_BACKBONE), "keras_hub")
wrapt.register_post_import_hook(_register_on_demand, "keras")
