"""What the profile of a Slurm cluster becomes in job.sbatch, and what the script does when orch itself submits it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.clusters.slurm.profile import Container, SlurmProfile
from orchestrator.clusters.slurm.render import time_limit_seconds
from orchestrator.errors import JobError
from orchestrator.model.cluster import Profile
from orchestrator.rendering import needs
from tests.rendering.build import GIB, PLAN, PROFILES, bundle, nodes
from tests.rendering.test_scripts import Slurm, options

BARE = SlurmProfile(kind="slurm")
PLANNED = f"{needs.memory_mib(PLAN)}M"


def header(profile: Profile, **changes) -> dict[str, str | None]:
    """The #SBATCH options of a rendered script; None for one without a value."""
    lines = [line for line in bundle("slurm", profile, **changes).text("job.sbatch").splitlines() if "#SBATCH" in line]
    pairs = [line.removeprefix("#SBATCH --").partition("=") for line in lines]
    return {name: value if equals else None for name, equals, value in pairs}


def test_every_key_of_the_profile_is_an_option():
    profile = replace(
        PROFILES["slurm"],
        reservation="maintenance",
        constraint="a100&nvlink",
        gpu_type="a100",
        cpus_per_gpu=12,
        memory_per_gpu=64 * GIB,
        exclusive=True,
        exclude=("gn07", "gn08"),
        options=("--mail-type=END,FAIL", "--contiguous", '--licenses="a b"'),
    )
    found = header(profile)
    assert found["reservation"] == "maintenance"
    assert found["constraint"] == '"a100&nvlink"'
    assert found["gres"] == "gpu:a100:4"
    assert found["cpus-per-task"] == "48"
    assert found["mem"] == f"{4 * 64 * 1024}M"
    assert found["exclude"] == "gn07,gn08"
    assert found["mail-type"] == "END,FAIL"
    assert found["licenses"] == r'"\"a b\""'
    assert (found["exclusive"], found["contiguous"]) == (None, None)


@pytest.mark.parametrize(
    ("profile", "plan", "memory"),
    [
        (replace(BARE, memory=512 * GIB), PLAN, "524288M"),
        (replace(BARE, memory=GIB + 1), PLAN, "1025M"),
        (replace(BARE, memory_per_gpu=GIB), PLAN, "4096M"),
        (replace(BARE, memory=GIB, gpus_per_node=4, exclusive=True), PLAN, "1024M"),
        (replace(BARE, gpus_per_node=4), PLAN, "0"),
        (replace(BARE, gpus_per_node=8), PLAN, PLANNED),
        (replace(BARE, exclusive=True), PLAN, "0"),
        (replace(BARE, gpus_per_node=4), nodes(2, device="cpu"), PLANNED),
        (BARE, PLAN, PLANNED),
        (BARE, replace(PLAN, memory=None), None),
    ],
)
def test_memory_is_the_profiles_else_the_whole_nodes_else_the_plans(profile, plan, memory):
    assert header(profile, plan=plan).get("mem") == memory


@pytest.mark.parametrize(
    "option",
    [
        "--nodes=3",
        "--job-name=x",
        "--no-requeue",
        "--array=1-3",
        "--out=/tmp/x",
        "--sig",
        "--clusters=other",
        "--wait",
        "--test-only",
        "--parsable",
        "--quiet",
        "--exclude=gn01",
        "--chdir=/tmp",
    ],
)
def test_an_option_that_the_script_is_built_on_is_refused(option):
    with pytest.raises(JobError, match="is built on it") as refused:
        header(replace(BARE, options=(option,)))
    assert refused.value.field == "clusters.slurm.options"


# Containers cannot run here. What is rendered for them is run with a stand-in for srun, which shows what it was told.


@pytest.mark.parametrize("option", ["--hold", "--dependency=afterok:5", "--wait-all-nodes=1", "--deadline=now"])
def test_an_option_that_the_script_can_do_with_is_taken(option):
    name, equals, value = option.removeprefix("--").partition("=")
    assert header(replace(BARE, options=(option,)))[name] == (value if equals else None)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(None, None), ("0", None), ("0:00:00", None), ("0-0", None), ("90", 5400), ("1:30", 90), ("1-2", 93600)],
)
def test_a_time_limit_of_nothing_is_none(text, seconds):
    assert time_limit_seconds(text) == seconds


