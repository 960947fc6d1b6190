"""Makes `bert.npz`: a tiny random BERT, inputs, and what the Hugging Face library makes of them.

The outputs are computed in float64.  Machines without PyTorch, and other Keras backends, are tested
against the file.  Run from the repository's root:

    python -m tests.goldens.make_goldens
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers

from tests.checkpoints.foreign_folders import (
    CONFIG,
    random_inputs,
    random_tensors,
    write_checkpoint,
)

GOLDEN = Path(__file__).parent / "bert.npz"


def main() -> None:
    """Writes the file."""
    tensors = random_tensors(CONFIG, seed=2024)
    inputs = random_inputs(CONFIG, batch=3, length=CONFIG["max_position_embeddings"], seed=2024)
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder), tensors)
        model = transformers.BertModel.from_pretrained(folder, dtype=torch.float64).eval()
    with torch.no_grad():
        output = model(
            torch.tensor(inputs["token_ids"]),
            token_type_ids=torch.tensor(inputs["segment_ids"]),
            attention_mask=torch.tensor(inputs["padding_mask"]),
        ).last_hidden_state.numpy()
    arrays = {**{f"tensors/{k}": t for k, t in tensors.items()}, **inputs}
    np.savez_compressed(GOLDEN, **arrays, sequence_output=output.astype("float32"))


if __name__ == "__main__":
    main()
