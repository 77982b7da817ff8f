"""Which hosts an attempt gets, and how those that cannot take part are named. On real sshd processes."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.clusters import open_backend
from orchestrator.clusters.attempts import start_id
from orchestrator.clusters.hosts.group import PATIENCE
from orchestrator.clusters.hosts.listing import address_of
from orchestrator.clusters.hosts.profile import SshProfile
from orchestrator.clusters.hosts.ssh import SshBackend
from orchestrator.errors import ClusterError, JobError, OrchError, PlanError, Unreachable
from orchestrator.job.protocol.operations.agents import HostFacts
from orchestrator.model.cluster import Profile
from orchestrator.model.run import Cause, Phase, Question, Submission
from testbeds.ssh import hosts
from tests.clusters.conftest import LIVE, Place

LONG = """
    import time
    while True:
        time.sleep(0.1)
"""
SHORT = "print('hello')"


@dataclasses.dataclass
class Site:
    """A bed of three hosts, and backends of clusters on it."""

    bed: hosts.Bed
    home: Path
    work: Path
    places: list[Place] = dataclasses.field(default_factory=list)

    def profile(self, **changes: Any) -> Profile:
        values = {
            "hosts": tuple(self.bed.names),
            "ssh_config": str(self.bed.config),
            "shared_dir": str(self.bed.shared),
            "python": sys.executable,
            "device": "cpu",
            **changes,
        }
        return SshProfile(kind="ssh", **values)

    def place(self, **changes: Any) -> Place:
        self.places.append(Place(open_backend("lab", self.profile(**changes), self.home), self.work))
        return self.places[-1]

    def names(self, submission: Submission) -> list[str]:
        path = Path(submission.dir, "attempts", f"{submission.attempt:06d}", "hosts.json")
        return [host["name"] for host in json.loads(path.read_text())["hosts"]]


@pytest.fixture
def site(orch_home: Path, tmp_path: Path) -> Iterator[Site]:
    reason = hosts.missing()
    if reason is not None:
        pytest.skip(reason)
    work = tmp_path / "work"
    work.mkdir()
    made = Site(hosts.Bed(3), orch_home, work)
    yield made
    for place in made.places:
        for submission in place.made:
            place.kill(submission)
    made.bed.close()


def handed_over(place: Place, script: str = SHORT, **how: Any) -> Submission:
    submission, bundle = place.attempt(script, **how)
    return dataclasses.replace(submission, handle=place.backend.submit(submission, bundle, {}))


def refusal(place: Place, **how: Any) -> OrchError:
    submission, bundle = place.attempt(SHORT, **how)
    with pytest.raises(OrchError) as error:
        place.backend.submit(submission, bundle, {})
    assert place.processes(submission) == []
    return error.value


def interpreter(path: Path) -> Path:
    """The tests' interpreter under another name."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    path.chmod(0o755)
    return path


def test_an_attempt_gets_the_first_hosts_of_the_list(site: Site) -> None:
    assert site.names(handed_over(site.place())) == ["gpu1", "gpu2"]


def test_a_host_that_refuses_connections_is_passed_over_and_named_when_it_is_missed(site: Site) -> None:
    dead = site.bed.alias("dead", "gpu1", Port="9")
    place = site.place(hosts=(dead, "gpu2", "gpu3"))
    submission = handed_over(place)
    assert site.names(submission) == ["gpu2", "gpu3"]
    assert "on gpu2, gpu3; not on dead: ssh to dead failed" in (submission.handle or "")
    place.until(submission, lambda seen: seen.phase.ended)
    error = refusal(site.place(hosts=(dead, "gpu2")), name="other")
    assert isinstance(error, Unreachable)
    assert "ssh to dead failed" in error.message
    assert "Connection refused" in error.message


