"""Checkpoints on disk: what was written comes back, or is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from spanbert_tf.training.step_checkpoints import DamagedCheckpoint, StepCheckpoints


def _tensors(step: int) -> dict[str, np.ndarray]:
    return {"kernel": np.full((2, 3), step, np.float32), "seed": np.array([step, 1], np.uint32)}


@pytest.fixture
def checkpoints(tmp_path: Path) -> StepCheckpoints:
    checkpoints = StepCheckpoints(tmp_path / "checkpoints", keep=2)
    for step in (10, 20, 30):
        checkpoints.save(step, _tensors(step), {"step": step, "place": (1, step)})
    return checkpoints


def _damage(checkpoints: StepCheckpoints, step: int, name: str = "tensors.safetensors") -> None:
    path = checkpoints.folder / f"step-{step:08d}" / name
    path.write_bytes(path.read_bytes()[:-1])


def test_the_last_one_comes_back(checkpoints: StepCheckpoints):
    tensors, record = checkpoints.restore()
    assert record["step"] == 30
    assert record["place"] == [1, 30]
    for name, expected in _tensors(30).items():
        np.testing.assert_array_equal(tensors[name], expected, strict=True)


def test_only_the_last_ones_are_kept(checkpoints: StepCheckpoints):
    assert checkpoints.steps == [20, 30]


def test_there_is_none(tmp_path: Path):
    assert StepCheckpoints(tmp_path / "nowhere", keep=1).restore() is None


@pytest.mark.parametrize("name", ["tensors.safetensors", "checkpoint.json"])
def test_a_damaged_one_is_left_out(checkpoints: StepCheckpoints, name: str):
    _damage(checkpoints, 30, name)
    with pytest.warns(UserWarning, match="left out a damaged checkpoint: .*step-00000030"):
        _, record = checkpoints.restore()
    assert record["step"] == 20


def test_a_flipped_bit_is_noticed(checkpoints: StepCheckpoints):
    path = checkpoints.folder / "step-00000030" / "tensors.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=r"its SHA-256 is \w+, but \w+ was written"):
        assert checkpoints.restore()[1]["step"] == 20


def test_all_are_damaged(checkpoints: StepCheckpoints):
    _damage(checkpoints, 20)
    (checkpoints.folder / "step-00000030" / "checkpoint.json").write_text(json.dumps({"step": 30}))
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(DamagedCheckpoint, match=r"none of the checkpoints .* can be used: .*30.*20"),
    ):
        checkpoints.restore()


def test_leftovers_of_killed_processes_go(checkpoints: StepCheckpoints):
    hidden = "0a1b2c3d4e5f6071"
    for name in (f".incomplete-{hidden}-step-00000040", f".replaced-{hidden}-step-00000030"):
        (checkpoints.folder / name).mkdir()
        (checkpoints.folder / name / "tensors.safetensors").write_bytes(b"half")
    checkpoints.clean()
    names = sorted(path.name for path in checkpoints.folder.iterdir())
    assert names == ["step-00000020", "step-00000030"]


def test_a_checkpoint_of_the_same_step_is_replaced(checkpoints: StepCheckpoints):
    checkpoints.save(30, _tensors(31), {"step": 30})
    np.testing.assert_array_equal(checkpoints.restore()[0]["kernel"], _tensors(31)["kernel"])
    assert checkpoints.steps == [20, 30]
