"""transformers on PyTorch as a side of a benchmark, at its best: SDPA, inference mode, all cores.

Each subcommand is a workload; the benchmark of the same claim says what it is.
"""

import argparse
from collections.abc import Callable

import numpy as np
import torch
import transformers
from _protocol import fastest, serve
from _pytorch import use_all_cores_quietly
from _texts import SEQUENCE_LENGTH, best_batch_size, read_texts, sorted_vectors

PACKAGES = ("torch", "transformers")


def forward(arguments: argparse.Namespace) -> None:
    """A forward pass of an encoder of BERT's base size over random word pieces."""
    model = transformers.BertModel(
        transformers.BertConfig(vocab_size=arguments.vocabulary, attn_implementation="sdpa"),
        add_pooling_layer=False,
    )
    model = model.eval().to(getattr(torch, arguments.dtype))
    shape = (arguments.batch, arguments.length)
    input_ids = torch.randint(arguments.vocabulary, shape, generator=torch.manual_seed(0))
    attention_mask = torch.ones_like(input_ids)

    def run() -> None:
        with torch.inference_mode():
            model(input_ids=input_ids, attention_mask=attention_mask)

    serve(run, *PACKAGES)


def vectors(arguments: argparse.Namespace) -> None:
    """Mean-pooled vectors of texts in batches of like length."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(arguments.checkpoint)
    model = transformers.BertModel.from_pretrained(
        arguments.checkpoint,
        attn_implementation="sdpa",
        dtype=getattr(torch, arguments.dtype),
        add_pooling_layer=False,
    ).eval()

    def encode(input_ids: np.ndarray, attention_mask: np.ndarray) -> np.ndarray:
        mask = torch.from_numpy(attention_mask)
        with torch.inference_mode():
            states = model(input_ids=torch.from_numpy(input_ids), attention_mask=mask)[0].float()
            return ((states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)).numpy()

    texts = read_texts(arguments.texts)
    batch_size = best_batch_size(texts, tokenizer, encode)
    save_and_serve(
        lambda: sorted_vectors(texts, tokenizer, encode, batch_size), arguments, batch_size
    )


def pipeline_vectors(arguments: argparse.Namespace) -> None:
    """The same by the feature-extraction pipeline with its defaults.

    Long texts must be cut, and tensors are what its user would take the mean of.
    """
    extract = transformers.pipeline(
        "feature-extraction",
        arguments.checkpoint,
        framework="pt",
        tokenize_kwargs={"truncation": True, "max_length": SEQUENCE_LENGTH},
        return_tensors=True,
    )
    texts = read_texts(arguments.texts)

    def run() -> np.ndarray:
        return np.stack([states[0].mean(0).numpy() for states in extract(texts)])

    save_and_serve(run, arguments, 1)


def save_and_serve(
    run: Callable[[], np.ndarray], arguments: argparse.Namespace, batch_size: int
) -> None:
    np.save(arguments.vectors, run())
    serve(run, *PACKAGES, batch_size=batch_size)


def sentence(arguments: argparse.Namespace) -> None:
    """Labels one text by the text-classification pipeline."""
    classify = transformers.pipeline("text-classification", arguments.checkpoint)
    serve(lambda: classify(arguments.text), *PACKAGES, calls=arguments.calls)


def entities(arguments: argparse.Namespace) -> None:
    """Entities of texts by the token-classification pipeline, with the batch size that suits it."""
    find = transformers.pipeline(
        "token-classification", arguments.checkpoint, aggregation_strategy="simple"
    )
    texts = read_texts(arguments.texts)
    part = texts[:: max(len(texts) // 100, 1)]
    batch_size = fastest(lambda size: find(part, batch_size=size), (1, 8, 32))
    found = [
        [(entity["start"], entity["end"], entity["entity_group"]) for entity in of_text]
        for of_text in find(texts, batch_size=batch_size)
    ]
    serve(lambda: find(texts, batch_size=batch_size), *PACKAGES, batch_size=batch_size, found=found)


def training(arguments: argparse.Namespace) -> None:
    """Fine-tuning steps over ready-made batches, each padded to its longest row."""
    arrays = np.load(arguments.batches)
    batches = [
        tuple(torch.from_numpy(arrays[f"{name}_{number}"]) for name in ("ids", "mask", "labels"))
        for number in range(len(arrays.files) // 3)
    ]
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        arguments.checkpoint, num_labels=2, attn_implementation="sdpa"
    ).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), arguments.learning_rate, eps=1e-8, weight_decay=0.01, fused=True
    )
    steps = arguments.steps
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, steps // 10, steps)

    def run() -> None:
        for input_ids, attention_mask, labels in batches:
            model(input_ids=input_ids, attention_mask=attention_mask, labels=labels).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()

    serve(run, *PACKAGES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    for run in (forward, vectors, pipeline_vectors, sentence, entities, training):
        command = commands.add_parser(run.__name__)
        command.set_defaults(run=run)
        if run is forward:
            for name in ("--batch", "--length", "--vocabulary"):
                command.add_argument(name, type=int, required=True)
        else:
            command.add_argument("checkpoint")
        if run in (forward, vectors):
            command.add_argument("--dtype", default="float32")
        if run in (vectors, pipeline_vectors, entities):
            command.add_argument("texts", help="a JSON file")
        if run in (vectors, pipeline_vectors):
            command.add_argument("vectors", help="the .npy file to write")
        if run is sentence:
            command.add_argument("text")
            command.add_argument("calls", type=int)
        if run is training:
            command.add_argument("batches", help="a .npz file")
            command.add_argument("--learning-rate", type=float, required=True)
            command.add_argument("--steps", type=int, required=True)
    arguments = parser.parse_args()
    use_all_cores_quietly()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
