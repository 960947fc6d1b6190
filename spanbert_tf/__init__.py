"""SpanBERT for TensorFlow and Keras 3.

Importing the package imports neither TensorFlow nor Keras; the first use of a public name does.
Once both this package and `keras_hub` are imported, in either order, its base classes find ours:
`keras_hub.models.TextClassifier.from_preset(folder)`.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

import wrapt

if TYPE_CHECKING:
    from spanbert_tf.convert import (
        load_hugging_face,
        load_hugging_face_pretrainer,
        save_hugging_face,
    )
    from spanbert_tf.export.hub import export_encoder, export_preprocessor
    from spanbert_tf.export.litert import export_litert_classifier, export_litert_encoder
    from spanbert_tf.export.litert_loading import load_litert
    from spanbert_tf.export.loading import load, load_backbone, load_tokenizer
    from spanbert_tf.export.serving import export_classifier
    from spanbert_tf.layers.span_masking import SpanMasking
    from spanbert_tf.models.backbone import SpanBertBackbone
    from spanbert_tf.models.pretrainer import SpanBertPretrainer, SpanBertPretrainerPreprocessor
    from spanbert_tf.models.text_classifier import (
        SpanBertTextClassifier,
        SpanBertTextClassifierPreprocessor,
    )
    from spanbert_tf.tokenizer import SpanBertTokenizer

__version__ = "0.1.0"

__all__ = [
    "SpanBertBackbone",
    "SpanBertPretrainer",
    "SpanBertPretrainerPreprocessor",
    "SpanBertTextClassifier",
    "SpanBertTextClassifierPreprocessor",
    "SpanBertTokenizer",
    "SpanMasking",
    "__version__",
    "export_classifier",
    "export_encoder",
    "export_litert_classifier",
    "export_litert_encoder",
    "export_preprocessor",
    "load",
    "load_backbone",
    "load_hugging_face",
    "load_hugging_face_pretrainer",
    "load_litert",
    "load_tokenizer",
    "save_hugging_face",
]

_MODULES = {
    "SpanBertBackbone": "spanbert_tf.models.backbone",
    "SpanBertPretrainer": "spanbert_tf.models.pretrainer",
    "SpanBertPretrainerPreprocessor": "spanbert_tf.models.pretrainer",
    "SpanBertTextClassifier": "spanbert_tf.models.text_classifier",
    "SpanBertTextClassifierPreprocessor": "spanbert_tf.models.text_classifier",
    "SpanBertTokenizer": "spanbert_tf.tokenizer",
    "SpanMasking": "spanbert_tf.layers.span_masking",
    "export_classifier": "spanbert_tf.export.serving",
    "export_encoder": "spanbert_tf.export.hub",
    "export_litert_classifier": "spanbert_tf.export.litert",
    "export_litert_encoder": "spanbert_tf.export.litert",
    "export_preprocessor": "spanbert_tf.export.hub",
    "load": "spanbert_tf.export.loading",
    "load_backbone": "spanbert_tf.export.loading",
    "load_hugging_face": "spanbert_tf.convert",
    "load_hugging_face_pretrainer": "spanbert_tf.convert",
    "load_litert": "spanbert_tf.export.litert_loading",
    "load_tokenizer": "spanbert_tf.export.loading",
    "save_hugging_face": "spanbert_tf.convert",
}
_CLASS_MODULES = {module for name, module in _MODULES.items() if name.startswith("Span")}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import_module("keras_hub")  # Before any class module of ours, so that all of them register.
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _register_classes(_tokenizer: ModuleType) -> None:
    for module in sorted(_CLASS_MODULES):
        import_module(module)


# A preset's config names its class only, so KerasHub must have met the class before.  The others
# follow the tokenizer: if it is what imports keras_hub, it is half loaded, and they wait for it.
wrapt.register_post_import_hook(_register_classes, "spanbert_tf.tokenizer")
wrapt.register_post_import_hook(lambda _: import_module("spanbert_tf.tokenizer"), "keras_hub")
