"""What is said of a Slurm cluster, from what its commands printed: data/ was recorded on a real one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.clusters.findings import Answer, Finding
from orchestrator.clusters.slurm import check as slurm
from orchestrator.clusters.slurm import facts
from orchestrator.clusters.slurm.facts import INFINITE
from orchestrator.clusters.slurm.profile import Container, SlurmProfile
from orchestrator.errors import ClusterError

DATA = json.loads((Path(__file__).parent / "data" / "slurm-22.05.8.json").read_text())
RECORDED: dict[str, Answer] = {name: Answer(**answer) for name, answer in DATA.items()}
PROFILE = SlurmProfile(
    kind="slurm", shared_dir="/tmp", python="/opt/venv/bin/python", gpus_per_node=8, memory=16 * 2**30
)

# Recorded too: with a wrong port of slurmctld, of slurmdbd, and without accounting.
DEAD = Answer(1, "", "slurm_load_ctl_conf error: Unable to contact slurm controller (connect failure)\n")
NO_SLURMDBD = Answer(
    1,
    "",
    "sacct: error: slurm_persist_conn_open_without_init: failed to open persistent connection to "
    "host:127.0.0.1:26998: Connection refused\nsacct: error: Sending PersistInit msg: Connection refused\n"
    "sacct: error: Problem talking to the database: Connection refused\n",
)
NO_ACCOUNTING = Answer(1, "", "Slurm accounting storage is disabled\n")


def configured(**values: str) -> dict[str, Answer]:
    """The recorded answers with other values in Slurm's configuration."""
    lines = [line for line in RECORDED["config"].stdout.splitlines() if line.partition("=")[0].strip() not in values]
    lines += [f"{name} = {value}" for name, value in values.items()]
    return {**RECORDED, "config": replace(RECORDED["config"], stdout="\n".join(lines))}


def printed(name: str, old: str, new: str) -> dict[str, Answer]:
    """The recorded answers with other words in one of them."""
    text = RECORDED[name].stdout
    assert old in text
    return {**RECORDED, name: replace(RECORDED[name], stdout=text.replace(old, new))}


def findings(profile: SlurmProfile, answers: dict[str, Answer] = RECORDED) -> dict[str, Finding]:
    found, _, _ = slurm.judge(profile, answers)
    return {one.what: one for one in found}


@pytest.mark.parametrize(
    ("default", "profile", "warned"),
    [
        ("40", {}, True),
        ("4000", {}, False),
        ("UNLIMITED", {}, False),
        ("40", {"memory": 2**30}, False),
        ("40", {"memory_per_gpu": 2**30}, False),
        ("40", {"exclusive": True}, False),
    ],
)
def test_too_little_memory_for_a_script_is_told(default: str, profile: dict[str, object], *, warned: bool) -> None:
    found = findings(replace(PROFILE, **{"memory": None, **profile}), configured(DefMemPerCPU=default))
    assert ("memory" in found and found["memory"].level == "warning") == warned


def test_a_good_cluster_has_no_problem() -> None:
    found, can, cannot = slurm.judge(PROFILE, RECORDED)
    assert {one.level for one in found} == {"ok"}
    words = {one.what: one.found for one in found}
    assert words["Slurm"] == "22.05.8"
    assert words["partition"] == "low, the default: 8 of 8 nodes can be used, time limit 1-00:00:00"
    assert words["GPUs"] == "8 on a node"
    assert words["preemption"] == "requeue, 15 s of grace, the batch script is told, too"
    assert words["node loss"].startswith("noticed 10 s after")
    assert words["munge"] == "knows you as root"
    assert any("15 s to save" in sentence for sentence in can)
    assert any("about 10 s later" in sentence for sentence in can)
    assert cannot == [
        "Processes that a job leaves behind are not ended by Slurm; orch's next agents on the node end them."
    ]


