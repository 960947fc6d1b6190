"""What a fine-tuning run chooses where its settings leave it open, by encoder and data."""

from dataclasses import asdict, replace
from typing import TypeVar

from spanbert_tf.settings import FineTuning

# `benchmarks/default_recipes.py` measures what these come to.
WIDTH, RATE = 384, 2e-4  # The learning rate falls with the square of the encoder's width,
HIGHEST_RATE = 5e-4  # and is not above this.
HEAD_FACTOR = 5  # A new head has further to go than an encoder that is trained.
LORA_FACTOR = 5  # So has an adapter, which begins at zero.
STEPS = 2_500
EPOCHS = (2, 20)

_S = TypeVar("_S", bound=FineTuning)


def choose_settings(settings: _S, hidden_dim: int, rows: int) -> _S:
    """Fills in epochs and learning rates where they are `None`.

    Args:
        settings: Those of the run.
        hidden_dim: The encoder's width.
        rows: Rows of an epoch.

    Returns:
        Settings of which none of the three is `None`.
    """
    epochs, rate, head_rate = (
        settings.epochs,
        settings.learning_rate,
        settings.head_learning_rate,
    )
    if epochs is None:
        fewest, most = EPOCHS
        steps_an_epoch = -(-rows // settings.batch_size)
        epochs = min(max(round(STEPS / max(steps_an_epoch, 1)), fewest), most)
    if rate is None:
        rate = min(RATE * (WIDTH / hidden_dim) ** 2, HIGHEST_RATE)
        head_rate = head_rate or HEAD_FACTOR * rate
        if settings.lora_rank is not None:
            rate *= LORA_FACTOR
    return replace(
        settings, epochs=epochs, learning_rate=rate, head_learning_rate=head_rate or rate
    )


def what_was_chosen(before: FineTuning, after: FineTuning) -> str:
    """Such as `epochs 9, learning rate 0.0002`; empty where nothing was left open."""
    given = asdict(before)
    return ", ".join(
        f"{name.replace('_', ' ')} {value:g}"
        for name, value in asdict(after).items()
        if given[name] is None and value is not None
    )
