"""ONNX Runtime as a side of a benchmark: transformers' BERT, exported and fused for it.

Each subcommand is a workload; the benchmark of the same claim says what it is.  float32 alone: the
runtime has no bfloat16 products on a CPU.
"""

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import transformers
from _protocol import serve
from _texts import best_batch_size, read_texts, sorted_vectors
from onnx import TensorProto
from onnxruntime.quantization import quantize_dynamic
from onnxruntime.transformers import optimizer

PACKAGES = ("onnxruntime",)
INPUTS = ("input_ids", "attention_mask")


class Output(torch.nn.Module):
    """One output of a model, of `INPUTS` alone."""

    def __init__(self, model: transformers.PreTrainedModel, name: str) -> None:
        super().__init__()
        self.model, self.name = model, name

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Computes it from int64 `[b, s]`."""
        return self.model(input_ids=input_ids, attention_mask=attention_mask)[self.name]


def session_of(
    model: transformers.PreTrainedModel, output: str, int8: bool = False
) -> onnxruntime.InferenceSession:
    """Exports a model, fuses attention, GELU and layer norms, and loads it.

    Args:
        model: With eager attention: that and the tracing exporter are what the fusions know.
        output: Name of the output that is wanted.
        int8: Whether weights become int8, the runtime's dynamic quantization.
    """
    example = torch.ones((2, 16), dtype=torch.int64)
    with tempfile.TemporaryDirectory() as folder:
        exported, fused, quantized = (
            Path(folder) / f"{name}.onnx" for name in ("model", "fused", "quantized")
        )
        torch.onnx.export(
            Output(model, output).eval(),
            (example, example),
            str(exported),
            input_names=list(INPUTS),
            output_names=[output],
            dynamic_axes={name: {0: "batch", 1: "length"} for name in INPUTS},
            dynamo=False,
        )
        config = model.config
        optimized = optimizer.optimize_model(
            str(exported), "bert", config.num_attention_heads, config.hidden_size
        )
        attentions = optimized.get_fused_operator_statistics()["Attention"]
        assert attentions == config.num_hidden_layers, "attention was not fused"
        optimized.save_model_to_file(str(fused))
        if int8:
            # Fused operators hide the types of what follows them.
            types = {"DefaultTensorType": TensorProto.FLOAT}
            quantize_dynamic(fused, quantized, extra_options=types)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = os.cpu_count() or 1
        return onnxruntime.InferenceSession(
            str(quantized if int8 else fused), options, providers=["CPUExecutionProvider"]
        )


def forward(arguments: argparse.Namespace) -> None:
    """A forward pass of an encoder of BERT's base size over random word pieces."""
    model = transformers.BertModel(
        transformers.BertConfig(vocab_size=arguments.vocabulary, attn_implementation="eager"),
        add_pooling_layer=False,
    )
    session = session_of(model, "last_hidden_state")
    shape = (arguments.batch, arguments.length)
    input_ids = np.random.default_rng(0).integers(0, arguments.vocabulary, shape, np.int64)
    feeds = {"input_ids": input_ids, "attention_mask": np.ones_like(input_ids)}
    serve(lambda: session.run(None, feeds), *PACKAGES)


def vectors(arguments: argparse.Namespace) -> None:
    """Mean-pooled vectors of texts in batches of like length."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(arguments.checkpoint)
    model = transformers.BertModel.from_pretrained(
        arguments.checkpoint, attn_implementation="eager", add_pooling_layer=False
    )
    session = session_of(model, "last_hidden_state")

    def encode(input_ids: np.ndarray, attention_mask: np.ndarray) -> np.ndarray:
        feeds = {"input_ids": input_ids, "attention_mask": attention_mask}
        (states,) = session.run(None, feeds)
        mask = attention_mask.astype(np.float32)
        return np.einsum("bsh,bs->bh", states, mask) / mask.sum(1, keepdims=True)

    texts = read_texts(arguments.texts)
    batch_size = best_batch_size(texts, tokenizer, encode)
    np.save(arguments.vectors, sorted_vectors(texts, tokenizer, encode, batch_size))
    serve(
        lambda: sorted_vectors(texts, tokenizer, encode, batch_size),
        *PACKAGES,
        batch_size=batch_size,
    )


def sentence(arguments: argparse.Namespace) -> None:
    """Labels one text: tokenizer, session, softmax."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(arguments.checkpoint)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        arguments.checkpoint, attn_implementation="eager"
    )
    names = model.config.id2label
    session = session_of(model, "logits", arguments.int8)

    def classify() -> dict[str, object]:
        encoded = tokenizer([arguments.text], return_tensors="np")
        feeds = {name: encoded[name].astype(np.int64) for name in INPUTS}
        ((logits,),) = session.run(None, feeds)
        powers = np.exp(logits - logits.max())
        best = int(powers.argmax())
        return {"label": names[best], "score": float(powers[best] / powers.sum())}

    serve(classify, *PACKAGES, calls=arguments.calls)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    for run in (forward, vectors, sentence):
        command = commands.add_parser(run.__name__)
        command.set_defaults(run=run)
        if run is forward:
            for name in ("--batch", "--length", "--vocabulary"):
                command.add_argument(name, type=int, required=True)
        else:
            command.add_argument("checkpoint")
        if run is vectors:
            command.add_argument("texts", help="a JSON file")
            command.add_argument("vectors", help="the .npy file to write")
        if run is sentence:
            command.add_argument("text")
            command.add_argument("calls", type=int)
            command.add_argument("--int8", action="store_true")
    arguments = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
