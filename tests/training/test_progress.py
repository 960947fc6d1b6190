"""Progress within an epoch, as lines."""

from spanbert_tf.cli.showing import counted
from spanbert_tf.training.progress import EpochLines


def lines_of(steps: int | None) -> list[str]:
    lines: list[str] = []
    callback = EpochLines(lines.append)
    callback.set_params({"steps": steps, "epochs": 3})
    callback.on_epoch_begin(1)
    for batch in range(steps or 50):
        callback.on_train_batch_end(batch, {"loss": 0.5})
    return lines


def test_a_line_at_each_tenth():
    lines = lines_of(1234)
    assert len(lines) == 9
    assert lines[0] == "epoch 2 of 3, step 123 of 1,234: loss 0.5000"
    assert lines_of(20)[-1] == "epoch 2 of 3, step 18 of 20: loss 0.5000"


def test_short_epochs_and_those_of_unknown_length_have_none():
    assert lines_of(19) == lines_of(1) == lines_of(None) == []


def test_one_shard():
    assert [counted(n, "shard") for n in (0, 1, 1200)] == ["0 shards", "1 shard", "1,200 shards"]