@pytest.mark.parametrize(
    ("options", "words", "advice"),
    [
        ({"IdentityFile": "{root}/stranger"}, "Permission denied", "your key is accepted"),
        ({"UserKnownHostsFile": "/dev/null"}, "Host key verification failed", "compare the host's key"),
    ],
    ids=["wrong-key", "unknown-host"],
)
def test_what_only_a_person_can_mend_is_refused_with_the_host_and_what_to_do(
    site: Site, options: dict[str, str], words: str, advice: str
) -> None:
    filled = {key: value.format(root=site.bed.root) for key, value in options.items()}
    strange = site.bed.alias("strange", "gpu1", **filled)
    error = refusal(site.place(hosts=(strange, "gpu2")))
    assert type(error) is ClusterError
    assert "ssh to strange failed" in error.message
    assert words in error.message
    assert advice in (error.hint or "")
    assert site.names(handed_over(site.place(hosts=(strange, "gpu2", "gpu3")), name="other")) == ["gpu2", "gpu3"]


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ('echo \'{"version": [3, 8, 1], "executable": "/old/python", "torch": true}\'', "/old/python is Python 3.8.1"),
        ('echo \'{"version": [3, 12, 1], "executable": "/bare/python", "torch": false}\'', "has no torch"),
        ("echo boom >&2; exit 3", "the job's Python cannot be run: boom"),
    ],
    ids=["too-old", "without-torch", "broken"],
)
def test_a_host_with_another_python_is_named(site: Site, program: str, words: str) -> None:
    python = interpreter(site.bed.root / "python")
    other = site.bed.root / "other-python"
    other.write_text(f'#!/bin/sh\ncase "$2" in *find_spec*) {program}; exit;; esac\nexec {sys.executable} "$@"\n')
    other.chmod(0o755)
    site.bed["gpu2"].enter("mount", "--bind", str(other), str(python))
    error = refusal(site.place(hosts=("gpu1", "gpu2"), python=str(python)))
    assert type(error) is ClusterError
    assert "gpu2: " in error.message
    assert words in error.message
    assert "gpu1" not in error.message


def test_a_host_without_the_interpreter_is_named(site: Site) -> None:
    python = interpreter(site.bed.root / "venv" / "python")
    site.bed["gpu2"].enter("mount", "-t", "tmpfs", "tmpfs", str(python.parent))
    error = refusal(site.place(hosts=("gpu1", "gpu2"), python=str(python)))
    assert type(error) is ClusterError
    assert f"gpu2: {python} did not do what it was asked" in error.message


def test_a_host_that_sees_another_directory_is_named(site: Site) -> None:
    site.bed["gpu2"].enter("mount", "-t", "tmpfs", "tmpfs", str(site.bed.shared))
    error = refusal(site.place(hosts=("gpu1", "gpu2")))
    assert "gpu2 does not see the files that gpu1 has just written" in error.message
    assert "shared_dir must be one directory" in (error.hint or "")


def test_setup_lines_come_before_the_interpreter(site: Site) -> None:
    place = site.place(python="chosen-python", setup=(f'chosen-python() {{ {sys.executable} "$@"; }}', "false"))
    # A function is none that exec can find: the line must set PATH, as modules do.
    error = refusal(place)
    assert "the job's Python cannot be run" in error.message
    module = interpreter(site.bed.root / "module" / "chosen-python").parent
    place = site.place(python="chosen-python", setup=(f"export PATH={module}:$PATH",))
    submission = handed_over(place, name="other")
    assert place.until(submission, lambda seen: seen.phase.ended).phase is Phase.SUCCEEDED


def test_hosts_that_are_excluded_are_used_never_or_last(site: Site) -> None:
    never = site.place(exclude=("gpu1",))
    assert never.backend.hosts() == ["gpu2", "gpu3"]
    submission, bundle = never.attempt(SHORT)
    last = dataclasses.replace(submission, exclude=("gpu2",))
    never.backend.submit(last, bundle, {})
    assert site.names(last) == ["gpu3", "gpu2"]
    with pytest.raises(PlanError):
        never.attempt(SHORT, name="three", nodes=3)


