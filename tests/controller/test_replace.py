"""Edit, run, edit: the same name with another job is told, and --replace goes on with the run, once."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.errors import JobError
from orchestrator.job.system import failpoints
from orchestrator.model.run import Phase, Run
from orchestrator.model.spec import Model, Secret, Training
from orchestrator.runs import changes, submit
from orchestrator.runs.prepare import Prepared
from tests.controller.bench import Bench, prepared, with_code
from tests.controller.test_kills import act, finish

POINTS = [name for name in failpoints.POINTS if name.startswith("replace.")]
ENDS = {"cancel_requested", "cancelled", "stopped", "succeeded", "failed", "resumed"}


def job(content: bytes = b"first = True\n") -> Prepared:
    return with_code(prepared("train 0.3", run_id="0123456789ab"), content)


def other(**changed: Any) -> Prepared:
    """The job of `job` with other keys."""
    before = job()
    return replace(before, spec=replace(before.spec, **changed), spec_digest="another")


def go_on(bench: Bench, with_job: Prepared) -> Run:
    def ended(name: str) -> bool:
        bench.until_end(name)
        return True

    return submit.replace_run(bench.store, bench.backend, with_job, bench.environment, ended=ended)


def told(bench: Bench, with_job: Prepared) -> str:
    with pytest.raises(JobError) as error:
        bench.submit(with_job)
    assert "--replace" in (error.value.hint or "")
    assert "--name" in (error.value.hint or "")
    return error.value.message


def test_a_changed_file_of_the_code_is_told_and_nothing_is_adopted(bench: Bench) -> None:
    bench.submit(job())
    assert told(bench, job(b"second = True\n")).endswith("): train.py changed")
    assert told(bench, prepared("train 0.3", run_id="0123456789ab")).endswith("): train.py is gone")
    assert bench.submit(job()).attempt == 1


def test_changed_keys_are_told_with_both_values_and_secrets_and_variables_by_name(bench: Bench) -> None:
    bench.submit(job())
    changed = other(run="train 0.4", env={"WANDB_RUN": "x-y-z"}, secrets={"TOKEN": Secret(env="MY_TOKEN")})
    message = told(bench, changed)
    assert message.endswith("): env.WANDB_RUN is new; run: train 0.3 -> train 0.4; secrets.TOKEN.env is new")


def test_what_must_stay_is_refused_before_anything_is_cancelled(bench: Bench) -> None:
    bench.submit(job())
    with pytest.raises(JobError, match="the checkpoints are of the model as it was") as error:
        go_on(bench, other(run=None, model=Model(path="a/b"), training=Training(steps=9)))
    assert "training.learning_rate" in (error.value.hint or "")
    assert "cancel_requested" not in bench.kinds()


def test_a_run_that_is_replaced_saves_and_goes_on_as_the_next_attempt_of_the_same_run(bench: Bench) -> None:
    first = bench.submit(job())
    bench.until(lambda run: run.phase is Phase.RUNNING)
    second = go_on(bench, job(b"second = True\n"))
    assert (second.run_id, second.attempt) == (first.run_id, 2)
    assert (bench.home / "runs/tiny/attempts/000002/bundle/code/train.py").read_bytes() == b"second = True\n"
    assert bench.kinds().count("cancel_requested") == 1
    assert bench.until_end().phase is Phase.SUCCEEDED
    with pytest.raises(JobError, match="has ended already: succeeded"):
        go_on(bench, job(b"second = True\n"))


@pytest.mark.parametrize(
    "fault", [pytest.param(name, marks=() if name == "replace.cancelled" else pytest.mark.full) for name in POINTS]
)
def test_killed_after_any_step_and_repeated_it_is_replaced_once(bench: Bench, fault: str) -> None:
    bench.submit(with_code(prepared("train 1", run_id="0123456789ab"), b"first = True\n"))
    assert finish(act(bench.home, "replace", "train 1", fault)) == -signal.SIGKILL
    assert finish(act(bench.home, "replace", "train 1")) == 0
    assert bench.until(lambda run: run.phase is Phase.RUNNING, seconds=20).attempt == 2
    assert [kind for kind in bench.kinds() if kind in ENDS] == ["cancel_requested", "cancelled", "resumed"]


def test_a_run_that_is_complete_is_not_replaced(bench: Bench) -> None:
    bench.submit(prepared(run_id="0123456789ab"))
    bench.until_end()
    with pytest.raises(JobError, match="the run tiny is complete"):
        go_on(bench, job())
    with pytest.raises(JobError, match=r"train\.py is new") as error:
        bench.submit(job())
    assert error.value.hint == "--name NAME starts another run"


def test_of_many_changes_the_first_are_named_and_the_rest_counted() -> None:
    files = {f"{number}.py": f"{number}.py changed" for number in range(10)}
    assert str(changes.Changes({}, files)).endswith("7.py changed; and 2 more")
