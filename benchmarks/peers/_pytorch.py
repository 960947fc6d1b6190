"""What the peers in PyTorch begin with."""

import os

import torch
import transformers


def use_all_cores_quietly() -> None:
    """PyTorch has all cores, and transformers neither messages nor progress bars."""
    torch.set_num_threads(os.cpu_count() or 1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
