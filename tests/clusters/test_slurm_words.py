"""Slurm's words as they were recorded on a real cluster (22.05), and what is made of them."""

from __future__ import annotations

import itertools
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.clusters.slurm import answers, reasons, sbatch
from orchestrator.clusters.slurm.polling import PollTimer
from orchestrator.clusters.slurm.states import STATES, JobStage, state_of
from orchestrator.job.protocol.operations.commands import CommandResult, RunCommand
from orchestrator.job.remote import commands
from orchestrator.model.run import Cause, Submission

LONG = "0123456789" * 6 + "abc"
MINE = answers.tag("orch:0123456789ab", "/s/runs/x/attempts/000001", "orch-x-1")
# What `answers.queue_command` printed.
SQUEUE = f"""\
3|0|PENDING||PartitionNodeLimit|x|y|/tmp|a|b c|
5|0|PENDING||None|(null)|/tmp|dep|
2|0|PENDING||JobHeldUser|orch:0123456789ab|/tmp/h1|orch-{LONG}-1|
4|1|RUNNING|gn[01-05]|None|orch:0123456789ab|/s/runs/x/attempts/000001|orch-x-1|
6_[1-3]|0|PENDING||Priority|(null)|/tmp|array|
"""
# In the form that `answers.account_command` asks for.
SACCT = """\
4|REQUEUED|0:0|gn[01-02]
4|NODE_FAIL|1:0|gn[01-02]
4|COMPLETED|0:0|gn[03-04]
13|CANCELLED by 0|0:0|gn[01-02]
"""
# In the form that `answers.named_command` asks for.
NAMED = """\
3|2026-11-21T07:00:00||/s/runs/x/attempts/000001|orch-x-1
4|2026-11-21T08:00:00|orch:0123456789ab|/s/runs/x/attempts/000001|orch-x-1
5|2026-11-21T09:00:00|orch:ba9876543210|/s/runs/x/attempts/000001|orch-x-1
6|2026-11-21T09:00:00||/s/runs/x/attempts/000001|orch-x-1
7|2026-11-21T09:00:00|orch:0123456789ab|/other/runs/x/attempts/000001|orch-x-1
8|2026-11-21T09:00:00|a comment|orch:0123456789ab|/s/runs/x/attempts/000001|orch-x-1
"""
SINFO = "gn01|idle\ngn01|idle\ngn02|mixed\ngn03|down*\ngn04|drained\ngn05|idle*\ngn06|allocated\ngn07|draining\n"


def test_squeue_is_read_whatever_other_jobs_are_called() -> None:
    jobs = answers.queue(SQUEUE)
    assert [(job.id, job.restarts, job.state, job.nodes, job.reason) for job in jobs] == [
        ("3", 0, "PENDING", "", "PartitionNodeLimit"),
        ("5", 0, "PENDING", "", "None"),
        ("2", 0, "PENDING", "", "JobHeldUser"),
        ("4", 1, "RUNNING", "gn[01-05]", "None"),
    ]
    assert [job.id for job in jobs if job.tag == MINE] == ["4"]
    assert jobs[2].tag.endswith(f"|orch-{LONG}-1")
    assert jobs[3].start == "4.1"


@given(st.text(max_size=200))
def test_no_answer_of_squeue_or_sacct_is_more_than_read(text: str) -> None:
    answers.queue(text)
    answers.accounts(text)
    answers.named(text, MINE, None)
    answers.usable(text)


def test_sacct_has_a_record_for_each_start() -> None:
    found = answers.accounts(SACCT)
    assert [one.state for one in found["4"]] == ["REQUEUED", "NODE_FAIL", "COMPLETED"]
    assert found["13"][0].state == "CANCELLED by 0"


def test_a_job_of_another_run_is_not_found_under_its_name() -> None:
    assert answers.named(NAMED, MINE, "2026-11-21T07:30:00") == ["4", "6"]
    assert answers.named(NAMED, MINE, None) == ["3", "4", "6"]


def test_nodes_that_take_jobs_are_those_that_are_up_and_answer() -> None:
    assert answers.usable(SINFO) == ["gn01", "gn02", "gn06"]


# --- states


