"""What each command of `spanbert-tf` does.  Each returns a result that JSON can hold."""

import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from spanbert_tf.convert import convert, default_encoder
from spanbert_tf.data.readers import Example, read_examples, read_texts
from spanbert_tf.export.hub import export_encoder, export_preprocessor
from spanbert_tf.export.litert import export_litert_classifier, export_litert_encoder
from spanbert_tf.export.litert_loading import LiteRTClassifier, is_litert, load_litert
from spanbert_tf.export.loading import load_backbone
from spanbert_tf.export.serving import export_classifier, load_served
from spanbert_tf.hugging_face import CONFIG_FILE, is_preset, is_preset_of, read_config
from spanbert_tf.models.pretrainer import SpanBertPretrainer
from spanbert_tf.models.text_classifier import Prediction, SpanBertTextClassifier
from spanbert_tf.restoring import convert_saved_model, is_saved_model, models_within
from spanbert_tf.settings import Bookkeeping, FineTuning, Pretraining
from spanbert_tf.tokenizer import SpanBertTokenizer
from spanbert_tf.training.checkpoints import Interrupted
from spanbert_tf.training.cross_validation import cross_validate
from spanbert_tf.training.fine_tuning import finetune, texts_and_labels
from spanbert_tf.training.pretraining import pretrain
from spanbert_tf.training.workers import Workers

TEXTS_A_CALL = 32  # given to a SavedModel at once


def run_convert(arguments: Namespace) -> dict[str, Any]:
    """Converts a checkpoint, either way."""
    path = arguments.destination
    convert_encoder(arguments.source, path, arguments.overwrite)
    kind = "a Keras preset" if _is_preset(path) else "a Hugging Face checkpoint"
    return {"path": str(path), "format": kind}


def run_export(arguments: Namespace) -> dict[str, Any]:
    """Writes a classifier or an encoder as a SavedModel or for LiteRT."""
    source, destination = arguments.source, arguments.destination
    if is_preset_of(Path(source), SpanBertTextClassifier):
        classifier = SpanBertTextClassifier.from_preset(source)
        tokenizer = classifier.preprocessor.tokenizer
        kind = "classifier"
        if arguments.litert:
            export_litert_classifier(classifier, destination, arguments.litert, arguments.overwrite)
        else:
            export_classifier(classifier, destination, arguments.overwrite)
    elif is_preset_of(Path(source), SpanBertPretrainer) and not arguments.litert:
        pretrainer = SpanBertPretrainer.from_preset(source)
        tokenizer = SpanBertTokenizer.from_preset(source)
        kind = "encoder with pretraining heads"
        export_encoder(pretrainer, tokenizer, destination, arguments.overwrite)
    else:
        backbone, tokenizer = load_backbone(source)
        kind = "encoder"
        if arguments.litert:
            options = (arguments.pooling, arguments.litert, arguments.overwrite)
            export_litert_encoder(backbone, tokenizer, destination, *options)
        else:
            export_encoder(backbone, tokenizer, destination, arguments.overwrite)
    result = {kind: str(destination)}
    if arguments.preprocessor:
        export_preprocessor(tokenizer, arguments.preprocessor, overwrite=arguments.overwrite)
        result["preprocessor"] = str(arguments.preprocessor)
    return result


def run_finetune(arguments: Namespace) -> dict[str, Any]:
    """Fine-tunes a classifier and exports it, or cross-validates."""
    settings = _settings(FineTuning, arguments)
    columns = _columns(arguments)
    train, validation, test = (
        path and read_examples(path, **columns)
        for path in (arguments.train, arguments.validation, arguments.test)
    )
    output = arguments.output or Path("runs") / arguments.train.name.split(".")[0]
    if arguments.folds:
        encoder = _encoder_preset(arguments, output)
        with progress() as verbose:
            crossed = cross_validate(
                settings, train, arguments.folds, encoder=encoder, verbose=verbose
            )
        return {
            "folds": crossed.folds,
            "mean": crossed.mean,
            "std": crossed.std,
            "table": str(crossed),
        }

    classifier_folder = output / "classifier"
    served_folder = output / "saved_model" / "1"
    if served_folder.exists() and not arguments.overwrite:
        raise FileExistsError(f"{served_folder} exists: choose another --output or --overwrite it")
    try:
        with progress() as verbose:
            run = finetune(
                settings,
                train,
                validation,
                encoder=_encoder_preset(arguments, output),
                output=classifier_folder,
                overwrite=arguments.overwrite,
                resume=arguments.resume,
                tensorboard=output / "tensorboard" if arguments.tensorboard else None,
                verbose=verbose,
            )
    except Interrupted as interrupted:
        raise KeyboardInterrupt(
            f"{interrupted}\nTo go on, give the same command with --resume."
        ) from None
    export_classifier(run.classifier, served_folder, overwrite=True)
    return {
        "classifier": str(classifier_folder),
        "saved_model": str(served_folder),
        "train_size": run.train_size,
        "validation_size": run.validation_size,
        "best_epoch": run.best_epoch,
        "validation": run.validation,
        "test": test and _figures(run.classifier, test),
    }


