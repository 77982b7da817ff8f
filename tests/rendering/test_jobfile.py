"""job.json and ds_config.json: where paths start, what is known and what is left to the job."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from orchestrator.clusters import kind_of
from orchestrator.clusters.slurm.profile import SlurmProfile
from orchestrator.errors import JobError
from orchestrator.model.bundle import File
from orchestrator.model.cluster import Profile
from orchestrator.model.spec import Data, Model, Secret
from orchestrator.rendering.files import make_bundle
from tests.rendering.build import ALL_KINDS, PLAN, PROFILES, SCRIPT, SPEC, bundle, nodes

BASES = {"local": "/home/me/jobs", "ssh": "/nfs/me", "slurm": "/scratch/me", "kubernetes": "/shared"}


def job(kind="local", profile=None, /, **changes):
    return json.loads(bundle(kind, profile, **changes).text("job.json"))


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_relative_paths_start_where_all_nodes_see_them(kind):
    spec = replace(SPEC, model=Model(path="./weights"), data=Data(files=("corpus/*.txt", "/abs/*.txt")))
    training = job(kind, spec=spec)["training"]
    assert training["data"]["files"] == [f"{BASES[kind]}/corpus/*.txt", "/abs/*.txt"]
    assert training["model"]["path"] == f"{BASES[kind]}/weights"


@pytest.mark.parametrize("kind", ["ssh", "slurm"])
def test_without_a_shared_directory_paths_start_beside_the_job_file(kind):
    files = job(kind, kind_of(kind).profile(kind=kind))["training"]["data"]["files"]
    assert files == ["/home/me/jobs/corpus/**/*.py"]


@pytest.mark.parametrize(
    ("shared", "login", "start"),
    [
        ("/home/me", None, "/home/me/jobs"),  # the nodes see job.yaml's directory
        ("/home/me/jobs", None, "/home/me/jobs"),
        ("/home/me/jobs/", None, "/home/me/jobs"),
        ("/", None, "/home/me/jobs"),
        ("/home/me/job", None, "/home/me/job"),
        ("/scratch", None, "/scratch"),
        ("/home/me", "me@hpc", "/home/me"),  # a path of the same name on another machine
    ],
)
def test_relative_paths_start_beside_the_job_file_where_the_nodes_see_it(shared, login, start):
    profile = SlurmProfile(kind="slurm", shared_dir=shared, login=login)
    assert job("slurm", profile)["training"]["data"]["files"] == [f"{start}/corpus/**/*.py"]


def test_a_wildcard_in_the_jobs_own_directory_is_none():
    files = job(job_dir="/home/me/run[1]")["training"]["data"]["files"]
    assert files == ["/home/me/run[[]1]/corpus/**/*.py"]


@pytest.mark.parametrize(
    ("name", "there", "resolved"),
    [
        ("meta-llama/Llama-2-7b-hf", False, "meta-llama/Llama-2-7b-hf"),
        ("gpt2", False, "gpt2"),
        ("gpt2", True, "/home/me/jobs/gpt2"),
        ("models/llama/7b", False, "/home/me/jobs/models/llama/7b"),
        ("../llama", False, "/home/me/llama"),
        ("/models/llama", False, "/models/llama"),
        (".hidden", False, "/home/me/jobs/.hidden"),
    ],
)
def test_a_hub_id_stays_and_a_directory_becomes_a_path(name, there, resolved):
    spec = replace(SPEC, model=Model(path=name), tokenizer=name, data=Data(dataset=name))
    training = job(spec=spec, present=frozenset({name} if there else ()))["training"]
    assert training["model"]["path"] == resolved
    assert training["tokenizer"] == resolved
    assert training["data"]["dataset"] == resolved


@pytest.mark.parametrize(
    ("spec", "tokenizer"),
    [
        (SPEC, "bytes"),
        (replace(SPEC, model=Model(path="gpt2")), "gpt2"),
        (replace(SPEC, model=Model(path="gpt2"), tokenizer="bytes"), "bytes"),
        (replace(SPEC, tokenizer="gpt2"), "gpt2"),
    ],
)
def test_the_tokenizer_is_the_models_own_and_bytes_for_an_inline_config(spec, tokenizer):
    assert job(spec=spec)["training"]["tokenizer"] == tokenizer


def test_the_profiles_environment_gives_way_to_the_jobs():
    profile = Profile(kind="local", env={"A": "profile", "B": "profile"})
    assert job("local", profile, spec=replace(SPEC, env={"B": "job", "C": "job"}))["env"] == {
        "A": "profile",
        "B": "job",
        "C": "job",
    }


def test_a_script_is_split_as_a_shell_would_and_has_no_training():
    made = job(spec=SCRIPT, plan=replace(PLAN, batch=None))
    assert made["command"] == ["train.py", "--flag", "two words"]
    assert made["code"] == "code"
    assert made["training"] is None


def test_a_script_with_an_open_quote_is_refused():
    with pytest.raises(JobError, match="is not a command line") as refused:
        bundle("local", spec=replace(SCRIPT, run="train.py 'x"))
    assert refused.value.field == "run"


def test_a_secret_is_named_and_never_read():
    assert job(spec=replace(SPEC, secrets={"HF_TOKEN": Secret(env="MINE")}))["secrets"] == {"HF_TOKEN": {"env": "MINE"}}
    assert job("ssh")["secrets"] == {"HF_TOKEN": {"file": "/nfs/me/secrets/hf"}}
    assert job("kubernetes")["secrets"] == {"HF_TOKEN": {"kubernetes": "hub/token"}}


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_an_nvme_path_is_absolute_where_deepspeed_reads_it(kind):
    offload = {"device": "nvme", "nvme_path": "swap"}
    zero = {"stage": 3, "offload_optimizer": offload, "offload_param": {**offload, "nvme_path": "/nvme"}}
    made = bundle(kind, plan=replace(PLAN, ds_config={"zero_optimization": zero}))
    rendered = json.loads(made.text("ds_config.json"))["zero_optimization"]
    assert rendered["offload_optimizer"]["nvme_path"] == f"{BASES[kind]}/swap"
    assert rendered["offload_param"]["nvme_path"] == "/nvme"


def test_space_is_asked_for_every_kept_checkpoint_and_the_one_being_saved():
    assert job()["need"]["disk_bytes"] == 4 * 3 * 10**9
    assert job(plan=replace(PLAN, checkpoint_bytes=None))["need"]["disk_bytes"] is None


def test_a_rank_that_is_alone_on_its_node_needs_no_shared_memory():
    assert job(plan=nodes(2, ranks=1))["need"]["shm_bytes"] == 0
    assert job(plan=nodes(2, ranks=4))["need"]["shm_bytes"] == 256 * 2**20


@pytest.mark.parametrize(
    ("limit", "signal"),
    [
        (None, "B:USR1@150"),
        ("24:00:00", "B:USR1@150"),
        ("4", "B:USR1@120"),
        ("0:30", "B:USR1@15"),
        ("1-0", "B:USR1@150"),
        ("0-0:02", "B:USR1@60"),
        ("0-00:00:10", "B:USR1@5"),
    ],
)
def test_slurm_tells_the_job_before_its_time_limit_early_enough_to_save(limit, signal):
    profile = replace(PROFILES["slurm"], time_limit=limit)
    assert f"#SBATCH --signal={signal}\n" in bundle("slurm", profile).text("job.sbatch")


def test_a_percent_sign_in_the_shared_directory_is_no_pattern_of_slurms():
    profile = replace(PROFILES["slurm"], shared_dir="/scratch/50%j")
    assert "#SBATCH --output=/scratch/50%%j/orch-tiny-llama-%j.log\n" in bundle("slurm", profile).text("job.sbatch")


def test_every_node_of_a_local_job_has_a_host_of_its_own():
    assert bundle("local", plan=nodes(3, ranks=2)).text("hostfile") == (
        "127.0.0.1 slots=2\n127.0.0.2 slots=2\n127.0.0.3 slots=2\n"
    )


@pytest.mark.parametrize("path", ["/abs", "a/../b", "a//b", "./a", ""])
def test_a_file_that_would_leave_the_bundle_is_refused(path):
    with pytest.raises(JobError, match="cannot be a file"):
        make_bundle([File(path=path, content=b"")])


def test_a_file_that_is_there_twice_is_refused():
    with pytest.raises(JobError, match="twice"):
        bundle("local", payload=(File(path="job.json", content=b""),))