@pytest.mark.parametrize(
    ("word", "stage", "cause"),
    [
        ("COMPLETED", JobStage.OVER, Cause.AGENT_LOST),
        ("FAILED", JobStage.OVER, Cause.AGENT_LOST),
        ("CANCELLED by 1001", JobStage.OVER, Cause.CANCELLED),
        ("CANCELLED", JobStage.OVER, Cause.CANCELLED),
        ("CANCELLED+", JobStage.OVER, Cause.CANCELLED),
        ("TIMEOUT", JobStage.OVER, Cause.TIME_LIMIT),
        ("NODE_FAIL", JobStage.OVER, Cause.NODE_LOST),
        ("PREEMPTED", JobStage.OVER, Cause.PREEMPTED),
        ("OUT_OF_MEMORY", JobStage.OVER, Cause.HOST_OOM),
        ("REQUEUED", JobStage.WAITING, Cause.NONE),
        ("PENDING", JobStage.WAITING, Cause.NONE),
        ("RUNNING", JobStage.LIVE, Cause.NONE),
        ("COMPLETING", JobStage.ENDING, Cause.NONE),
        ("SUSPENDED", JobStage.SUSPENDED, Cause.NONE),
    ],
)
def test_a_state_of_slurm_has_its_stage_and_cause(word: str, stage: JobStage, cause: Cause) -> None:
    assert (state_of(word).stage, state_of(word).cause) == (stage, cause)


@given(st.text())
def test_a_word_that_slurm_may_learn_ends_nothing(word: str) -> None:
    if not any(word.strip().startswith(known) for known in STATES):
        assert state_of(word).stage is JobStage.UNKNOWN


# --- reasons

# What a job waits with when it is only not its turn.
ORDINARY = {
    "None", "Priority", "Resources", "Dependency", "BeginTime", "Licenses", "Reservation", "Cleaning",
    "JobArrayTaskLimit", "WaitingForScheduling", "SchedDefer",
}  # fmt: skip
NEVER = [
    "PartitionNodeLimit", "PartitionTimeLimit", "BadConstraints", "DependencyNeverSatisfied", "InvalidAccount",
    "InvalidQOS", "QOSNotAllowed", "AssocMaxNodePerJobLimit", "AssocMaxCpuPerJobLimit", "QOSMaxWallDurationPerJobLimit",
    "QOSMaxGRESPerJob", "QOSMaxMemoryPerNode", "QOSMinCpuNotSatisfied", "AssociationTimeLimit", "QOSTimeLimit",
]  # fmt: skip
LATER = [
    "AssocMaxJobsLimit", "AssocGrpCpuLimit", "QOSMaxJobsPerUserLimit", "QOSGrpGRES", "AssocGrpCPUMinutesLimit",
    "MaxNodePerAccount", "MaxJobsPerAccount", "QOSMaxGRESPerUser", "QOSJobLimit",
]  # fmt: skip
ASK = [
    ("JobHeldUser", "scontrol release 7"),
    ("JobHeldAdmin", "administrator"),
    ("JobHoldMaxRequeue", "scontrol release 7"),
    ("launch_failed_requeued_held", "scontrol release 7"),
    ("ReqNodeNotAvail", "sinfo -R"),
    ("ReqNodeNotAvail,_UnavailableNodes:gn01", "sinfo -R"),
    ("Nodes_required_for_job_are_DOWN,_DRAINED_or_reserved_for_jobs_in_higher_priority_partitions", "sinfo -R"),
    ("ReservationDeleted", "reservation"),
    ("PartitionDown", "administrator"),
]


@pytest.mark.parametrize("reason", sorted(ORDINARY))
def test_waiting_for_ones_turn_is_not_told(reason: str) -> None:
    assert reasons.advice(reason, "7") == ""


@pytest.mark.parametrize("reason", NEVER)
def test_what_can_never_start_is_told_as_that(reason: str) -> None:
    said = reasons.advice(reason, "7")
    assert said.startswith(f"job 7 does not start ({reason}): ")
    assert "it can never start" in said
    assert "cancel it" in said


@pytest.mark.parametrize("reason", LATER)
def test_a_limit_on_all_jobs_together_is_told_as_waiting(reason: str) -> None:
    said = reasons.advice(reason, "7")
    assert "until others end" in said
    assert "never" not in said


@pytest.mark.parametrize(("reason", "what"), ASK)
def test_what_somebody_must_do_is_said(reason: str, what: str) -> None:
    assert what in reasons.advice(reason, "7")


