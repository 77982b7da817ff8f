from __future__ import annotations

import re
import shlex
import subprocess
from argparse import ArgumentParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config import specfile
from orchestrator.errors import JobError
from orchestrator.inputs import localfiles
from orchestrator.job.agent.script import expanded
from orchestrator.model.command import Command, CommandError, parse_command
from orchestrator.model.launchers import ACCELERATE, DEEPSPEED, TORCHRUN, Launcher
from orchestrator.model.spec import Spec

DS = {"ACCELERATE_USE_DEEPSPEED": "true"}
TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=12)


def command(run: str) -> Command:
    """For 2 nodes of 2 ranks."""
    return parse_command(run, nodes=2, ranks=2, names=["FOO"])


@pytest.mark.parametrize(
    ("run", "words", "environment"),
    [
        ("train.py --a 1", ["train.py", "--a", "1"], {}),
        ("python train.py", ["train.py"], {}),
        ("python3.11 -u train.py -u", ["train.py", "-u"], {"PYTHONUNBUFFERED": "1"}),
        ("/opt/v/bin/python -B -m pkg.t -m", ["-m", "pkg.t", "-m"], {"PYTHONDONTWRITEBYTECODE": "1"}),
        ("python -um pkg.t", ["-m", "pkg.t"], {"PYTHONUNBUFFERED": "1"}),
        ("python -mpkg.t a", ["-m", "pkg.t", "a"], {}),
        ("python -OO -W error -Wignore t.py", ["t.py"], {"PYTHONOPTIMIZE": "2", "PYTHONWARNINGS": "error,ignore"}),
        ("python -X faulthandler t.py", ["t.py"], {"PYTHONFAULTHANDLER": "1"}),
        ("torchrun --nproc_per_node=2 --nnodes 2 t.py --nnodes 9", ["t.py", "--nnodes", "9"], {}),
        ("torchrun --standalone --nproc-per-node gpu -m pkg.t", ["-m", "pkg.t"], {}),
        ("torchrun --nproc=2 --rdzv_endpoint=$HOST:1 --max-restarts 3 t.py", ["t.py"], {}),
        ("torchrun --nnodes 1:4 -r 3 --tee 3 t.py -r", ["t.py", "-r"], {}),
        ("/opt/v/bin/torchrun --no-python python -u t.py", ["t.py"], {"PYTHONUNBUFFERED": "1"}),
        ("python -m torch.distributed.run --nproc_per_node 2 t.py", ["t.py"], {}),
        ("python -m torch.distributed.launch --use_env t.py", ["t.py"], {}),
        ("deepspeed t.py --deepspeed", ["t.py", "--deepspeed"], {}),
        ("deepspeed --hostfile h --num_gpus 2 --no_ssh t.py", ["t.py"], {}),
        ("deepspeed --include=a:0,1@b:4,5 --module pkg.t", ["-m", "pkg.t"], {}),
        ("accelerate launch t.py --cpu", ["t.py", "--cpu"], {}),
        (
            "accelerate launch --num_processes 4 --mixed_precision bf16 t.py",
            ["t.py"],
            {"ACCELERATE_MIXED_PRECISION": "bf16"},
        ),
        (
            "accelerate launch --use_deepspeed --zero_stage=3 --zero3_init_flag true t.py",
            ["t.py"],
            {**DS, "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3", "ACCELERATE_DEEPSPEED_ZERO3_INIT": "true"},
        ),
        ("accelerate launch --zero_stage 3 t.py", ["t.py"], {}),
        (
            "accelerate-launch --dynamo_backend inductor -m pkg.t",
            ["-m", "pkg.t"],
            {"ACCELERATE_DYNAMO_BACKEND": "inductor"},
        ),
        ("python -m accelerate.commands.launch --cpu t.py", ["t.py"], {"ACCELERATE_USE_CPU": "true"}),
        (
            "fabric run --devices 2 --num-nodes=2 --precision bf16-mixed t.py",
            ["t.py"],
            {"LT_CLI_USED": "1", "LT_DEVICES": "2", "LT_NUM_NODES": "2", "LT_PRECISION": "bf16-mixed"},
        ),
        (
            "lightning run model --devices=0,1 t.py",
            ["t.py"],
            {"LT_CLI_USED": "1", "LT_DEVICES": "2", "LT_NUM_NODES": "2"},
        ),
        (
            "trl sft --config a.yaml --num_processes 4 --lr 1",
            ["-m", "trl.scripts.sft", "--config", "a.yaml", "--lr", "1"],
            {},
        ),
        ("axolotl train a.yml", ["-m", "axolotl.cli.train", "a.yml"], {}),
        ("llamafactory-cli train a.yaml", ["-m", "llamafactory.launcher", "a.yaml"], {}),
        ("lightning fit --config a.yaml", ["lightning", "fit", "--config", "a.yaml"], {}),
        ("bash train.sh a", ["bash", "train.sh", "a"], {}),
        ("/bin/bash -x train.sh", ["bash", "-x", "train.sh"], {}),
        ("./train.sh", ["bash", "./train.sh"], {}),
        ("bash -c 'a | b; echo $X'", ["bash", "-c", "a | b; echo $$X"], {}),
        ("t.py $ORCH_CHECKPOINT_DIR/${FOO}", ["t.py", "$ORCH_CHECKPOINT_DIR/${FOO}"], {}),
        ("t.py '$X' \\$X \"\\$X\" $$X 5$", ["t.py", "$$X", "$$X", "$$X", "$$X", "5$$"], {}),
        ("t.py ~/d 'a > b' \"a;b\" a=b", ["t.py", "$HOME/d", "a > b", "a;b", "a=b"], {}),
        ("t.py \\\n  --a 1 \\\n", ["t.py", "--a", "1"], {}),
        ("t.py \\ --a 1", ["t.py", "--a", "1"], {}),
        ("t.py\n--a 1\n", ["t.py", "--a", "1"], {}),
        ("t.py '' \"\"", ["t.py", "", ""], {}),
    ],
)
def test_a_command_starts_what_stands_behind_its_launcher(run, words, environment):
    found = command(run)
    assert (list(found.words), dict(found.environment)) == (words, environment)