def contained(tmp_path: Path, container: Container, **more) -> tuple[Slurm, list[str]]:
    shared = tmp_path / "sha red"
    slurm = Slurm(tmp_path, SlurmProfile(kind="slurm", shared_dir=str(shared), container=container, **more))
    slurm.run("bash", str(slurm.bundle / "job.sbatch"))
    return slurm, (slurm.probes / "srun").read_text().split("\0")


def mounts_of(slurm: Slurm, *more: str) -> str:
    shared = slurm.root / "sha red"
    own = [shared / "runs/tiny-llama", slurm.bundle, shared / "runs/tiny-llama/checkpoints", shared]
    return ",".join([*more, *(f"{path}:{path}" for path in own)])


def test_pyxis_starts_the_agents_in_the_container_and_mounts_what_they_need(tmp_path):
    image = "registry.example#team/train:1 $HOME"
    slurm, srun = contained(tmp_path, Container(runtime="pyxis", image=image, mounts=("/data", "/a:/b")))
    assert f"--container-image={image}" in srun
    assert f"--container-mounts={mounts_of(slurm, '/data:/data', '/a:/b')}" in srun
    assert f"--container-workdir={slurm.bundle}" in srun
    assert srun.index("bash") > srun.index(f"--container-image={image}")


def test_apptainer_is_what_srun_starts_on_each_node(tmp_path):
    slurm, srun = contained(tmp_path, Container(runtime="apptainer", image="/images/a b.sif"), python="/opt/py")
    first = srun.index("apptainer")
    assert srun[first:][:9] == [
        *("apptainer", "exec", "--bind", mounts_of(slurm), "--pwd", str(slurm.bundle)),
        *("--nv", "/images/a b.sif", "/opt/py"),
    ]
    assert srun.index("agent") < first


@pytest.mark.parametrize("runtime", ["pyxis", "apptainer"])
def test_shellcheck_finds_no_fault_in_a_script_with_a_container(tmp_path, runtime):
    shellcheck = shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    assert shellcheck
    profile = replace(PROFILES["slurm"], container=Container(runtime=runtime, image="a b"))
    path = tmp_path / "job.sbatch"
    path.write_text(bundle("slurm", profile).text("job.sbatch"))
    subprocess.run([shellcheck, "--severity=style", path], check=True)


# What orch submits claims its attempt.


@pytest.fixture
def slurm(tmp_path):
    """The bundle lies where orch lays it down."""
    place = Slurm(tmp_path, SlurmProfile(kind="slurm", shared_dir=str(tmp_path)))
    attempt = tmp_path / "runs/tiny-llama/attempts/000003"
    attempt.mkdir(parents=True)
    place.bundle = place.bundle.rename(attempt / "bundle")
    return place


def submitted(slurm: Slurm, job: str = "77", **more: str) -> subprocess.CompletedProcess[str]:
    (slurm.probes / "probe-0.json").unlink(missing_ok=True)
    script = str(slurm.bundle / "job.sbatch")
    return slurm.run("bash", script, "--attempt", "3", "--from-step", "20", SLURM_JOB_ID=job, **more)


def began(slurm: Slurm) -> bool:
    return (slurm.probes / "probe-0.json").exists()


def test_the_first_job_of_an_attempt_claims_it_and_another_does_nothing(slurm):
    assert submitted(slurm).returncode == 0
    found = options(slurm.probe(0)["arguments"])
    assert (found["--attempt"], found["--from-step"], found["--start"]) == ("3", "20", "77.0")
    assert (slurm.bundle.parent / "job").read_text() == "77\n"
    other = submitted(slurm, "78")
    assert other.returncode == 81
    assert "job 77 is attempt 3" in other.stdout
    assert not began(slurm)
    assert (slurm.bundle.parent / "job").read_text() == "77\n"