def test_every_limit_that_this_slurm_knows_is_told() -> None:
    libraries = list(Path("/usr/lib").glob("*/slurm*/libslurmfull.so"))
    if not libraries:
        pytest.skip("Slurm is not installed")
    words = set(re.findall(rb"\b(?:Assoc|QOS)(?:Max|Grp|Min)[A-Za-z]+", libraries[0].read_bytes()))
    assert len(words) > 50
    assert [word for word in words if not reasons.advice(word.decode(), "7")] == []


# --- sbatch

SUBMISSION = Submission(
    run="x", run_id="0123456789ab", attempt=1, cluster="hpc", digest="", dir="/s 50%/runs/x", checkpoint_dir="",
    bundle_file="",
)  # fmt: skip


def test_the_command_names_run_attempt_and_directory() -> None:
    assert list(sbatch.command(SUBMISSION, ["gn01", "gn02"], after_others=True).argv) == [
        "sbatch", "--parsable", "--job-name=orch-x-1", "--comment=orch:0123456789ab",
        "--chdir=/s 50%/runs/x/attempts/000001", "--output=/s 50%%/runs/x/attempts/000001/job-%j.log", "--export=NONE",
        "--exclude=gn01,gn02", "--dependency=singleton", "/s 50%/runs/x/attempts/000001/bundle/job.sbatch",
        "--attempt", "1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "dependency"),
    [
        ([], ["--dependency=singleton"]),
        (["--dependency=afterok:5,after:6"], ["--dependency=afterok:5,after:6,singleton"]),
        (["--depend=afterok:5", "--mail-type=END"], ["--dependency=afterok:5,singleton"]),
        (["--dependency=afterok:5?after:6"], []),
        (["--deadline=now"], ["--dependency=singleton"]),
    ],
)
def test_a_second_try_keeps_what_the_profile_waits_for(options: list[str], dependency: list[str]) -> None:
    command = sbatch.command(SUBMISSION, [], options=options, after_others=True).argv
    assert [word for word in command if word.startswith("--dependency")] == dependency
    first = sbatch.command(SUBMISSION, [], options=options, after_others=False).argv
    assert not any(word.startswith("--dependency") for word in first)


def test_jobs_in_partitions_that_are_hidden_are_seen() -> None:
    assert "--all" in answers.queue_command().argv
    assert "--all" not in answers.nodes_command("secret").argv  # "Conflicting options, -a and -p"


def test_commands_of_slurm_do_not_obey_the_users_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    told = ["SQUEUE_PARTITION", "SBATCH_PARTITION", "SBATCH_NO_REQUEUE", "SCANCEL_PARTITION", "SACCT_FORMAT"]
    told += ["SINFO_FORMAT", "SLURM_CLUSTERS", "SLURM_TIME_FORMAT"]
    for name in [*told, "SLURM_CONF"]:
        monkeypatch.setenv(name, "x")
    seen = commands.run(RunCommand(("env",))).stdout.splitlines()
    assert not {f"{name}=x" for name in told} & set(seen)
    assert "SLURM_CONF=x" in seen


def ran(status: int | None, stdout: str = "", stderr: str = "") -> CommandResult:
    return CommandResult(status, stdout, stderr)


@pytest.mark.parametrize("said", ["4711\n", "4711;lab\n", "Welcome to the cluster!\n4711\n"])
def test_the_id_of_a_job_is_read(said: str) -> None:
    waited = "sbatch: Slurm temporarily unable to accept job, sleeping and retrying\n"
    assert sbatch.answer(ran(0, said, waited)).job == "4711"


@pytest.mark.parametrize(
    "said",
    [
        (
            "sbatch: error: invalid partition specified: nope\n"
            "sbatch: error: Batch job submission failed: Invalid partition name specified\n"
        ),
        "sbatch: error: Batch job submission failed: Requested node configuration is not available\n",
        "sbatch: error: Invalid generic resource (gres) specification\n",
        "sbatch: error: Batch job submission failed: Invalid feature specification\n",
        "sbatch: error: Batch job submission failed: Requested reservation is invalid\n",
        "sbatch: error: Batch job submission failed: Invalid node name specified\n",
        "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified\n",
        "sbatch: error: Batch job submission failed: Requested time limit is invalid (missing or exceeds some limit)\n",
        "sbatch: error: Batch job submission failed: Node count specification invalid\n",
        "sbatch: error: Batch job submission failed: User's group not permitted to use this partition\n",
        "sbatch: error: Invalid --time specification\n",
        'sbatch: error: "x" is not a valid node count\n',
        'sbatch: error: Invalid numeric value "zz" for --switches.\n',
        "sbatch: error: Batch job submission failed: Job dependency problem\n",
        "sbatch: unrecognized option '--nosuch'\nTry \"sbatch --help\" for more information\n",
    ],
)
def test_a_no_of_slurms_is_told_in_its_words(said: str) -> None:
    answer = sbatch.answer(ran(1, "", said))
    assert (answer.job, answer.sure) == (None, True)
    assert said.splitlines()[-1].removeprefix("sbatch: ").removeprefix("error: ") in answer.message