def run_pretrain(arguments: Namespace) -> dict[str, Any]:
    """Pretrains an encoder and exports it with its heads."""
    workers = Workers.from_environment()  # Before TensorFlow computes anything.
    served_folder = arguments.output / "saved_model" / "1"
    try:
        run = pretrain(
            _settings(Pretraining, arguments),
            arguments.corpus,
            encoder=arguments.encoder,
            output=arguments.output,
            bookkeeping=_settings(Bookkeeping, arguments),
            overwrite=arguments.overwrite,
            skip_bad_shards=arguments.skip_bad_shards,
            tensorboard=arguments.tensorboard,
            write=_write_line,
            workers=workers,
        )
    except Interrupted as interrupted:
        raise KeyboardInterrupt(f"{interrupted}\nTo go on, give the same command again.") from None
    if workers.is_chief:
        tokenizer = run.pretrainer.preprocessor.tokenizer
        export_encoder(run.pretrainer, tokenizer, served_folder, overwrite=True)
    return {
        "preset": str(run.folder),
        "saved_model": str(served_folder) if workers.is_chief else None,
        "worker": workers.index,
        "steps": run.steps,
        "tokens": run.tokens,
        "validation": run.history[-1] if run.history else None,
    }


@contextmanager
def progress() -> Iterator[int]:
    """Sends Keras' progress to standard error: a bar on a terminal, a line an epoch elsewhere."""
    with redirect_stdout(sys.stderr):
        yield 1 if sys.stderr.isatty() else 2


def run_evaluate(arguments: Namespace) -> dict[str, Any]:
    """Scores a classifier on labelled texts."""
    _require_folder(arguments.model)
    if not is_preset_of(arguments.model, SpanBertTextClassifier):
        raise ValueError(
            f"{arguments.model} is no preset of a classifier; `spanbert-tf finetune` writes one "
            "as `classifier` in its output folder"
        )
    examples = read_examples(arguments.data, **_columns(arguments))
    classifier = SpanBertTextClassifier.from_preset(str(arguments.model))
    return _figures(classifier, examples)


def run_predict(arguments: Namespace) -> list[dict[str, Any]]:
    """Labels texts."""
    _require_folder(arguments.model)
    examples = _texts_to_label(arguments)
    texts = [example.text for example in examples]
    pairs = [example.pair for example in examples if example.pair is not None] or None
    if pairs and len(pairs) < len(texts):
        raise ValueError(f"{arguments.input}: some rows have a second text and some have none")
    if is_litert(arguments.model):
        predictions = _litert_classifier(arguments.model).classify(texts, pairs)
    elif is_saved_model(arguments.model):
        predictions = _ask_saved_model(arguments.model, texts, pairs)
    elif is_preset_of(arguments.model, SpanBertTextClassifier):
        classifier = SpanBertTextClassifier.from_preset(str(arguments.model))
        predictions = classifier.classify((texts, pairs) if pairs else texts)
    else:
        raise ValueError(
            f"{arguments.model} is neither a classifier's SavedModel or LiteRT model nor its "
            f"preset folder{models_within(arguments.model)}"
        )
    return [
        {"text": text, **asdict(prediction)}
        for text, prediction in zip(texts, predictions, strict=True)
    ]


def _litert_classifier(path: Path) -> LiteRTClassifier:
    model = load_litert(path)
    if isinstance(model, LiteRTClassifier):
        return model
    raise ValueError(f"{path} is an encoder in LiteRT, which gives vectors and has no labels")


def _ask_saved_model(
    path: Path, texts: Sequence[str], pairs: Sequence[str] | None
) -> list[Prediction]:
    served = load_served(path)
    predictions: list[Prediction] = []
    for begin in range(0, len(texts), TEXTS_A_CALL):
        chunk = slice(begin, begin + TEXTS_A_CALL)
        predictions += served.classify(texts[chunk], pairs and pairs[chunk])
    return predictions


def _texts_to_label(arguments: Namespace) -> list[Example]:
    if arguments.texts:
        return [Example(text, None, None, number) for number, text in enumerate(arguments.texts, 1)]
    if arguments.input != "-":
        return read_texts(arguments.input)
    lines = sys.stdin.buffer.read().decode("utf-8", errors="replace").splitlines()
    if not lines:
        raise ValueError("standard input is empty")
    return [Example(line, None, None, number) for number, line in enumerate(lines, 1)]


def _figures(classifier: SpanBertTextClassifier, examples: Sequence[Example]) -> dict[str, Any]:
    if classifier.class_names is None:
        raise ValueError("the classifier has no class names, so labels cannot be compared")
    texts, labels = texts_and_labels(examples, classifier.class_names)
    figures = classifier.evaluate(texts, labels, return_dict=True, verbose=0)
    return {"texts": len(examples), **{name: float(value) for name, value in figures.items()}}


def _encoder_preset(arguments: Namespace, output: Path) -> str:
    """The encoder as a preset: as it is, or converted into the output folder."""
    source = arguments.encoder
    if source is not None and _is_preset(Path(source)):
        return source
    folder = output / "encoder"
    # A folder from before may hold another encoder; only a run that goes on needs that one.
    if not (arguments.resume and folder.exists()):
        convert_encoder(default_encoder() if source is None else source, folder, overwrite=True)
    return str(folder)


def convert_encoder(source: str | Path, destination: Path, overwrite: bool = False) -> None:
    """Converts what an encoder may come as: a SavedModel too, which `convert` does not know."""
    if is_saved_model(Path(source)):
        convert_saved_model(source, destination, overwrite)
    else:
        convert(source, destination, overwrite)


def _is_preset(folder: Path) -> bool:
    return (folder / CONFIG_FILE).is_file() and is_preset(read_config(folder))


def _require_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")


def _settings(of: Any, arguments: Namespace) -> Any:
    return of(**{field.name: getattr(arguments, field.name) for field in fields(of)})


def _write_line(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _columns(arguments: Namespace) -> dict[str, str | None]:
    names = ("text_column", "pair_column", "label_column")
    return {name: getattr(arguments, name) for name in names}