@pytest.mark.parametrize(
    ("changes", "what", "level", "words"),
    [
        ({"partition": "gpu"}, "partition", "problem", "there is no gpu"),
        ({"time_limit": "48:00:00"}, "time limit", "problem", "low allows 1-00:00:00"),
        ({"time_limit": "24:00:00"}, "time limit", "ok", "24:00:00"),
        ({"time_limit": "1440"}, "time limit", "ok", "1440"),
        ({"gpus_per_node": 16}, "GPUs", "problem", "16 on a node by the profile, 8 in low"),
        ({"gpus_per_node": None}, "GPUs", "warning", "8 on a node"),
        ({"gpu_type": "a100"}, "GPUs", "problem", "no gpu:a100"),
        ({"memory": 2**40}, "memory", "problem", "20000 MiB in low"),
        ({"memory": None, "memory_per_gpu": 4 * 2**30}, "memory", "problem", "32768 MiB on a node"),
        ({"account": "root"}, "account", "ok", "root"),
        ({"account": "ml"}, "account", "warning", "no ml for this user, which Slurm does not mind"),
        ({"qos": "normal"}, "qos", "ok", "normal"),
        ({"qos": "urgent"}, "qos", "warning", "no urgent"),
        ({"reservation": "course"}, "reservation", "problem", "no course"),
        ({"shared_dir": None}, "shared directory", "problem", "names none"),
        ({"container": Container(runtime="apptainer", image="/x.sif")}, "python", "ok", "in the image /x.sif"),
    ],
)
def test_a_profile_that_does_not_fit_its_cluster_is_told(changes, what: str, level: str, words: str) -> None:
    one = findings(replace(PROFILE, **changes))[what]
    assert one.level == level
    assert words in one.found
    assert one.todo or level == "ok"


@pytest.mark.parametrize(
    ("answers", "what", "level", "words"),
    [
        (
            printed("partitions", "DefaultTime=NONE", "DefaultTime=01:00:00"),
            "time limit",
            "ok",
            "01:00:00: the profile",
        ),
        (configured(JobRequeue="0"), "requeue", "ok", "off unless a job asks"),
        (configured(PreemptType="preempt/none"), "preemption", "ok", "not preempted"),
        (configured(SlurmctldParameters="(null)"), "preemption", "ok", "only the agents are told"),
        (configured(MinJobAge="10 sec"), "memory of jobs", "warning", "10 s"),
        (configured(AccountingStorageType="accounting_storage/none"), "accounting", "warning", "none"),
        (configured(AuthType="auth/slurm"), "munge", None, ""),
        (printed("partitions", "PreemptMode=REQUEUE", "PreemptMode=CANCEL"), "preemption", "ok", "cancel"),
        (printed("partitions", "PreemptMode=REQUEUE", "PreemptMode=SUSPEND"), "preemption", "warning", "suspend"),
        (printed("partitions", "GraceTime=15", "GraceTime=0"), "preemption", "warning", "0 s of grace"),
        (printed("partitions", "State=UP", "State=DRAIN"), "partition", "problem", "low is DRAIN"),
        (printed("nodes", "|8|idle|", "|8|down*|"), "partition", "problem", "0 of 8 nodes"),
        (printed("nodes", "|8|idle|", "|8|mix|"), "partition", "ok", "8 of 8 nodes"),
        (printed("nodes", "gpu:8", "(null)"), "GPUs", "warning", "have none"),
        ({**RECORDED, "accounting": NO_SLURMDBD}, "accounting", "warning", "Problem talking to the database"),
        ({**RECORDED, "munge": NO_ACCOUNTING}, "munge", "warning", "did not say who"),
    ],
)
def test_a_cluster_that_lacks_something_is_told(answers, what: str, level: str | None, words: str) -> None:
    one = findings(PROFILE, answers).get(what)
    if level is None:
        assert one is None
    else:
        assert one is not None
        assert one.level == level
        assert words in one.found
        assert one.todo or level == "ok"


@pytest.mark.parametrize(
    ("qos", "mode", "grace"),
    [
        ("normal|cluster|00:00:00", "REQUEUE", 0),
        ("normal|cancel|00:02:00", "CANCEL", 120),
        ("urgent|off|00:00:00", "REQUEUE", 15),
    ],
)
def test_where_a_qos_says_what_preemption_does_it_is_believed(qos: str, mode: str, grace: float) -> None:
    answers = configured(PreemptType="preempt/qos", PreemptMode="GANG,REQUEUE")
    answers["qos"] = replace(RECORDED["qos"], stdout=f"{qos}\n")
    assert slurm.preemption(PROFILE, facts.facts_of(answers)) == (mode, grace)