@pytest.mark.parametrize(
    "told",
    [
        ran(
            1, "", "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)\n"
        ),
        ran(1, "", "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n"),
        ran(1, "", "sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received\n"),
        ran(1, "", "sbatch: error: Batch job submission failed: Unexpected message received\n"),
        ran(1, "", "sbatch: error: Batch job submission failed: Resource temporarily unavailable\n"),
        ran(1, "", "sbatch: error: If munged is up, restart with --num-threads=10\n"),
        ran(1, "", "sbatch: error: Batch job submission failed: Unspecified error\n"),
        ran(1, "", "sbatch: error: Batch job submission failed: I/O error writing script/environment to file\n"),
        ran(1, "", "sbatch: error: Batch job submission failed: Slurm database error\n"),
        ran(1, "", "sbatch: error: Unable to open file /s/runs/x/attempts/000001/bundle/job.sbatch\n"),
        ran(1, "", "sbatch: fatal: Could not establish a configuration source\n"),
        ran(1, "", "sbatch: error: Batch job submission failed: Requested partition configuration not available now\n"),
        ran(
            1, "", "sbatch: error: Batch job submission failed: Required partition not available (inactive or drain)\n"
        ),
        ran(
            1,
            "",
            "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, "
            "user's size and/or time limits)\n",
        ),
        ran(1, "", "sbatch: error: Batch job submission failed: Access/permission denied\n"),
        ran(1, "", "sbatch: error: Batch job submission failed: Invalid authentication credential\n"),
        ran(1, "", "sbatch: error: Batch job submission failed: Invalid job credential\n"),
        ran(127, "", "sbatch: No such file or directory"),
        ran(None, "", ""),
        ran(-9, "", ""),
        ran(0, "what?\n", ""),
    ],
)
def test_an_answer_that_leaves_open_whether_a_job_was_made_is_no_no(told: dict[str, object]) -> None:
    answer = sbatch.answer(told)
    assert (answer.job, answer.sure) == (None, False)
    assert answer.message


def test_the_real_sbatch_without_a_controller_is_unsure(tmp_path: Path) -> None:
    conf = tmp_path / "slurm.conf"
    conf.write_text("ClusterName=none\nSlurmctldHost=localhost(127.0.0.1)\nSlurmctldPort=1\nMessageTimeout=1\n")
    try:
        done = subprocess.run(
            ["sbatch", "--parsable", "--wrap=true"],
            env={"PATH": "/usr/bin:/bin", "SLURM_CONF": str(conf)},
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("sbatch is not installed")
    assert not sbatch.answer(ran(done.returncode, done.stdout, done.stderr)).sure


# --- timer


def test_slurm_is_asked_soon_after_a_change_and_seldom_without() -> None:
    timer, now, asked = PollTimer(None), 0.0, []
    while now < 600:
        if timer.is_due(now, urgent=False):
            asked.append(now)
            timer.answered(now, changed=now < 20)
        now += 1
    pauses = [after - before for before, after in itertools.pairwise(asked)]
    assert pauses[:4] == [5, 5, 5, 5]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 60


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(0, 30)), max_size=60), st.floats(0.5, 120))
def test_the_floor_lies_between_any_two_questions(steps: list[tuple[bool, bool, float]], floor: float) -> None:
    timer, now, last = PollTimer(floor), 0.0, None
    for urgent, answered, pause in steps:
        now += pause
        if timer.is_due(now, urgent=urgent):
            assert last is None or now - last >= floor
            last = now
            timer.answered(now, changed=urgent) if answered else timer.failed(now)


def test_what_is_urgent_waits_for_the_floor_alone() -> None:
    timer = PollTimer(10)
    for moment in (0.0, 100.0, 200.0):
        timer.answered(moment, changed=False)
    assert not timer.is_due(215.0, urgent=False)
    assert timer.is_due(215.0, urgent=True)
    assert not timer.is_due(209.0, urgent=True)
