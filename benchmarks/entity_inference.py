"""Text to entities: texts a second of one and the same model, here and in transformers.

    python benchmarks/entity_inference.py [--rounds 5] [--texts 300]

A token classifier is fine-tuned for three epochs on WNUT-17, exported as a SavedModel and for
LiteRT, also with weights of int8, and written as a Hugging Face checkpoint, which transformers'
token-classification pipeline loads in a process of its own: float32, all cores, at the best of
three batch sizes.  The texts are sentences of WNUT's dev part.  What both find is compared too;
ours never lets an entity begin with an I- tag.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from _peers import Peer, peers_python
from _support import Goal, data_folder, machine, median_ratio, report_goals, time_in_turn

import spanbert_tf
from spanbert_tf.data.readers.entities import read_entities
from spanbert_tf.handles import default_encoder
from spanbert_tf.tasks.token_classifier import SpanBertTokenClassifier, TokenClassification
from spanbert_tf.training import finetune

SERVED, LITERT = "spanbert_tf, SavedModel", "spanbert_tf, LiteRT"
LITERT_INT8, PIPELINE = "spanbert_tf, LiteRT int8", "transformers pipeline"
GOAL = 3.0


def write_checkpoint(classifier: SpanBertTokenClassifier, folder: Path) -> None:
    """Writes the model as a checkpoint of transformers' `BertForTokenClassification`."""
    from safetensors.numpy import load_file, save_file

    spanbert_tf.save_hugging_face(
        classifier.backbone, classifier.preprocessor.tokenizer, folder, overwrite=True
    )
    weights = load_file(folder / "model.safetensors")
    kernel, bias = (variable.numpy() for variable in classifier.output_dense.weights)
    # A checkpoint of an encoder alone has no prefix.
    weights = {f"bert.{name.removeprefix('bert.')}": value for name, value in weights.items()}
    weights |= {"classifier.weight": kernel.T.copy(), "classifier.bias": bias}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    names = ["O", *(f"{kind}-{group}" for group in classifier.entity_groups for kind in "BI")]
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "architectures": ["BertForTokenClassification"],
        "id2label": dict(enumerate(names)),
        "label2id": {name: number for number, name in enumerate(names)},
    }
    (folder / "config.json").write_text(json.dumps(config))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=300)
    arguments = parser.parse_args()

    train, dev = (read_entities(data_folder() / "wnut17" / f"{p}.conll") for p in ("train", "dev"))
    texts = [record.text for record in dev[:: max(len(dev) // arguments.texts, 1)]]
    texts = texts[: arguments.texts]
    settings = TokenClassification(
        epochs=3, learning_rate=2e-4, head_learning_rate=1e-3, sequence_length=128
    )
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        run = finetune(
            settings,
            train,
            task="token-classification",
            encoder=default_encoder(),
            output=folder / "preset",
            verbose=0,
        )
        spanbert_tf.export_task(run.model, folder / "served")
        spanbert_tf.export_litert(run.model, folder / "litert")
        spanbert_tf.export_litert(run.model, folder / "int8", weights="int8")
        ours = {
            SERVED: spanbert_tf.load_task(folder / "served"),
            LITERT: spanbert_tf.load_task(folder / "litert"),
            LITERT_INT8: spanbert_tf.load_task(folder / "int8"),
        }
        sides = {name: (lambda side=side: side(texts)) for name, side in ours.items()}
        found = {name: entities_of(side(texts)) for name, side in ours.items()}
        python = peers_python(PIPELINE)
        versions = []
        if python:
            write_checkpoint(run.model, folder / "checkpoint")
            (folder / "texts.json").write_text(json.dumps(texts))
            options = ("entities", folder / "checkpoint", folder / "texts.json")
            peer = sides[PIPELINE] = Peer("torch_side.py", *options, python=python)
            found[PIPELINE] = {
                (text, *entity) for text, of in enumerate(peer.facts["found"]) for entity in of
            }
            versions = [peer.facts["versions"], f"batches of {peer.facts['batch_size']}"]
        print("; ".join([machine("tensorflow", "keras"), *versions]), flush=True)
        seconds = time_in_turn(sides, arguments.rounds, warm_ups=1)

    title = f"{len(texts)} texts to entities"
    print(f"{title:<28}{'texts/s':>9}{'entities':>10}{'as SavedModel':>15}")
    for name, values in seconds.items():
        same = len(found[name] & found[SERVED]) / max(len(found[name] | found[SERVED]), 1)
        rate = len(texts) / sorted(values)[len(values) // 2]
        print(f"{name:<28}{rate:>9,.0f}{len(found[name]):>10}{same:>15.1%}")
    return report_goals(
        Goal(
            f"text to entities, {name}, against the pipeline",
            median_ratio(seconds[PIPELINE], seconds[name]) if python else None,
            GOAL,
        )
        for name in ours
    )


def entities_of(answers: list) -> set[tuple[int, int, int, str]]:
    """All entities, each with the number of its text."""
    return {(text, e.start, e.end, e.entity_group) for text, of in enumerate(answers) for e in of}


if __name__ == "__main__":
    sys.exit(main())