@pytest.mark.parametrize(
    ("run", "problem"),
    [
        ("torchrun --nnodes 4 t.py", "--nnodes 4 contradicts resources.nodes: 2"),
        ("torchrun --nnodes=3:4 t.py", "--nnodes 3:4 contradicts resources.nodes: 2"),
        ("torchrun --nproc_per_node 8 t.py", "--nproc_per_node 8 contradicts resources.gpus_per_node: 2"),
        ("torchrun --nproc_per_node many t.py", "wanted a number, found many"),
        ("torchrun --nproc_per_gpu 2 t.py", "did you mean --nproc_per_node?"),
        ("torchrun --nnodes", "--nnodes of torchrun has no value"),
        ("torchrun --no-python ./train.sh", "for every rank"),
        ("deepspeed --num_gpus 8 t.py", "--num_gpus 8 contradicts resources.gpus_per_node: 2"),
        ("deepspeed --include localhost:0,1 t.py", "contradicts resources.nodes: 2"),
        ("deepspeed --include a:0@b:0 t.py", "contradicts resources.gpus_per_node: 2"),
        ("deepspeed --autotuning run t.py", "--autotuning of deepspeed cannot be handed on"),
        ("accelerate launch --num_processes 8 t.py", "contradicts nodes x gpus_per_node: 4"),
        ("accelerate launch --fsdp_offload_params true t.py", "cannot be handed on"),
        ("fabric run --devices 8 t.py", "--devices 8 contradicts"),
        ("trl sft --num_processes 8", "contradicts nodes x gpus_per_node: 4"),
        ("trl sft --accelerate_config zero3", "copy that file"),
        ("A=1 python t.py", "write it below `env:`"),
        ("python -c 'x'", "write it into a script"),
        ("python -I t.py", "-I of Python cannot be handed on"),
        ("t.py | tee log", "| can only be said to a shell"),
        ("t.py >log 2>&1", ">, 2>&1 can only be said to a shell"),
        ("t.py;ls", "; can only be said to a shell"),
        ("t.py $(date) `date` ${A:-1}", "$(, `, ${ can only be said to a shell"),
        ("cd a\npython t.py", "a new line begins another command"),
        ("t.py $ORCH_CHECKPOINT_DR", "did you mean $ORCH_CHECKPOINT_DIR? (there are FOO, HOME"),
        ("t.py 'a", "no closing quotation mark '"),
        ('t.py "a', 'no closing quotation mark "'),
        ("uv run t.py", "uv is not taken"),
        ("srun python t.py", "it starts ranks, and orch does"),
        ("bash", "bash needs a script"),
        ("python", "wanted a Python script"),
        ("", "wanted a Python script"),
    ],
)
def test_a_command_that_cannot_be_taken_is_told(run, problem):
    with pytest.raises(CommandError) as caught:
        command(run)
    assert problem in str(caught.value)


