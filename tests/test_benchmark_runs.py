"""Comparisons of trainings that are stopped and gone on with."""

from argparse import Namespace
from pathlib import Path

import pytest
from _recipes import Runs, compare


def test_a_comparison_goes_on_where_it_was_stopped(tmp_path: Path):
    trained = []

    def side(name: str, most: int):
        def train(rate: float, seed: int) -> tuple[float, float]:
            if len(trained) == most:
                raise KeyboardInterrupt
            trained.append((name, rate, seed))
            return rate + seed / 10, 1.0 + seed

        return train

    arguments = Namespace(rates=[0.1, 0.3], seeds=2, resume=tmp_path / "kept" / "runs.jsonl")
    with pytest.raises(KeyboardInterrupt):
        compare("data", {"a": side("a", 4), "b": side("b", 4)}, arguments)
    figures, seconds = compare("data", {"a": side("a", 9), "b": side("b", 9)}, arguments)
    of_each = [(0.1, 0), (0.3, 0), (0.3, 1)]
    assert trained == [(name, *of) for name in "ab" for of in of_each]
    assert {name: of.tolist() for name, of in figures.items()} == {
        "a": pytest.approx([0.3, 0.4]),
        "b": pytest.approx([0.3, 0.4]),
    }
    assert seconds["a"].tolist() == seconds["b"].tolist() == [1, 2]


def test_without_a_file_nothing_is_kept(tmp_path: Path):
    assert Runs(None)("one", lambda: 1) == 1
    assert Runs(None)("one", lambda: 2) == 2
    assert not [*tmp_path.iterdir()]