def test_an_account_that_is_wanted_and_missing_is_a_problem() -> None:
    enforced = configured(AccountingStorageEnforce="associations,limits,qos")
    assert findings(replace(PROFILE, account="ml"), enforced)["account"].level == "problem"
    assert findings(replace(PROFILE, qos="urgent"), enforced)["qos"].level == "problem"
    nobody = {**enforced, "associations": Answer(0)}
    assert findings(PROFILE, nobody)["account"].level == "problem"
    silent = {**enforced, "associations": NO_SLURMDBD, "qos": NO_SLURMDBD}
    assert findings(replace(PROFILE, account="ml", qos="x"), silent)["account"].level == "warning"


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        (printed("partitions", "PreemptMode=REQUEUE", "PreemptMode=CANCEL"), "that needs the controller"),
        (printed("partitions", "GraceTime=15", "GraceTime=0"), "cannot save first"),
        (printed("partitions", "PreemptMode=REQUEUE", "PreemptMode=SUSPEND"), "stands still"),
        (configured(SlurmctldParameters="(null)"), "no preempt_send_user_signal"),
        (configured(AccountingStorageType="accounting_storage/none"), "Slurm forgot (300 s)"),
        ({**RECORDED, "accounting": NO_ACCOUNTING}, "Slurm forgot (300 s)"),
    ],
)
def test_what_cannot_be_promised_is_said(answers, sentence: str) -> None:
    assert not any(sentence in one for one in slurm.judge(PROFILE, RECORDED)[2])
    assert any(sentence in one for one in slurm.judge(PROFILE, answers)[2])


def test_a_controller_that_does_not_answer_is_the_problem_and_nothing_is_promised() -> None:
    known = {name: RECORDED[name] for name in ("version", "shared", "python")}
    found, can, cannot = slurm.judge(PROFILE, {**known, "config": DEAD})
    words = {one.what: (one.level, one.found) for one in found}
    assert words["Slurm"] == ("ok", "22.05.8")
    assert words["slurmctld"][0] == "problem"
    assert "Unable to contact slurm controller" in words["slurmctld"][1]
    assert "partition" not in words
    assert words["torch"][0] == "ok"
    assert (can, cannot) == ([], [])
    with pytest.raises(ClusterError, match="Unable to contact"):
        slurm.filled_in(PROFILE, {**known, "config": DEAD})


def test_a_machine_without_slurm_is_told_where_to_look() -> None:
    missing = Answer(127, "", "sinfo: No such file or directory")
    one = findings(PROFILE, {**RECORDED, "version": missing, "config": missing})["Slurm"]
    assert (one.level, one.found) == ("problem", "sinfo: No such file or directory")
    assert "login" in one.todo


def test_what_the_profile_does_not_say_is_filled_in() -> None:
    bare = SlurmProfile(kind="slurm")
    assert slurm.filled_in(bare, RECORDED) == {"partition": "low", "gpus_per_node": 8}
    assert slurm.filled_in(replace(bare, partition="high", gpus_per_node=4), RECORDED) == {}
    typed = printed("nodes", "gpu:8", "gpu:a100:4(S:0-1)")
    assert slurm.filled_in(bare, typed) == {"partition": "low", "gpus_per_node": 4, "gpu_type": "a100"}
    mixed = {
        **RECORDED,
        "nodes": replace(RECORDED["nodes"], stdout="low*|2|idle|gpu:a:8|64|1\nlow*|2|idle|gpu:b:4|64|1\n"),
    }
    assert slurm.filled_in(bare, mixed) == {"partition": "low"}


@pytest.mark.parametrize(
    ("gres", "found"),
    [
        ("gpu:8", {"": 8}),
        ("gpu:a100:4(S:0-1)", {"a100": 4}),
        ("gpu:a100:4(S:0,1),gpu:v100:2", {"a100": 4, "v100": 2}),
        ("gpu", {"": 1}),
        ("shard:16,gpu:1", {"": 1}),
        ("(null)", {}),
        ("", {}),
    ],
)
def test_gpus_are_read_from_gres(gres: str, found: dict[str, int]) -> None:
    assert facts.gpus_of(gres) == found


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 5400), ("90:30", 5430), ("24:00:00", 86400), ("1-12", 129600), ("2-00:30", 174600),
        ("1-00:00:00", 86400), ("infinite", INFINITE), ("UNLIMITED", INFINITE), ("NONE", INFINITE),
    ],
)  # fmt: skip
def test_times_are_read_as_slurm_writes_them(text: str, seconds: float) -> None:
    assert facts.seconds_of(text) == seconds


def test_a_value_with_blanks_does_not_end_a_record() -> None:
    line = "NodeName=gn01 OS=Linux 6.1 #1 SMP @0  RealMemory=20 CfgTRES=cpu=64,mem=1M AllocTRES= Weight=1"
    assert facts.records_of(line) == [
        {
            "NodeName": "gn01",
            "OS": "Linux 6.1 #1 SMP @0",
            "RealMemory": "20",
            "CfgTRES": "cpu=64,mem=1M",
            "AllocTRES": "",
            "Weight": "1",
        }
    ]