def test_what_is_taken_off_is_said_in_one_line():
    assert command("deepspeed --hostfile h --num_gpus=2 t.py --x").notes == (
        "not used, because orch starts the ranks itself: deepspeed --hostfile h --num_gpus 2",
    )


@given(st.lists(TEXT, max_size=5))
def test_quoted_arguments_reach_the_script_as_they_are(arguments):
    found = command(shlex.join(["t.py", *arguments]))
    assert [expanded(word, {}) for word in found.words] == ["t.py", *arguments]


@given(st.lists(TEXT, max_size=4))
def test_arguments_behind_a_launcher_reach_the_script_as_they_are(arguments):
    found = command(shlex.join(["torchrun", "--nproc_per_node", "2", "t.py", *arguments]))
    assert [expanded(word, {}) for word in found.words] == ["t.py", *arguments]


@pytest.mark.parametrize(
    "line",
    [
        r"""a\ b 'c"d' "e'f" g\"h "i\"j" 'k\l' "m\n" \\ "\\" a'b'"c"d""",
        r"""'$FOO' "$FOO" $FOO ${FOO}x "\$FOO" \$FOO '$$' a$ "$ b" x~ '~'""",
        "a \\\n b 'c\nd' \"e\\\nf\"",
    ],
)
def test_a_line_is_taken_apart_as_bash_does(line):
    by_bash = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {line}"], env={"FOO": "foo bar"}, capture_output=True, text=True, check=True
    ).stdout.split("\0")[:-1]
    words = [expanded(word, {"FOO": "foo_bar"}).replace("foo_bar", "foo bar") for word in command(f"t.py {line}").words]
    # a variable outside of quotes is one word here, and as many as it has in a shell
    assert words[1:] == _joined(by_bash)


def _joined(words: list[str]) -> list[str]:
    found: list[str] = []
    for word in words:
        if found and found[-1] == "foo" and word.startswith("bar"):
            found[-1] += f" {word}"
        else:
            found.append(word)
    return found


def known_to(parser: ArgumentParser) -> tuple[set[str], set[str]]:
    """The names of a parser's flags, and of its options with a value."""
    flags, values = set(), set()
    for action in parser._actions:
        names = {option.lstrip("-").replace("-", "_") for option in action.option_strings}
        (flags if action.nargs == 0 else values).update(names)
    return flags - {"h", "help", "print_completion"}, values - {"print_completion"}


def without_value(launcher: Launcher) -> set[str]:
    return {*launcher.flags, *launcher.module}


@pytest.mark.full
@pytest.mark.parametrize("name", ["torchrun", "accelerate"])
def test_every_option_of_the_installed_launchers_is_known(name):
    if name == "torchrun":
        from torch.distributed.run import get_args_parser

        launcher, parser = TORCHRUN, get_args_parser()
    else:
        from accelerate.commands.launch import launch_command_parser

        launcher, parser = ACCELERATE, launch_command_parser()
    flags, values = known_to(parser)
    assert flags <= without_value(launcher)
    assert not values & without_value(launcher)
    assert {name for name in values if name not in launcher.known() and launcher.refusal(name) is None} == set()


@pytest.mark.full
@pytest.mark.parametrize(
    "option", sorted(DEEPSPEED.known() - {"elastic_training", "min_elastic_nodes", "max_elastic_nodes"})
)
def test_the_options_of_deepspeed_take_a_value_or_none_as_its_runner_says(option):
    from deepspeed.launcher.runner import parse_args

    value = {"autotuning": "run", "log_level": "info"}.get(option, "1")
    words = [f"{'-' if len(option) == 1 else '--'}{option}", *([] if option in without_value(DEEPSPEED) else [value])]
    assert parse_args([*words, "t.py", "--x"]).user_script == "t.py"