def test_a_hostfile_says_which_hosts_have_slots_enough(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text("gpu1 slots=0\n")
    place = site.place(hosts=(), hostfile=str(file))
    with pytest.raises(JobError, match=r"hosts:1: gpu1 has slots=0"):
        place.backend.ready()
    file.write_text("# the lab\ngpu2 slots=1\ngpu3 slots=8\n")
    assert site.names(handed_over(place)) == ["gpu2", "gpu3"]
    assert place.backend.probe().gpus_per_node == 8
    file.unlink()
    with pytest.raises(ClusterError, match="cannot be read"):
        place.backend.ready()


def test_a_host_with_too_few_slots_is_named_with_its_line(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text("gpu1 slots=2\n")
    place = site.place(hosts=(), hostfile=str(file))
    submission, bundle = place.attempt(SHORT, nodes=1)
    job = json.loads(bundle.text("job.json"))
    wide = dataclasses.replace(
        bundle,
        files=tuple(
            dataclasses.replace(one, content=json.dumps({**job, "ranks_per_node": 4}).encode())
            if one.path == "job.json"
            else one
            for one in bundle.files
        ),
    )
    with pytest.raises(ClusterError, match=r"hosts:1: gpu1 has slots=2, the job needs 4 on a node"):
        place.backend.submit(submission, wide, {})


def test_two_hand_overs_at_once_start_every_agent_once(site: Site) -> None:
    one, two = site.place(), site.place(hosts=("gpu3", "gpu2"))
    submission, bundle = one.attempt(LONG)
    threads = [
        threading.Thread(target=place.backend.submit, args=(submission, bundle, {})) for place in (one, two, one, two)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one.until(dataclasses.replace(submission, handle="any"), lambda _: len(one.agents(submission)) >= 2)
    time.sleep(2)
    assert len(one.agents(submission)) == 2
    assert len(site.names(submission)) == 2


KILLED = """
    import pickle, sys
    sys.path.insert(0, {root!r})
    from orchestrator.clusters import open_backend
    profile, submission, bundle = pickle.load(open({file!r}, "rb"))
    open_backend("lab", profile, "/nowhere").submit(submission, bundle, {{}})
"""


@pytest.mark.parametrize(
    "delay", [0.8, pytest.param(0.4, marks=pytest.mark.full), 1.2, pytest.param(1.6, marks=pytest.mark.full)]
)
def test_a_hand_over_that_is_killed_and_repeated_starts_every_agent_once(
    site: Site, tmp_path: Path, delay: float
) -> None:
    import pickle

    place = site.place()
    submission, bundle = place.attempt(LONG)
    file = tmp_path / "submission"
    file.write_bytes(pickle.dumps((site.profile(), submission, bundle)))
    text = textwrap.dedent(KILLED).format(root=str(Path(__file__).parents[2]), file=str(file))
    with subprocess.Popen([sys.executable, "-c", text], start_new_session=True) as process:
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGKILL)
    handle = place.backend.submit(submission, bundle, {})
    again = dataclasses.replace(submission, handle=handle)
    seen = place.until(again, lambda seen: seen.report is not None and seen.report.generation >= 1)
    assert seen.phase in LIVE
    place.until(again, lambda _: len(place.agents(again)) == 2)


def test_hosts_that_do_not_answer_leave_a_run_unknown_and_do_not_hold_up_others(site: Site) -> None:
    place = site.place()
    two = handed_over(place, LONG)
    other = handed_over(site.place(hosts=("gpu3",)), LONG, name="other", nodes=1)
    place.until(two, lambda seen: seen.report is not None and seen.report.generation == 1)
    for name in ("gpu1", "gpu2"):
        site.bed[name].cut()
    seen = place.backend.observe([Question(submission=one) for one in (two, other)])
    assert seen["tiny"].phase is Phase.UNKNOWN
    assert "gpu1, gpu2 did not answer" in seen["tiny"].because
    assert seen["other"].phase in LIVE
    began = time.monotonic()
    place.backend.observe([Question(submission=one) for one in (two, other)])
    assert time.monotonic() - began < PATIENCE, "silent hosts are hardly waited for"
    for name in ("gpu1", "gpu2"):
        site.bed[name].heal()
    place.until(two, lambda seen: seen.phase in LIVE, seconds=90)


def test_a_chosen_host_that_dies_before_its_agent_is_started_is_missed_at_once(site: Site) -> None:
    place = site.place()
    submission, bundle = place.attempt(LONG)
    chosen = {
        "start": start_id(submission),
        "address": site.bed["gpu1"].address,
        "hosts": [{"name": name, "nodename": name, "slots": 1} for name in ("gpu1", "gpu2")],
        "passed_over": {},
    }
    directory = Path(submission.dir, "attempts", "000001")
    directory.mkdir(parents=True)
    (directory / "hosts.json").write_text(json.dumps(chosen))
    site.bed["gpu2"].power_off()
    again = dataclasses.replace(submission, handle=place.backend.submit(submission, bundle, {}))
    seen = place.see(again)
    assert seen.phase in LIVE
    assert seen.partial == "the agent of node 1 was not started on gpu2"
    place.backend.cancel(again, now=True)
    assert place.processes(again) == []


def test_a_start_that_fails_on_every_host_is_tried_again_and_finds_its_agents(site: Site) -> None:
    place = site.place()
    submission, bundle = place.attempt(LONG)
    place.backend.submit(submission, bundle, {})
    place.until(submission, lambda _: len(place.agents(submission)) == 2)
    hostfile = Path(submission.dir, "attempts", "000001", "hostfile")
    hostfile.unlink()
    hostfile.mkdir()  # so that it cannot be written
    with pytest.raises(Unreachable, match="whether agents were started is not known"):
        place.backend.submit(submission, bundle, {})
    hostfile.rmdir()
    again = dataclasses.replace(submission, handle=place.backend.submit(submission, bundle, {}))
    assert place.see(again).phase in LIVE
    assert len(place.agents(again)) == 2


def test_an_attempt_whose_chosen_hosts_have_all_died_has_begun_and_the_next_gets_others(site: Site) -> None:
    place = site.place(hosts=("gpu1", "gpu2"))
    submission, bundle = place.attempt(SHORT, nodes=1)
    chosen = {
        "start": start_id(submission),
        "address": site.bed["gpu1"].address,
        "hosts": [{"name": "gpu1", "nodename": "gpu1", "slots": 1}],
        "passed_over": {},
    }
    directory = Path(submission.dir, "attempts", "000001")
    directory.mkdir(parents=True)
    (directory / "hosts.json").write_text(json.dumps(chosen))
    site.bed["gpu1"].power_off()
    begun = dataclasses.replace(submission, handle=place.backend.submit(submission, bundle, {}))
    seen = place.see(begun)  # and lost after a while: see test_ssh_reading
    assert (seen.phase, seen.raw) == (Phase.UNKNOWN, "0:silent")
    second, bundle = place.attempt(SHORT, nodes=1, number=2)
    second = dataclasses.replace(second, run_id=submission.run_id)
    place.backend.submit(second, bundle, {})
    assert site.names(second) == ["gpu2"]


def test_nobody_answers(site: Site) -> None:
    place = site.place()
    submission = handed_over(place, LONG)
    for host in site.bed.hosts:
        host.power_off()
    seen = place.see(submission)
    assert (seen.phase, seen.cause) == (Phase.UNKNOWN, Cause.NONE)
    with pytest.raises(Unreachable):
        place.backend.cancel(submission, now=True)


def test_a_file_that_cannot_be_read_takes_no_other_run_with_it(site: Site) -> None:
    place = site.place(hosts=("gpu1",))
    one, two = handed_over(place, LONG, nodes=1), handed_over(place, LONG, name="two", nodes=1)
    place.until(two, lambda seen: seen.report is not None and seen.report.generation == 1)
    broken = dataclasses.replace(one, checkpoint_dir=one.checkpoint_dir + "/" + "x" * 300)
    seen = place.backend.observe([Question(submission=one) for one in (broken, two)])
    for _ in range(20):  # a busy machine may take longer than one look waits
        if "does not answer" not in seen["tiny"].because:
            break
        seen = place.backend.observe([Question(submission=one) for one in (broken, two)])
    assert seen["tiny"].phase is Phase.UNKNOWN
    assert "File name too long" in seen["tiny"].because
    assert seen["two"].phase in LIVE


def test_records_are_read_through_another_host_when_the_first_can_not(site: Site) -> None:
    python = interpreter(site.bed.root / "venv" / "python")
    place = site.place(hosts=("gpu1", "gpu2"), python=str(python))
    submission = handed_over(place, LONG)
    place.until(submission, lambda seen: seen.report is not None and seen.report.generation == 1)
    site.bed["gpu1"].enter("mount", "-t", "tmpfs", "tmpfs", str(python.parent))
    seen = place.see(submission)
    assert seen.phase in LIVE
    assert seen.because == "gpu1 did not answer"
    assert seen.report is not None
    assert seen.report.generation == 1


def test_one_ssh_a_host_and_look(site: Site) -> None:
    place = site.place()
    runs = [handed_over(place, LONG, name=name) for name in ("one", "two", "three")]
    for submission in runs:
        place.until(submission, lambda seen: seen.report is not None and seen.report.generation == 1)
    before = [sessions(site, name) for name in ("gpu1", "gpu2")]
    place.backend.observe([Question(submission=one) for one in runs])
    assert [sessions(site, name) for name in ("gpu1", "gpu2")] == [count + 1 for count in before]


def sessions(site: Site, name: str) -> int:
    return (site.bed.root / f"sshd-{name}.log").read_text().count("Starting session: command")


@pytest.mark.parametrize(
    ("name", "addresses", "expected"),
    [
        ("gpu1", ["10.0.0.1", "10.0.0.2"], "10.0.0.1"),
        ("me@gpu1", ["127.0.1.1", "10.0.0.2"], "gpu1"),
        ("gpu1", ["127.0.2.1", "127.0.2.2"], "127.0.2.1"),
        ("gpu1", [None, "10.0.0.2"], "gpu1"),
        ("gpu1", ["fe80::1%eth0", "fe80::2%eth0"], "fe80::1%eth0"),
    ],
)
def test_the_address_of_node_0_is_where_it_was_reached(name: str, addresses: list[str], expected: str) -> None:
    assert address_of(name, [HostFacts(nodename="", address=address, sees=True) for address in addresses]) == expected


def test_a_profile_without_hosts_or_a_shared_directory_says_so() -> None:
    with pytest.raises(ClusterError, match="has no shared_dir"):
        SshBackend("lab", SshProfile(kind="ssh", hosts=("gpu1",)), Path()).ready()
    with pytest.raises(ClusterError, match="lists no hosts"):
        SshBackend("lab", SshProfile(kind="ssh", shared_dir="/nfs"), Path()).ready()
    with pytest.raises(JobError, match="lists the host gpu1 twice"):
        SshBackend("lab", SshProfile(kind="ssh", shared_dir="/nfs", hosts=("gpu1", "gpu1")), Path()).ready()


def test_an_attempt_that_has_begun_is_adopted_though_the_list_has_become_too_short(site: Site) -> None:
    place = site.place(hosts=("gpu1", "gpu2"))
    submission, bundle = place.attempt(LONG)
    handle = place.backend.submit(submission, bundle, {})
    known = dataclasses.replace(submission, handle=handle)
    place.until(known, lambda seen: seen.report is not None and seen.report.generation == 1)
    shorter = site.place(hosts=("gpu1",))  # gpu2 was taken off, and whoever handed over was killed before it said so
    assert shorter.backend.submit(submission, bundle, {}) == handle
    place.until(known, lambda _: len(place.agents(submission)) == 2)
    other, files = place.attempt(LONG, name="other")
    with pytest.raises(ClusterError, match="needs 2 hosts"):
        shorter.backend.submit(other, files, {})
