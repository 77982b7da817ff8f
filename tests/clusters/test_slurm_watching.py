"""SlurmBackend between a Slurm whose answers are written down and records that are real files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.clusters.slurm import sbatch
from orchestrator.clusters.slurm.backend import PATIENCE, SlurmBackend
from orchestrator.clusters.slurm.profile import SlurmProfile
from orchestrator.clusters.transport import Transport
from orchestrator.errors import ClusterError, Unreachable
from orchestrator.job.protocol.operations import Operation
from orchestrator.job.protocol.operations.attempts import DeleteSecrets
from orchestrator.job.protocol.operations.commands import CommandResult, RunCommand
from orchestrator.job.protocol.operations.slurm import SubmittedToSlurm, SubmitToSlurm
from orchestrator.job.remote import attempts
from orchestrator.job.remote.operations import Failure, perform
from orchestrator.job.remote.slurm import tried_since
from orchestrator.model.bundle import Bundle, File
from orchestrator.model.run import Cause, Observation, Phase, Question, Submission

BUNDLE = Bundle(files=(File(path="job.json", content=b"{}"), File(path="job.sbatch", content=b"#!/bin/sh\n")))
TIMED_OUT = CommandResult(1, "", "sbatch: error: Batch job submission failed: Socket timed out")
REFUSED = CommandResult(1, "", "sbatch: error: Batch job submission failed: Invalid qos specification")
SILENT = CommandResult(1, "", "slurm_load_jobs error: Unable to contact slurm controller")


@dataclass
class Slurm(Transport):
    """Answers the commands of Slurm from what is written down here; everything else is done."""

    where: str = "this machine"
    queue: list[str] | None = field(default_factory=list)  # None: squeue fails
    accounts: list[str] | None = field(default_factory=list)
    sbatch: list[CommandResult] = field(default_factory=list)
    scancel: list[CommandResult] = field(default_factory=list)  # answers; when they are used up, it succeeds
    failing: dict[str, str] = field(default_factory=dict)  # a program, and what it fails with
    ran: list[list[str]] = field(default_factory=list)
    breaks_at: str | None = None  # the program that the connection breaks at
    breaks_once_at: type[Operation[Any]] | None = None  # the operation, likewise
    calls: int = 0

    def call_all(self, operations: Sequence[Operation[Any]], *, seconds: float = 0) -> list[Any]:
        self.calls += 1
        return [self._answer(operation) for operation in operations]

    def _answer(self, operation: Operation[Any]) -> Any:
        if type(operation) is self.breaks_once_at:
            self.breaks_once_at = None
            raise Unreachable("the connection broke")
        if isinstance(operation, RunCommand):
            return self._run(list(operation.argv))
        if isinstance(operation, SubmitToSlurm):
            uploaded = self._answer(operation.upload)
            since = tried_since(attempts.directory(operation.upload))
            ran = self._run(list(operation.sbatch.argv)) if uploaded.first else None
            return SubmittedToSlurm(uploaded, since, ran)
        answer = perform(operation)
        if isinstance(answer, Failure):
            raise ClusterError(answer.message)
        return answer

    def _run(self, argv: list[str]) -> CommandResult:
        self.ran.append(argv)
        if argv[0] == self.breaks_at:
            raise Unreachable("the connection broke")
        if argv[0] == "sbatch":
            return self.sbatch.pop(0)
        if argv[0] == "scancel" and self.scancel:
            return self.scancel.pop(0)
        if argv[0] in self.failing:
            return CommandResult(1, "", f"{argv[0]}: error: {self.failing[argv[0]]}")
        lines = {"squeue": self.queue, "sacct": self.accounts}.get(argv[0], [])
        return SILENT if lines is None else CommandResult(0, "".join(f"{line}\n" for line in lines))

    def asked(self, program: str) -> int:
        return sum(argv[0] == program for argv in self.ran)


class Place:
    def __init__(self, root: Path, **profile: Any) -> None:
        self.slurm, self.now = Slurm(), 1000.0
        made = SlurmProfile(kind="slurm", shared_dir=str(root), **profile)
        self.backend = SlurmBackend("hpc", made, reach=self.slurm, clock=lambda: self.now)

    def submission(self, run: str = "x", **changes: Any) -> Submission:
        made = Submission(
            run=run, run_id="0123456789ab", attempt=1, cluster="hpc", digest="", dir=self.backend.run_dir(run),
            checkpoint_dir=f"{self.backend.run_dir(run)}/ckpt", bundle_file="", handle="7",
        )  # fmt: skip
        return replace(made, **changes)

    def line(
        self, state: str, *, job: str = "7", restarts: int = 0, reason: str = "None", run: str = "x",
        comment: str = "orch:0123456789ab",
    ) -> str:  # fmt: skip
        nodes = "" if state == "PENDING" else "gn01"
        directory = f"{self.backend.run_dir(run)}/attempts/000001"
        return f"{job}|{restarts}|{state}|{nodes}|{reason}|{comment}|{directory}|orch-{run}-1|"

    def see(self, submission: Submission, *, after: float = 100.0) -> Observation:
        self.now += after
        return self.backend.observe([Question(submission=submission)])[submission.run]

    def attempt_dir(self, submission: Submission) -> Path:
        path = Path(sbatch.attempt_dir(submission))
        path.mkdir(parents=True, exist_ok=True)
        return path

    def generation(self, submission: Submission, start: str, **outcome: Any) -> None:
        """A generation that a start has claimed, and its outcome."""
        root = Path(submission.checkpoint_dir, "generations")
        number = len(list(root.glob("*.json"))) + 1
        place = root / f"{number:06d}"
        place.mkdir(parents=True)
        claim = {
            "format": 1, "generation": number, "run": submission.run, "run_id": submission.run_id,
            "attempt": submission.attempt, "start": start, "nodes": 1, "address": "gn01", "port": 1, "time": 1.0,
            "resume": None, "sealed": [], "rejected": [], "progress": False, "failures": 0, "asked": None,
        }  # fmt: skip
        root.joinpath(f"{number:06d}.json").write_text(json.dumps(claim))
        place.joinpath("beat-0.json").write_text('{"count": 5}')
        place.joinpath("progress.json").write_text('{"state": "training", "step": 3, "steps": 9}')
        if outcome:
            place.joinpath("outcome.json").write_text(json.dumps({"generation": number, "attempt": 1, **outcome}))
        if outcome.get("result") == "success":
            place.joinpath("success.json").write_text("{}")

    def says_its_end(self, submission: Submission, start: str, **changes: Any) -> None:
        """What the agent of the only node leaves as its last act."""
        end = {"node": 0, "host": "gn01", "start": start, "attempt": 1, "generation": None, "code": 83, "time": 1.0}
        end |= {"result": "failed", "retry": False, **changes}
        self.attempt_dir(submission).joinpath("ended-0.json").write_text(json.dumps(end))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


STOPPED = {"result": "stopped", "cause": "asked_to_stop", "because": "asked", "retry": True, "failures": 0}
FAILED = {"result": "failed", "cause": "user_error", "because": "a bug", "retry": False, "failures": 1}
DONE = {"result": "success", "cause": "completed", "because": "done", "retry": False, "failures": 0}


def test_a_job_that_waits_is_queued_and_its_heartbeats_are_those_of_none(place: Place) -> None:
    submission = place.submission()
    place.generation(submission, "7.0", **STOPPED)
    place.slurm.queue = [place.line("PENDING", restarts=1, reason="BeginTime")]
    seen = place.see(submission)
    assert (seen.phase, seen.because) == (Phase.QUEUED, "")
    assert seen.report is not None
    assert (seen.report.beat, seen.report.result, seen.report.generation) == (0, None, 1)


def test_a_job_that_can_never_start_says_so(place: Place) -> None:
    place.slurm.queue = [place.line("PENDING", reason="PartitionNodeLimit")]
    seen = place.see(place.submission())
    assert seen.phase is Phase.QUEUED
    assert "it can never start" in seen.because
    assert "PENDING 7 PartitionNodeLimit" in seen.raw


def test_a_start_that_has_not_claimed_its_generation_yet_has_no_heartbeats(place: Place) -> None:
    submission = place.submission()
    place.generation(submission, "7.0", **STOPPED)
    place.slurm.queue = [place.line("RUNNING", restarts=1)]
    seen = place.see(submission)
    assert seen.phase is Phase.STARTING
    assert seen.report is not None
    assert seen.report.beat == 0
    place.generation(submission, "7.1")
    seen = place.see(submission)
    assert seen.phase is Phase.RUNNING
    assert seen.report is not None
    assert (seen.report.beat, seen.report.generation) == (5, 2)


def test_a_suspended_job_is_not_hung(place: Place) -> None:
    submission = place.submission()
    place.generation(submission, "7.0")
    place.slurm.queue = [place.line("SUSPENDED")]
    seen = place.see(submission)
    assert (seen.phase, seen.because) == (Phase.RUNNING, "job 7 is suspended by Slurm")
    assert seen.report is not None
    assert seen.report.beat == 0


def test_a_word_that_nobody_knows_ends_nothing(place: Place) -> None:
    place.slurm.queue = [place.line("TELEPORTED")]
    seen = place.see(place.submission())
    assert seen.phase is Phase.UNKNOWN
    assert "TELEPORTED" in seen.because


@pytest.mark.parametrize(
    ("state", "outcome", "phase", "cause"),
    [
        ("COMPLETED", DONE, Phase.SUCCEEDED, Cause.COMPLETED),
        ("COMPLETING", DONE, Phase.SUCCEEDED, Cause.COMPLETED),
        ("COMPLETING", STOPPED, Phase.STOPPING, Cause.NONE),
        ("FAILED", STOPPED, Phase.STOPPED, Cause.ASKED_TO_STOP),
        ("FAILED", FAILED, Phase.FAILED, Cause.USER_ERROR),
        ("FAILED", {}, Phase.FAILED, Cause.AGENT_LOST),
        ("TIMEOUT", {}, Phase.STOPPED, Cause.TIME_LIMIT),
        ("NODE_FAIL", {}, Phase.FAILED, Cause.NODE_LOST),
        ("PREEMPTED", {}, Phase.STOPPED, Cause.PREEMPTED),
        ("OUT_OF_MEMORY", {}, Phase.FAILED, Cause.HOST_OOM),
        ("CANCELLED", {}, Phase.CANCELLED, Cause.CANCELLED),
        ("CANCELLED", STOPPED, Phase.CANCELLED, Cause.CANCELLED),
        ("CANCELLED", DONE, Phase.SUCCEEDED, Cause.COMPLETED),
    ],
)
def test_an_end_is_told_by_the_jobs_records_and_where_they_are_silent_by_slurm(
    place: Place, state: str, outcome: Mapping[str, Any], phase: Phase, cause: Cause
) -> None:
    submission = place.submission()
    place.generation(submission, "7.0", **outcome)
    place.slurm.queue = [place.line(state)]
    seen = place.see(submission)
    assert (seen.phase, seen.cause) == (phase, cause)
    assert place.slurm.asked("sacct") == 0


def test_what_an_earlier_start_of_a_job_said_is_not_how_the_last_one_ended(place: Place) -> None:
    submission = place.submission()
    place.generation(submission, "7.0", **STOPPED)
    place.slurm.queue = [place.line("NODE_FAIL", restarts=1)]
    seen = place.see(submission)
    assert (seen.phase, seen.cause) == (Phase.FAILED, Cause.NODE_LOST)


@pytest.mark.parametrize(
    ("state", "cause"),
    [("OUT_OF_MEMORY", Cause.HOST_OOM), ("NODE_FAIL", Cause.NODE_LOST), ("TIMEOUT", Cause.TIME_LIMIT)],
)
@pytest.mark.parametrize("queued", [True, False])
def test_how_an_earlier_start_of_a_job_ended_is_not_how_the_last_one_did(
    place: Place, state: str, cause: Cause, *, queued: bool
) -> None:
    submission = place.submission()
    place.generation(submission, "7.0", **STOPPED)
    place.says_its_end(submission, "7.0", result="stopped", cause="asked_to_stop", because="asked", retry=True)
    place.slurm.queue = [place.line(state, restarts=1)] if queued else []
    place.slurm.accounts = ["7|REQUEUED|0:0|gn01", f"7|{state}|0:9|gn01"]
    assert place.see(submission).cause is cause


def test_accounts_that_lack_a_start_do_not_silence_the_last_one(place: Place) -> None:
    submission = place.submission()
    place.says_its_end(submission, "7.2", cause="user_error", because="a bug")
    place.slurm.accounts = ["7|FAILED|83:0|gn01"]
    seen = place.see(submission)
    assert (seen.phase, seen.cause, seen.because) == (Phase.FAILED, Cause.USER_ERROR, "a bug")


def test_how_the_last_start_of_a_job_ended_is_told_by_its_agents(place: Place) -> None:
    submission = place.submission()
    place.generation(submission, "7.0", **STOPPED)
    place.says_its_end(submission, "7.1", cause="user_error", because="a bug")
    place.slurm.queue = [place.line("FAILED", restarts=1)]
    seen = place.see(submission)
    assert (seen.phase, seen.cause) == (Phase.FAILED, Cause.USER_ERROR)


def test_a_cancel_of_orchs_own_is_not_one_past_orch(place: Place) -> None:
    submission = place.submission()
    place.attempt_dir(submission).joinpath("asked.json").write_text("{}")
    place.generation(submission, "7.0", **STOPPED)
    place.slurm.queue = [place.line("CANCELLED")]
    seen = place.see(submission)
    assert (seen.phase, seen.cause) == (Phase.STOPPED, Cause.ASKED_TO_STOP)


def test_a_log_that_cannot_be_opened_is_named(place: Place) -> None:
    place.slurm.queue = [place.line("FAILED", reason="RaisedSignal:53(Real-time_signal_19)")]
    assert "could not open the job's log in" in place.see(place.submission()).because


# --- out of the queue


def test_sacct_is_asked_once_about_a_job_that_has_left_the_queue(place: Place) -> None:
    submission = place.submission()
    place.slurm.accounts = ["7|REQUEUED|0:0|gn01", "7|NODE_FAIL|1:0|gn01"]
    for _ in range(5):
        seen = place.see(submission)
        assert (seen.phase, seen.cause) == (Phase.FAILED, Cause.NODE_LOST)
    assert place.slurm.asked("sacct") == 1


@pytest.mark.parametrize("accounts", [None, [], ["7|RUNNING|0:0|gn01"], ["7|PENDING|0:0|"]])
def test_a_job_that_nobody_knows_any_more_does_not_run_for_ever(place: Place, accounts: list[str] | None) -> None:
    place.slurm.accounts = accounts
    seen = place.see(place.submission())
    assert seen.phase is Phase.UNKNOWN
    assert "job 7 is no longer in the queue, and sacct" in seen.because
    assert place.see(place.submission(), after=PATIENCE).phase is Phase.UNKNOWN
    seen = place.see(place.submission(), after=1)
    assert (seen.phase, seen.cause) == (Phase.FAILED, Cause.AGENT_LOST)
    assert "Slurm no longer knows job 7" in seen.because


def test_accounts_that_are_behind_or_silent_are_asked_again_until_they_tell(place: Place) -> None:
    submission = place.submission()
    for accounts in (None, [], ["7|RUNNING|0:0|gn01"]):
        place.slurm.accounts = accounts
        assert place.see(submission, after=25).phase is Phase.UNKNOWN
    place.slurm.accounts = ["7|CANCELLED by 1001|0:0|gn01"]
    for _ in range(5):
        assert place.see(submission, after=25).phase is Phase.CANCELLED
    assert place.slurm.asked("sacct") == 4


def test_where_no_accounts_are_kept_nobody_waits_for_them(place: Place) -> None:
    submission = place.submission()
    place.generation(submission, "7.0", **STOPPED)
    place.slurm.failing["sacct"] = "Slurm accounting storage is disabled"
    seen = place.see(submission)
    assert (seen.phase, seen.cause) == (Phase.STOPPED, Cause.ASKED_TO_STOP)


def test_a_job_that_nobody_knows_any_more_ended_as_its_last_start_said(place: Place) -> None:
    submission = place.submission()
    place.generation(submission, "7.0", **STOPPED)
    place.says_its_end(submission, "7.1", cause="user_error", because="a bug")
    place.slurm.failing["sacct"] = "Slurm accounting storage is disabled"
    seen = place.see(submission)
    assert (seen.phase, seen.cause, seen.because) == (Phase.FAILED, Cause.USER_ERROR, "a bug")


def test_a_success_needs_no_accounting(place: Place) -> None:
    submission = place.submission()
    place.generation(submission, "7.0", **DONE)
    assert place.see(submission).phase is Phase.SUCCEEDED
    assert place.slurm.asked("sacct") == 0


def test_a_job_that_was_cancelled_while_nobody_looked_is_known_from_sacct(place: Place) -> None:
    submission = place.submission()
    place.generation(submission, "7.0", **STOPPED)
    place.slurm.accounts = ["7|CANCELLED by 1001|0:0|gn01"]
    seen = place.see(submission)
    assert (seen.phase, seen.cause) == (Phase.CANCELLED, Cause.CANCELLED)
    assert "CANCELLED by 1001" in seen.because


# --- how often


def test_one_question_serves_all_attempts_and_nothing_is_asked_between(place: Place) -> None:
    many = [place.submission(run=f"r{number}", handle=str(number)) for number in range(1, 51)]
    place.slurm.queue = [place.line("PENDING", job=one.handle or "", run=one.run) for one in many]
    for _ in range(60):  # a minute
        place.now += 1
        seen = place.backend.observe([Question(submission=one) for one in many])
        assert {one.phase for one in seen.values()} == {Phase.QUEUED}
    assert place.slurm.asked("squeue") <= 6
    assert place.slurm.calls <= 60 / 5 + place.slurm.asked("squeue")


def test_a_job_that_has_claimed_its_attempt_waits_no_more(place: Place) -> None:
    submission = place.submission()
    place.slurm.queue = [place.line("PENDING")]
    for _ in range(20):
        assert place.see(submission).phase is Phase.QUEUED
    place.attempt_dir(submission).joinpath("job").write_text("7\n")
    place.slurm.queue = [place.line("RUNNING")]
    phases = [place.see(submission, after=1).phase for _ in range(7)]
    assert phases[-1] is Phase.STARTING


def test_a_submission_that_the_last_answer_does_not_know_is_asked_about_at_once(place: Place) -> None:
    one, two = place.submission(), place.submission(run="y", handle="8")
    place.slurm.queue = [place.line("PENDING")]
    for _ in range(20):
        place.see(one)
    asked = place.slurm.asked("squeue")
    place.slurm.queue.append(place.line("PENDING", job="8", run="y"))
    place.now += 6
    assert place.backend.observe([Question(submission=one), Question(submission=two)])["y"].phase is Phase.QUEUED
    assert place.slurm.asked("squeue") == asked + 1


def test_until_slurm_was_asked_about_a_new_job_it_is_queued(place: Place) -> None:
    one, two = place.submission(), place.submission(run="y", handle="8")
    place.slurm.queue = [place.line("PENDING")]
    place.see(one)
    place.now += 1  # the floor is not over
    assert place.backend.observe([Question(submission=one), Question(submission=two)])["y"].phase is Phase.QUEUED


def changes_nothing(place: Place, submission: Submission) -> None:
    """Nothing: only time passes."""


def ends(place: Place, submission: Submission) -> None:
    path = Path(submission.checkpoint_dir, "generations", "000001", "outcome.json")
    path.write_text(json.dumps({"generation": 1, "attempt": 1, **STOPPED}))


def beats(place: Place, submission: Submission) -> None:
    path = Path(submission.checkpoint_dir, "generations", "000001", "beat-0.json")
    path.write_text(json.dumps({"count": json.loads(path.read_text())["count"] + 1}))


@pytest.mark.parametrize(
    ("meanwhile", "least", "most"),
    [
        pytest.param(beats, 0, 1, id="it-lives"),
        pytest.param(changes_nothing, 6, 9, id="its-heartbeat-stands-still"),
        pytest.param(ends, 10, 12, id="it-said-that-it-ended"),
    ],
)
def test_records_that_contradict_the_last_answer_make_it_ask(
    place: Place, meanwhile: Callable[[Place, Submission], None], least: int, most: int
) -> None:
    submission = place.submission()
    place.generation(submission, "7.0")
    place.slurm.queue = [place.line("RUNNING")]
    for _ in range(60):
        beats(place, submission)
        place.see(submission, after=5)
    asked = place.slurm.asked("squeue")
    for _ in range(55):
        meanwhile(place, submission)
        place.see(submission, after=1)
    assert least <= place.slurm.asked("squeue") - asked <= most


def test_records_that_cannot_be_read_hide_one_attempt_alone(place: Place) -> None:
    one, two = place.submission(), place.submission(run="y", handle="8")
    place.slurm.queue = [place.line("PENDING"), place.line("PENDING", job="8", run="y")]
    Path(one.dir).mkdir(parents=True)
    Path(one.checkpoint_dir).symlink_to("ckpt")  # leads nowhere but to itself
    place.now += 100
    seen = place.backend.observe([Question(submission=one), Question(submission=two)])
    assert (seen["x"].phase, seen["y"].phase) == (Phase.UNKNOWN, Phase.QUEUED)
    assert "its records cannot be read" in seen["x"].because


def test_while_slurm_does_not_answer_the_last_answer_stands_for_a_while(place: Place) -> None:
    submission = place.submission()
    place.generation(submission, "7.0")
    place.slurm.queue = [place.line("RUNNING")]
    assert place.see(submission).phase is Phase.RUNNING
    place.slurm.queue = None
    assert place.see(submission, after=30).phase is Phase.RUNNING
    seen = place.see(submission, after=90)
    assert seen.phase is Phase.UNKNOWN
    assert "Unable to contact slurm controller" in seen.because
    assert seen.report is not None
    assert seen.report.progress.step == 3
    place.generation(submission, "7.0", **DONE)
    assert place.see(submission).phase is Phase.SUCCEEDED


# --- handing over


def test_a_first_submission_is_one_command(place: Place) -> None:
    place.slurm.sbatch = [CommandResult(0, "7\n", "")]
    assert place.backend.submit(place.submission(handle=None), BUNDLE, {"TOKEN": "x"}) == "7"
    assert (place.slurm.calls, place.slurm.asked("squeue"), place.slurm.asked("sacct")) == (1, 0, 0)
    assert "x" not in " ".join(place.slurm.ran[0]).split()


def test_a_refusal_is_told_in_slurms_words(place: Place) -> None:
    place.slurm.sbatch = [REFUSED]
    with pytest.raises(ClusterError, match="Invalid qos specification") as refused:
        place.backend.submit(place.submission(handle=None), BUNDLE, {"TOKEN": "open-sesame"})
    assert not isinstance(refused.value, Unreachable)
    assert len(place.slurm.ran) == 1
    assert not (place.attempt_dir(place.submission()) / "secrets.json").exists()


def test_words_that_nobody_knows_are_no_refusal_and_are_told(place: Place) -> None:
    said = CommandResult(1, "", "sbatch: error: Batch job submission failed: Unspecified error")
    place.slurm.sbatch = [said, said, CommandResult(0, "9\n", "")]
    for _ in range(2):
        with pytest.raises(Unreachable, match="Unspecified error"):
            place.backend.submit(place.submission(handle=None), BUNDLE, {})
    assert place.backend.submit(place.submission(handle=None), BUNDLE, {}) == "9"


def test_an_sbatch_that_timed_out_is_looked_for_and_adopted(place: Place) -> None:
    place.slurm.sbatch = [TIMED_OUT]
    place.slurm.queue = [place.line("PENDING", job="9", run="y"), place.line("PENDING", job="8")]
    assert place.backend.submit(place.submission(handle=None), BUNDLE, {}) == "8"
    assert place.slurm.asked("sbatch") == 1


def test_an_sbatch_that_timed_out_and_is_not_there_is_tried_again_later_and_behind_itself(place: Place) -> None:
    submission = place.submission(handle=None)
    place.slurm.sbatch = [TIMED_OUT, CommandResult(0, "9\n", "")]
    with pytest.raises(Unreachable, match="or did not say so"):
        place.backend.submit(submission, BUNDLE, {})
    assert place.slurm.asked("sbatch") == 1
    assert place.backend.submit(submission, BUNDLE, {}) == "9"
    assert "--dependency=singleton" in place.slurm.ran[-1]
    assert "--dependency=singleton" not in place.slurm.ran[0]


def test_nothing_is_tried_again_while_squeue_does_not_answer(place: Place) -> None:
    submission = place.submission(handle=None)
    place.slurm.sbatch, place.slurm.queue = [TIMED_OUT], None
    for _ in range(2):
        with pytest.raises(Unreachable):
            place.backend.submit(submission, BUNDLE, {})
    assert place.slurm.asked("sbatch") == 1


def test_a_job_that_has_left_the_queue_is_adopted_from_sacct(place: Place) -> None:
    submission = place.submission(handle=None)
    directory = place.attempt_dir(submission)
    directory.joinpath("tried").touch()
    day = "2099-01-01T00:00:00"
    place.slurm.accounts = [
        f"3|2001-01-01T00:00:00||{directory}|orch-x-1",  # before anybody tried
        f"4|{day}|orch:ba9876543210|{directory}|orch-x-1",  # of an older run of that name
        f"5|{day}|orch:0123456789ab|/elsewhere|orch-x-1",
        f"6|{day}||{directory}|orch-x-1",
    ]
    assert place.backend.submit(submission, BUNDLE, {}) == "6"
    assert place.slurm.asked("sbatch") == 0


def test_the_job_that_claimed_the_attempt_is_it_and_others_are_taken_out_of_the_queue(place: Place) -> None:
    submission = place.submission(handle="7")
    directory = place.attempt_dir(submission)
    directory.joinpath("tried").touch()
    directory.joinpath("job").write_text("8\n")
    assert place.backend.submit(replace(submission, handle=None), BUNDLE, {}) == "8"
    place.generation(submission, "8.0")
    place.slurm.queue = [place.line("PENDING", reason="Dependency"), place.line("RUNNING", job="8")]
    seen = place.see(submission)
    assert (seen.phase, seen.raw) == (Phase.RUNNING, "RUNNING 8 gn01")
    assert place.slurm.ran[-1] == ["scancel", "--state=PENDING", "7"]


def test_a_job_whose_comment_the_site_writes_is_known_by_its_claim_and_by_its_id(place: Place) -> None:
    submission = place.submission(handle="7")
    place.slurm.queue = [place.line("PENDING", comment="checked by site|v2")]
    assert place.see(submission).phase is Phase.QUEUED
    place.attempt_dir(submission).joinpath("job").write_text("8\n")
    place.slurm.queue = [
        place.line("PENDING", comment="checked by site"),
        place.line("RUNNING", job="8", comment="checked by site"),
    ]
    assert place.see(submission).raw == "RUNNING 8 gn01"
    assert place.slurm.ran[-1] == ["scancel", "--state=PENDING", "7"]
    place.backend.cancel(submission, now=True)
    assert place.slurm.ran[-1] == ["scancel", "7", "8"]


def test_an_id_that_another_job_has_by_now_is_not_enough(place: Place) -> None:
    place.slurm.queue = [place.line("RUNNING", run="y", comment="checked by site")]
    assert place.see(place.submission(handle="7")).phase is Phase.UNKNOWN


def test_nodes_to_leave_out_are_the_profiles_and_the_attempts(tmp_path: Path) -> None:
    place = Place(tmp_path, exclude=("gn[07-08]",))
    place.slurm.sbatch = [CommandResult(0, "7\n", "")]
    place.backend.submit(place.submission(handle=None, exclude=("gn02",)), BUNDLE, {})
    assert "--exclude=gn02,gn[07-08]" in place.slurm.ran[-1]


def test_a_run_directory_of_another_run_is_refused(place: Place) -> None:
    submission = place.submission(handle=None)
    Path(submission.dir).mkdir(parents=True)
    Path(submission.dir, "run.json").write_text('{"run_id": "another"}')
    with pytest.raises(ClusterError, match="holds another run"):
        place.backend.submit(submission, BUNDLE, {})
    assert place.slurm.ran == []


# --- cancelling


def test_a_cancel_asks_the_script_once_and_takes_waiting_jobs_out(place: Place) -> None:
    submission = place.submission()
    place.slurm.queue = [place.line("RUNNING"), place.line("PENDING", job="8"), place.line("RUNNING", job="9", run="y")]
    for _ in range(2):
        place.backend.cancel(submission, now=False)
    told = [argv for argv in place.slurm.ran if argv[0] == "scancel"]
    assert told == [
        ["scancel", "--state=PENDING", "8"],
        ["scancel", "--batch", "--signal=TERM", "7", "8"],
        ["scancel", "--state=PENDING", "8"],
    ]


def test_a_cancel_now_kills_the_step_and_then_the_job(place: Place) -> None:
    place.slurm.queue = [place.line("RUNNING"), place.line("FAILED", job="6")]
    place.backend.cancel(place.submission(), now=True)
    told = [argv for argv in place.slurm.ran if argv[0] == "scancel"]
    assert told == [["scancel", "--signal=KILL", "7.0"], ["scancel", "7"]]


def test_a_cancel_that_was_lost_on_its_way_is_told_again(place: Place) -> None:
    submission = place.submission()
    place.slurm.queue = [place.line("RUNNING")]
    place.slurm.breaks_at = "scancel"
    with pytest.raises(Unreachable):
        place.backend.cancel(submission, now=False)
    place.slurm.breaks_at = None
    place.slurm.scancel = [SILENT]
    with pytest.raises(Unreachable):
        place.backend.cancel(submission, now=False)
    place.backend.cancel(submission, now=False)
    told = [argv for argv in place.slurm.ran if argv[0] == "scancel"]
    assert told == [["scancel", "--batch", "--signal=TERM", "7"]] * 3


def test_a_cancel_that_slurm_does_not_hear_is_unreachable_and_still_word_for_the_job(place: Place) -> None:
    submission = place.submission()
    place.slurm.queue = None
    with pytest.raises(Unreachable):
        place.backend.cancel(submission, now=False)
    assert place.attempt_dir(submission).joinpath("asked.json").exists()


# --- what is missing


def test_without_a_shared_directory_it_says_what_to_set() -> None:
    with pytest.raises(ClusterError, match="no shared_dir") as refused:
        SlurmBackend("hpc", SlurmProfile(kind="slurm")).ready()
    assert "shared_dir of hpc" in (refused.value.hint or "")


def test_a_machine_without_slurm_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match="no sbatch on this machine") as refused:
        SlurmBackend("hpc", SlurmProfile(kind="slurm", shared_dir=str(tmp_path))).ready()
    assert "login" in (refused.value.hint or "")


def test_to_plan_nothing_is_asked(place: Place) -> None:
    assert place.backend.probe().kind == "slurm"
    assert place.slurm.calls == 0


def test_usable_nodes_are_listed_without_those_of_the_profile(tmp_path: Path) -> None:
    place = Place(tmp_path, exclude=("gn02",), partition="low")
    assert list(place.backend.hosts()) == []
    assert place.slurm.ran[-1][-1] == "--partition=low"


def test_a_signal_that_slurm_did_not_deliver_is_sent_again(place: Place) -> None:
    submission = place.submission()
    place.attempt_dir(submission)
    place.slurm.queue = [place.line("RUNNING")]
    busy = "scancel: error: Kill job error on job id 7: Job/step already completing or completed"
    place.slurm.scancel = [CommandResult(1, "", busy)]
    for _ in range(4):
        place.backend.cancel(submission, now=False)
    assert place.slurm.asked("scancel") == 2, "the second was taken, and one is enough"


def test_secrets_go_though_the_connection_broke_when_they_should_go_first(place: Place) -> None:
    submission = place.submission()
    secrets = place.attempt_dir(submission) / "secrets.json"
    secrets.write_text("{}")
    (place.attempt_dir(submission) / "job").write_text("7\n")
    place.slurm.queue = [place.line("CANCELLED")]
    place.slurm.breaks_once_at = DeleteSecrets
    with pytest.raises(Unreachable):
        place.see(submission)
    assert secrets.exists()
    place.see(submission)
    assert not secrets.exists()


def test_a_job_that_its_user_renamed_is_the_attempt_all_the_same(place: Place) -> None:
    submission = place.submission()
    place.generation(submission, "7.0")
    (place.attempt_dir(submission) / "job").write_text("7\n")
    place.slurm.queue = [place.line("RUNNING").replace("|orch-x-1|", "|mine|")]
    assert place.see(submission).phase is Phase.RUNNING
    place.backend.cancel(submission, now=False)
    assert place.slurm.ran[-1] == ["scancel", "--batch", "--signal=TERM", "7"]
    elsewhere = place.line("RUNNING", run="other").replace("orch:0123456789ab", "")
    place.slurm.queue = [elsewhere]
    assert place.see(submission).phase is not Phase.RUNNING, "the number alone says nothing"


def test_a_job_that_slurm_has_forgotten_was_cancelled_by_nobody(place: Place) -> None:
    submission = place.submission()
    place.generation(submission, "7.0")
    (place.attempt_dir(submission) / "job").write_text("7\n")
    place.slurm.accounts = ["7|CANCELLED|0:0|gn01"]
    seen = place.see(submission)
    assert (seen.phase, seen.cause) == (Phase.FAILED, Cause.AGENT_LOST)
    assert "forgotten" in seen.because


def test_a_job_that_an_administrator_holds_after_a_requeue_is_told(place: Place) -> None:
    place.slurm.queue = [place.line("PENDING", reason="job requeued in held state")]
    assert "scontrol release 7" in place.see(place.submission()).because
