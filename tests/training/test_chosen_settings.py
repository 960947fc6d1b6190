"""What a run chooses for itself where its settings leave it open."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanbert_tf.settings import CoreferenceResolution, FineTuning, TextClassification
from spanbert_tf.tasks import task_class
from spanbert_tf.training.chosen_settings import EPOCHS, choose_settings, what_was_chosen
from spanbert_tf.training.fine_tuning import settings_of


@pytest.mark.parametrize(
    ("hidden_dim", "rows", "lora_rank", "expected"),
    [
        (384, 8_000, None, (10, 2e-4, 1e-3)),  # 250 steps an epoch
        (768, 8_000, None, (10, 5e-5, 2.5e-4)),
        (1024, 8_000, None, (10, 2.8125e-5, 1.40625e-4)),
        (128, 8_000, None, (10, 5e-4, 2.5e-3)),
        (384, 60_000, None, (2, 2e-4, 1e-3)),
        (384, 100, None, (20, 2e-4, 1e-3)),
        (384, 8_000, 16, (10, 1e-3, 1e-3)),
    ],
)
def test_by_width_and_rows(hidden_dim, rows, lora_rank, expected):
    chosen = choose_settings(FineTuning(lora_rank=lora_rank), hidden_dim, rows)
    found = chosen.epochs, chosen.learning_rate, chosen.head_learning_rate
    assert found == pytest.approx(expected)


@given(
    st.sampled_from([None, 1, 7]),
    st.sampled_from([None, 3e-5]),
    st.sampled_from([None, 2e-3]),
    st.integers(16, 4096),
    st.integers(1, 10**7),
)
def test_what_is_given_stays(epochs, rate, head_rate, hidden_dim, rows):
    settings = FineTuning(epochs=epochs, learning_rate=rate, head_learning_rate=head_rate)
    chosen = choose_settings(settings, hidden_dim, rows)
    assert chosen.epochs == epochs or (epochs is None and EPOCHS[0] <= chosen.epochs <= EPOCHS[1])
    assert rate in (None, chosen.learning_rate)
    assert chosen.head_learning_rate == head_rate or head_rate is None
    if rate is not None and head_rate is None:  # One rate, as it was given.
        assert chosen.head_learning_rate == rate
    assert replace(chosen, epochs=None) == replace(
        settings,
        epochs=None,
        learning_rate=chosen.learning_rate,
        head_learning_rate=chosen.head_learning_rate,
    )


def test_it_is_said():
    settings = FineTuning(epochs=3)
    said = what_was_chosen(settings, choose_settings(settings, 384, 100))
    assert said == "learning rate 0.0002, head learning rate 0.001"


def test_settings_of_all_tasks_leave_a_tasks_own_defaults_alone():
    resolution = task_class("coreference-resolution")
    made = settings_of(resolution, FineTuning(seed=3, batch_size=2))
    assert made == CoreferenceResolution(seed=3, batch_size=2)
    with pytest.raises(ValueError, match=r"the class CoreferenceResolution for .*, got TextCl"):
        settings_of(resolution, TextClassification())