def test_a_job_that_slurm_queued_again_keeps_its_claim(slurm):
    submitted(slurm)
    assert submitted(slurm, SLURM_RESTART_COUNT="1").returncode == 0
    assert options(slurm.probe(0)["arguments"])["--start"] == "77.1"


def test_a_claim_needs_no_hard_links(slurm):
    link = slurm.commands / "ln"
    link.write_text("#!/bin/sh\nexit 1\n")
    link.chmod(0o755)
    assert submitted(slurm).returncode == 0
    assert submitted(slurm, "78").returncode == 81


def test_what_was_cancelled_before_it_began_does_nothing(slurm):
    (slurm.bundle.parent / "asked.json").write_text("{}")
    assert submitted(slurm).returncode == 82
    assert not began(slurm)
    assert not (slurm.bundle.parent / "job").exists()


def test_a_node_that_does_not_see_what_was_submitted_says_so(slurm):
    shutil.move(slurm.bundle / "job.json", slurm.root / "elsewhere")
    done = submitted(slurm, SLURMD_NODENAME="gn01")
    assert done.returncode == 86
    assert "gn01 does not see what was submitted" in done.stderr


def ended(slurm: Slurm, status: int, *, claimed: bool = True, restarts: int = 0) -> tuple[bool, bool]:
    """Whether the job was queued again, and whether its secrets are still there, after its agent ended so."""
    secrets = slurm.bundle.parent / "secrets.json"
    secrets.write_text("{}")
    if claimed:
        claims = slurm.root / "runs/tiny-llama/checkpoints/generations"
        claims.mkdir(parents=True, exist_ok=True)
        (claims / "000001.json").write_text(f'{{"start": "77.{restarts}"}}')
    (slurm.probes / "exit-0").write_text(str(status))
    assert submitted(slurm, SLURM_RESTART_COUNT=str(restarts)).returncode == status
    return (slurm.probes / "requeued").exists(), secrets.exists()


@pytest.mark.parametrize("status", [82, 84, 137, 1])
def test_an_end_after_which_another_start_may_help_is_queued_again_with_its_secrets(slurm, status):
    assert ended(slurm, status, restarts=40) == (True, True)


@pytest.mark.parametrize("status", [0, 83, 85, 86])
def test_a_last_end_is_not_queued_again_and_leaves_no_secrets(slurm, status):
    assert ended(slurm, status) == (False, False)


@pytest.mark.parametrize(
    ("status", "before", "again"), [(84, 0, True), (84, 2, True), (84, 3, False), (82, 19, True), (82, 20, False)]
)
def test_a_start_that_counts_nowhere_is_not_made_for_ever(slurm, status, before, again):
    for start in range(before):
        (slurm.bundle.parent / f"unclaimed.77.{start}").touch()
    assert ended(slurm, status, claimed=False, restarts=40)[0] is again


@pytest.mark.parametrize("status", [82, 84])
def test_a_cancelled_attempt_is_never_queued_again(slurm, status):
    asked = slurm.bundle.parent / "asked.json"
    script = slurm.commands / "srun"
    script.write_text(script.read_text().replace("SLURM_NODEID=0 ", f'touch "{asked}"\nSLURM_NODEID=0 '))
    assert ended(slurm, status)[0] is False


def test_a_signal_that_comes_before_the_agents_do_is_not_lost(slurm):
    """The time limit may be near while a site's own lines still run."""
    slurm_setup = slurm.bundle / "job.sbatch"
    text = slurm_setup.read_text().replace("export PYTHONPATH=", 'touch "$PROBE/ready-0"; sleep 1\nexport PYTHONPATH=')
    slurm_setup.write_text(text)
    (slurm.probes / "exit-0").write_text("82")
    argv = ["bash", str(slurm_setup), "--attempt", "3"]
    with subprocess.Popen(argv, env=slurm.environment()) as process:
        slurm.wait_for("ready-0")
        process.send_signal(signal.SIGUSR1)
        assert process.wait(20) != 0
    assert (slurm.probes / "requeued").exists()
