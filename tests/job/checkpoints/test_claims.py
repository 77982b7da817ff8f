"""Who may make the next generation, from what, and how failures are counted."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from orchestrator.job.checkpoints import claiming, generations
from orchestrator.job.protocol import files as protocol_files
from orchestrator.job.protocol.files import generations_dir
from orchestrator.job.system.atomic import read_json, reserve, write_reserved
from tests.job.checkpoints import history

CONTENDERS = 20
RACE = """
import sys, time
from pathlib import Path
root, number, go = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
from orchestrator.job.checkpoints import claiming, generations
from orchestrator.job.protocol.records import Claim
from orchestrator.job.system import atomic
(go / str(number)).touch()
while not (go / "go").exists():
    time.sleep(0.001)
"""


def race(tmp_path: Path, act: str, count: int) -> list[str]:
    """What `count` real processes print that do `act` at the same moment."""
    root, go = tmp_path / "root", tmp_path / "go"
    root.mkdir()
    go.mkdir()
    argv = [sys.executable, "-c", RACE + textwrap.dedent(act), str(root)]
    racers = [
        subprocess.Popen([*argv, str(number), str(go)], stdout=subprocess.PIPE, text=True) for number in range(count)
    ]
    while len(list(go.iterdir())) < count:
        assert all(racer.poll() is None for racer in racers)
        time.sleep(0.01)
    (go / "go").touch()
    return [racer.communicate()[0].strip() for racer in racers]


def test_of_twenty_processes_that_want_one_generation_exactly_one_has_it(tmp_path: Path) -> None:
    act = """
    claim = Claim(generation=1, run="toy", run_id="id", attempt=1, start=str(number), nodes=1,
        address="here", port=1, time=time.time())
    print(generations.write_claim(root, claim))
    """
    words = race(tmp_path, act, CONTENDERS)
    assert sorted(words) == ["False"] * (CONTENDERS - 1) + ["True"]
    claim = generations.newest_claim(tmp_path / "root")
    assert claim is not None
    assert claim.start == str(words.index("True"))
    assert [path.name for path in (tmp_path / "root/generations").iterdir()] == ["000001.json"], (
        "and nothing is left over"
    )


def test_of_twenty_starts_at_once_each_has_a_generation_of_its_own_or_is_fenced(tmp_path: Path) -> None:
    act = """
    try:
        print(claiming.claim(root, claiming.Request(run="toy", run_id="id", attempt=1, start=str(number), nodes=1,
            address="here", port=1, max_failures=100)).generation)
    except claiming.Refused as refused:
        print(refused.cause)
    """
    words = race(tmp_path, act, CONTENDERS)
    won = sorted(int(word) for word in words if word != "fenced")
    assert won == [claim.generation for claim in generations.claims(tmp_path / "root")] == list(range(1, len(won) + 1))


def test_a_new_start_of_the_attempt_never_loses_its_turn_to_an_older_one(tmp_path: Path) -> None:
    for number in range(25):
        root = tmp_path / str(number)
        history.claim(root, start="7.0")
        zombie = threading.Thread(target=_claim_if_possible, args=(root,))
        zombie.start()
        made = history.claim(root, start="7.1")
        zombie.join()
        assert made.start == "7.1"
        assert generations.newest_claim(root) == made


def _claim_if_possible(root: Path) -> None:
    try:
        history.claim(root, start="7.0", follows=1)
    except claiming.Refused:
        return


@pytest.mark.parametrize("create", ["create_json", "create_in_place"])
def test_an_exclusive_create_has_one_winner_and_its_content(tmp_path: Path, create: str) -> None:
    words = race(tmp_path, f"print(atomic.{create}(root / 'record.json', dict(winner=number)))", 8)
    assert words.count("True") == 1
    assert read_json(tmp_path / "root/record.json") == {"winner": words.index("True")}


def test_a_claim_by_an_older_attempt_is_refused(tmp_path: Path) -> None:
    history.claim(tmp_path, attempt=2, start="new")
    with pytest.raises(claiming.Refused) as refused:
        history.claim(tmp_path, attempt=1, start="old")
    assert refused.value.cause == "fenced"
    assert generations.newest_number(tmp_path) == 1


def test_a_start_that_was_overtaken_while_its_generation_ended_is_fenced(tmp_path: Path) -> None:
    history.claim(tmp_path, start="one")
    history.claim(tmp_path, start="two")
    with pytest.raises(claiming.Refused) as refused:
        history.claim(tmp_path, start="one", follows=1)
    assert refused.value.cause == "fenced"


def test_a_finished_run_is_not_claimed_again(tmp_path: Path) -> None:
    made = history.claim(tmp_path)
    (protocol_files.generation_dir(tmp_path, made.generation) / "success.json").write_text("{}")
    with pytest.raises(claiming.Refused) as refused:
        history.claim(tmp_path, attempt=2)
    assert refused.value.cause == "finished"


@pytest.mark.parametrize("content", [b"", b'{"generation": 2, "run": "to', b"\0" * 400, b"[]", b'{"generation": 2}'])
def test_a_torn_claim_takes_its_number_and_changes_nothing_else(tmp_path: Path, content: bytes) -> None:
    history.claim(tmp_path)
    history.commit(tmp_path, 1, 10)
    (generations_dir(tmp_path) / "000002.json").write_bytes(content)
    newest = generations.newest_claim(tmp_path)
    assert newest is not None
    assert newest.generation == 1
    made = history.claim(tmp_path)
    assert made.generation == 3
    assert history.sealed_steps(made) == [10]


def test_a_run_that_never_saved_starts_at_step_0(tmp_path: Path) -> None:
    history.claim(tmp_path)
    history.save(tmp_path, 1, 10)
    made = history.claim(tmp_path)
    assert (made.resume, made.sealed, made.progress) == (None, (), False)


def test_a_run_whose_checkpoints_are_all_damaged_stops_and_asks(tmp_path: Path) -> None:
    history.claim(tmp_path)
    (history.commit(tmp_path, 1, 10) / "latest").unlink()
    with pytest.raises(claiming.Refused) as refused:
        history.claim(tmp_path, attempt=2)
    assert refused.value.cause == "no_proven_checkpoint"
    assert "latest is missing" in refused.value.because
    assert "--from-scratch" in refused.value.because
    assert generations.newest_number(tmp_path) == 1, "nothing was claimed"


def test_from_scratch_is_obeyed_once_and_holds_until_the_next_checkpoint(tmp_path: Path) -> None:
    history.claim(tmp_path)
    (history.commit(tmp_path, 1, 10) / "latest").unlink()
    made = history.claim(tmp_path, attempt=2, from_scratch=True)
    assert (made.resume, made.sealed, made.progress) == (None, (), False)
    after_crash = history.claim(tmp_path, attempt=2, follows=made.generation, from_scratch=True)
    assert after_crash.resume is None
    history.commit(tmp_path, after_crash.generation, 5)
    requeued = history.claim(tmp_path, attempt=2, start="requeued", from_scratch=True)
    assert requeued.resume is not None
    assert requeued.resume.step == 5


def test_from_scratch_is_obeyed_in_an_attempt_that_was_refused_without_it(tmp_path: Path) -> None:
    history.claim(tmp_path)
    (history.commit(tmp_path, 1, 10) / "latest").unlink()
    with pytest.raises(claiming.Refused):
        history.claim(tmp_path, start="by hand")
    made = history.claim(tmp_path, start="by hand again", from_scratch=True)
    assert (made.resume, made.asked) == (None, "from-scratch")


def test_from_step_goes_back_and_what_was_newer_counts_no_more(tmp_path: Path) -> None:
    history.claim(tmp_path)
    for step in (10, 20, 30):
        history.commit(tmp_path, 1, step)
    made = history.claim(tmp_path, attempt=2, from_step=20)
    assert made.resume is not None
    assert (made.resume.step, history.sealed_steps(made)) == (20, [20, 10])
    history.commit(tmp_path, 2, 25)
    again = history.claim(tmp_path, attempt=2, start="requeued", from_step=20)
    assert history.sealed_steps(again) == [25, 20, 10]


def test_from_a_step_that_has_no_proven_checkpoint_names_those_that_have_one(tmp_path: Path) -> None:
    history.claim(tmp_path)
    history.commit(tmp_path, 1, 10)
    (history.commit(tmp_path, 1, 20) / "latest").unlink()
    with pytest.raises(claiming.Refused, match=r"step 20 \(latest is missing\); there are: 10"):
        history.claim(tmp_path, attempt=2, from_step=20)


def test_the_newest_proven_checkpoint_is_chosen_and_the_damaged_one_named(tmp_path: Path) -> None:
    history.claim(tmp_path)
    history.commit(tmp_path, 1, 10)
    shard = history.commit(tmp_path, 1, 20) / "global_step" / "shard-1.pt"
    shard.write_text(shard.read_text().replace("one", "two"))
    made = history.claim(tmp_path)
    assert made.resume is not None
    assert made.resume.path == "generations/000001/checkpoints/checkpoint-10"
    assert [entry.path for entry in made.rejected] == ["generations/000001/checkpoints/checkpoint-20"]
    assert "global_step/shard-1.pt has other content" in made.rejected[0].why


def test_failures_count_generations_without_a_word_and_progress_resets_them(tmp_path: Path) -> None:
    assert history.claim(tmp_path).failures == 0
    assert history.claim(tmp_path).failures == 1, "generation 1 was lost"
    history.end(tmp_path, 2, "failed")
    assert history.claim(tmp_path).failures == 2
    history.end(tmp_path, 3, "stopped")
    assert history.claim(tmp_path).failures == 2, "to be asked to stop is no failure"
    history.commit(tmp_path, 4, 10)
    assert history.claim(tmp_path).failures == 0


def test_stops_are_counted_apart_from_failures_until_there_is_progress_or_somebody_decides_anew(tmp_path: Path) -> None:
    for number, result in enumerate(("stopped", "failed", "stopped"), 1):
        history.claim(tmp_path, start=f"job.{number}")
        history.end(tmp_path, number, result)
    made = history.claim(tmp_path, start="job.4")
    assert (made.stops, made.failures) == (2, 1)
    history.end(tmp_path, 4, "failed", cause="asked_to_stop", retry=False)
    assert history.claim(tmp_path, attempt=2).stops == 0
    history.end(tmp_path, 5, "stopped")
    assert history.claim(tmp_path, attempt=2).stops == 1
    history.commit(tmp_path, 6, 10)
    history.end(tmp_path, 6, "stopped")
    assert history.claim(tmp_path, attempt=2).stops == 0


def test_a_spent_budget_is_refused_until_somebody_decides_on_another_attempt(tmp_path: Path) -> None:
    for _ in range(3):
        history.claim(tmp_path, max_failures=2)
    with pytest.raises(claiming.Refused) as refused:
        history.claim(tmp_path, max_failures=2)
    assert refused.value.cause == "agent_lost"
    assert "3 failures in a row" in refused.value.because
    with pytest.raises(claiming.Refused):
        history.claim(tmp_path, max_failures=2, start="requeued by the scheduler")
    assert history.claim(tmp_path, max_failures=2, attempt=2).failures == 0


def test_an_attempt_after_a_budget_spent_without_a_word_counts_anew(tmp_path: Path) -> None:
    for _ in range(2):
        history.claim(tmp_path, max_failures=1)
    made = history.claim(tmp_path, max_failures=1, attempt=2)
    assert (made.generation, made.failures) == (3, 0)
    outcome = generations.read_outcome(tmp_path, 2)
    assert outcome is not None
    assert (outcome.cause, outcome.attempt, outcome.failures) == ("agent_lost", 1, 2)
    assert history.claim(tmp_path, max_failures=1, attempt=3).failures == 1, "a budget that is not spent goes on"


def test_an_attempt_that_failed_for_good_is_not_taken_up_by_its_own_requeue(tmp_path: Path) -> None:
    history.claim(tmp_path)
    history.end(tmp_path, 1, "failed", cause="user_error", because="the same error twice", retry=False)
    with pytest.raises(claiming.Refused) as refused:
        history.claim(tmp_path, start="requeued")
    assert (refused.value.cause, "the same error twice" in refused.value.because) == ("user_error", True)
    assert history.claim(tmp_path, attempt=2).generation == 2


def test_what_was_reserved_can_be_written_and_is_exclusive(tmp_path: Path) -> None:
    path = tmp_path / "outcome.json"
    reserve(path, 4096)
    assert write_reserved(path, {"result": "failed"})
    assert read_json(path) == {"result": "failed"}
    assert path.stat().st_size < 100
    assert not write_reserved(path, {"result": "success"})
    assert read_json(path) == {"result": "failed"}
