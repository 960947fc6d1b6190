"""sentence-transformers as a side of a benchmark: training on pairs, at its best.

Each batch's pairs are of like length, and each column is padded on its own.
"""

import argparse
import json
from pathlib import Path

import torch
from _protocol import serve
from _pytorch import use_all_cores_quietly
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

PACKAGES = ("torch", "transformers", "sentence-transformers")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("batches", type=Path, help="a JSON file: of each batch its two columns")
    parser.add_argument("--length", type=int, required=True, help="the most tokens of a text")
    parser.add_argument("--temperature", type=float, required=True)
    parser.add_argument("--learning-rate", type=float, required=True)
    arguments = parser.parse_args()
    use_all_cores_quietly()

    batches = json.loads(arguments.batches.read_text("utf-8"))
    model = SentenceTransformer(arguments.checkpoint, device="cpu")
    model.max_seq_length = arguments.length
    loss = MultipleNegativesRankingLoss(model, scale=1 / arguments.temperature)
    model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(), arguments.learning_rate, eps=1e-8, weight_decay=0.01, fused=True
    )

    def run() -> None:
        for columns in batches:
            loss([model.preprocess(texts) for texts in columns], torch.empty(0)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

    serve(run, *PACKAGES)


if __name__ == "__main__":
    main()