JOB = "name: a\ncode: src\nresources: {{nodes: 2, gpus_per_node: 2}}\nrun: {}\n"


DS_CONFIG = '{"train_micro_batch_size_per_gpu": 1, "zero_optimization": {"stage": 2}}'
ACCELERATE_FILE = """distributed_type: DEEPSPEED
num_machines: 2
num_processes: 4
mixed_precision: bf16
deepspeed_config: {deepspeed_config_file: ds.json, zero3_init_flag: true}
dynamo_config: {dynamo_backend: INDUCTOR}
"""


@pytest.fixture
def here(tmp_path):
    code = tmp_path / "src"
    code.mkdir()
    for name in ("train.py", "train.sh"):
        (code / name).write_text("")
    (code / "ds.json").write_text(DS_CONFIG)
    (code / "acc.yaml").write_text(ACCELERATE_FILE)
    (code / "eight.yaml").write_text(ACCELERATE_FILE.replace("num_processes: 4", "num_processes: 8"))
    (code / "fsdp.yaml").write_text("distributed_type: FSDP\nfp8_config: {backend: TE}\n")
    return tmp_path


def job(directory: Path, run: str, more: str = "") -> Spec:
    return specfile.parse((JOB.format(run) + more).encode(), str(directory / "job.yaml"))


@pytest.mark.parametrize(
    "run",
    ["train.py --deepspeed ds.json", "accelerate launch --use_deepspeed --deepspeed_config_file ds.json train.py"],
)
def test_the_ds_config_of_a_script_is_the_one_that_is_checked(here, run):
    assert job(here, run).deepspeed.config == {"train_micro_batch_size_per_gpu": 1, "zero_optimization": {"stage": 2}}
    assert job(here, run, f"deepspeed: {{config: {DS_CONFIG}}}\n").deepspeed.config is not None


def test_a_file_of_accelerate_reaches_the_script(here):
    spec = job(here, "accelerate launch --config_file acc.yaml train.py")
    assert spec.deepspeed.config is not None
    assert spec.env == {
        "ACCELERATE_USE_DEEPSPEED": "true",
        "ACCELERATE_MIXED_PRECISION": "bf16",
        "ACCELERATE_DEEPSPEED_CONFIG_FILE": "ds.json",
        "ACCELERATE_DEEPSPEED_ZERO3_INIT": "true",
        "ACCELERATE_DYNAMO_BACKEND": "INDUCTOR",
    }


@pytest.mark.parametrize(
    ("run", "more", "words"),
    [
        ("train.py --deepspeed none.json", "", "none.json"),
        (
            "train.py --deepspeed ds.json",
            "deepspeed: {config: {zero_optimization: {stage: 3}}}\n",
            "zero_optimization differ",
        ),
        ("accelerate launch --config_file eight.yaml train.py", "", "num_processes: 8, and the job has 4"),
        ("accelerate launch --config_file fsdp.yaml train.py", "", "distributed_type: FSDP"),
        ("accelerate launch --config_file fsdp.yaml train.py", "", "fp8_config"),
        ("torchrun --nnodes 4 train.py", "", "--nnodes 4 contradicts resources.nodes: 2"),
        ("bash train.sh $KEY", "secrets: {KEY: {env: KEY}}\n", "can be read by all"),
    ],
)
def test_what_contradicts_the_command_is_refused_at_its_line(here, run, more, words):
    with pytest.raises(JobError, match=re.escape(words)) as caught:
        job(here, run, more)
    assert (caught.value.file, caught.value.line) == (str(here / "job.yaml"), 4)


@pytest.mark.parametrize("run", ["-m x", "some-tool a", "bash -x train.sh", "bash -c ls", "train.py", "python -m a.b"])
def test_what_may_be_there_is_taken(here, run):
    run = f"python {run}" if run.startswith("-m") else run
    localfiles.check_sent(job(here, run), str(here))


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ("trian.py", "src/trian.py; did you mean train.py?"),
        ("bash -x other.sh", "src/other.sh"),
        ("train.yaml", "wanted a script, found nothing"),
        ("sub/tool", "wanted a script, found nothing"),
    ],
)
def test_a_word_that_is_no_file_and_no_program_is_refused(here, run, words):
    with pytest.raises(JobError, match=re.escape(words)):
        localfiles.check_sent(job(here, run), str(here))
