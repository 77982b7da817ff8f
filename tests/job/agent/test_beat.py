"""How long a peer's heartbeat has stood still, by the clock of who looks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.job.agent.heartbeat import UNSEEN, Stillness


@pytest.fixture
def clock() -> list[float]:
    return [100.0]


@pytest.fixture
def look(clock: list[float]) -> Callable[[float, int], float]:
    stillness = Stillness(lambda: clock[0])

    def after(seconds: float, value: int) -> float:
        clock[0] += seconds
        return stillness.seconds("node 1", value)

    return after


def test_a_value_stands_still_for_the_time_in_which_it_was_looked_at(look: Callable[[float, int], float]) -> None:
    assert look(0, 1) == 0.0
    assert [look(1, 1) for _ in range(40)][-1] == pytest.approx(40)
    assert look(1, 2) == 0.0
    assert look(3, 2) == 3.0


def test_a_pause_of_the_one_who_looks_is_not_the_others_silence(look: Callable[[float, int], float]) -> None:
    look(0, 1)
    assert look(600, 1) == UNSEEN, "the file system hung for both, or this process was stopped"
    assert look(1, 1) == UNSEEN + 1
    assert look(1, 2) == 0.0


def test_values_are_told_apart(clock: list[float]) -> None:
    stillness = Stillness(lambda: clock[0])
    stillness.seconds("node 1", 7)
    clock[0] += 2
    assert (stillness.seconds("node 2", 7), stillness.seconds("node 1", 7)) == (0.0, 2.0)
