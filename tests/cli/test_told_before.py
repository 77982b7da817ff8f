"""Mistakes that can be known are told by `orch plan`, with the key, before anything is started."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.program import orch

LLAMA = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
         "num_attention_heads": 4, "vocab_size": 320, "max_position_embeddings": 256}  # fmt: skip
JOB = {
    "name": "tiny",
    "model": {"config": LLAMA},
    "data": {"files": "stdlib:json/*.py", "sequence_length": 64},
    "training": {"steps": 10, "global_batch": 4},
}
SCRIPT = {"name": "tiny", "run": "python train.py", "code": "code"}


def merged(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """The change laid over the base; a value of None takes a key away."""
    made = dict(base)
    for name, value in change.items():
        below = made.get(name)
        made[name] = merged(below, value) if isinstance(value, dict) and isinstance(below, dict) else value
    return {name: value for name, value in made.items() if value is not None}


def config(**keys: Any) -> dict[str, Any]:
    return {"model": {"config": keys}}


WRONG = [
    (JOB, config(model_type="lama"), "model.config.model_type", "did you mean llama?"),
    (JOB, config(model_type="mistrall"), "model.config.model_type", "did you mean mistral?"),
    (JOB, config(model_type="t5"), "model.config.model_type", "no causal language model"),
    (JOB, config(model_type="vit"), "model.config.model_type", "no causal language model"),
    (JOB, config(model_type="llava"), "model.config.model_type", "no causal language model"),
    (JOB, config(hiden_size=32), "model.config.hiden_size", "did you mean hidden_size?"),
    (JOB, config(num_hiden_layers=32), "model.config.num_hiden_layers", "did you mean num_hidden_layers?"),
    (JOB, config(num_attention_heads=5), "model.config.num_attention_heads", "does not divide hidden_size, 64"),
    (JOB, {"data": {"sequence_length": 512}}, "data.sequence_length", "the 256 positions of the model, found 512"),
    (JOB, {"training": {"args": {"weight_decai": 0.1}}}, "training.args.weight_decai", "did you mean weight_decay?"),
    (JOB, {"training": {"args": {"evaluation_strategy": "no"}}}, "training.args.evaluation_strategy", "eval_strategy?"),
    (JOB, {"training": {"lr": 1e-4}}, "training.lr", "did you mean training.learning_rate?"),
    (JOB, {"training": {"batch_size": 4}}, "training.batch_size", "did you mean training.global_batch?"),
    (JOB, {"training": {"num_train_epochs": 4}}, "training.num_train_epochs", "did you mean training.epochs?"),
    (JOB, {"training": {"max_steps": 4}}, "training.max_steps", "did you mean training.steps?"),
    (JOB, {"training": {"bf16": True}}, "training.bf16", "did you mean training.precision?"),
    (JOB, {"data": {"max_seq_length": 4}}, "data.max_seq_length", "did you mean data.sequence_length?"),
    (JOB, {"lr": 1e-4}, "lr", "did you mean training.learning_rate?"),
    (JOB, {"gpus": 8}, "gpus", "did you mean resources.gpus_per_node?"),
    (JOB, {"resources": {"nnodes": 8}}, "resources.nnodes", "did you mean resources.nodes?"),
    (JOB, {"output_dir": "out"}, "output_dir", "did you mean checkpoint.dir?"),
    (JOB, {"save_steps": 5}, "save_steps", "did you mean checkpoint.every?"),
    (JOB, {"partition": "gpu"}, "partition", "said in the profile of a cluster"),
    (JOB, {"time_limit": "1:00"}, "time_limit", "said in the profile of a cluster"),
    (JOB, {"env": {"HF_TOKEN": "hf_" + "Ab3" * 12}}, "env.HF_TOKEN", "secrets: {HF_TOKEN: {env: HF_TOKEN}}"),
    (JOB, {"env": {"WANDB_API_KEY": "0123456789abcdef" * 2}}, "env.WANDB_API_KEY", "looks like a secret"),
    (JOB, {"data": {"files": "none/*.txt"}}, "data.files", "no file matches none/*.txt"),
    (JOB, {"data": {"files": "body.jsonl"}}, "data.files", "body.jsonl:2: wanted text under text (data.text_field)"),
    (JOB, {"data": {"files": "chat.jsonl", "text_field": "messages"}}, "data.files", "and its keys are messages"),
    (JOB, {"data": {"files": "broken.jsonl"}}, "data.files", "its first record is not JSON"),
    (JOB, {"data": {"files": "list.jsonl"}}, "data.files", "wanted an object, found list"),
    (JOB, {"data": {"files": "empty.jsonl"}}, "data.files", "empty.jsonl is empty"),
    (JOB, {"model": {"config": None, "path": "./code"}}, "model.path", "found no config.json"),
    (JOB, {"model": {"config": None, "path": "./weights"}}, "tokenizer", "has no tokenizer: name one, or `bytes`"),
    (SCRIPT, {"env": {"DB_PASSWORD": "correct1horse2battery"}}, "env.DB_PASSWORD", "looks like a secret"),
    (SCRIPT, {"command": "python x.py", "run": None}, "command", "did you mean run?"),
    (SCRIPT, {"run": "python trian.py"}, "run", "trian.py"),
]  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "config.yaml").write_text("clusters: {here: {kind: local, device: cpu}}\n")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text("")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "config.json").write_text(json.dumps(LLAMA))
    texts = {"body": '\n{"body": "x"}\n', "chat": '{"messages": []}', "broken": "{x", "list": "[1]", "empty": "\n"}
    for name, text in texts.items():
        (tmp_path / f"{name}.jsonl").write_text(text)
    monkeypatch.setenv("ORCH_CONFIG", str(tmp_path / "config.yaml"))
    return tmp_path


@pytest.mark.parametrize(("base", "change", "field", "words"), WRONG)
def test_a_wrong_job_is_told_by_plan_with_its_key(here: Path, base, change, field: str, words: str) -> None:
    job = here / "job.yaml"
    job.write_text(json.dumps(merged(base, change)))
    shown = orch("plan", str(job))
    assert (shown.returncode, shown.stdout) == (2, "")
    assert f"{job}:1: {field}: " in shown.stderr, shown.stderr
    assert words in shown.stderr
    assert "Traceback" not in shown.stderr
    secrets = [value for value in change.get("env", {}).values() if isinstance(value, str)]
    assert not any(secret in shown.stderr for secret in secrets)


@pytest.mark.parametrize("base", [JOB, SCRIPT])
def test_the_jobs_that_these_are_made_of_are_right(here: Path, base: dict[str, Any]) -> None:
    job = here / "job.yaml"
    harmless = {
        "TOKENIZERS_PARALLELISM": "false",
        "HF_TOKEN_PATH": "/home/me/token1",
        "MAX_TOKEN": "4096",
        "A_KEY": "x1",
    }
    job.write_text(json.dumps({**base, "env": harmless}))
    assert orch("plan", str(job)).returncode == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (config(model_type="from_next_year"), "knows no from_next_year"),
        (config(quite_another_word=1), "has no quite_another_word, and nothing reads it"),
        ({"training": {"args": {"qqqq": 1}}}, "have no qqqq"),
    ],
)
def test_what_only_this_version_does_not_know_is_a_warning(here: Path, change: dict[str, Any], words: str) -> None:
    job = here / "job.yaml"
    job.write_text(json.dumps(merged(JOB, change)))
    shown = orch("plan", str(job))
    assert shown.returncode == 0
    assert words in shown.stdout + shown.stderr


@pytest.mark.parametrize(
    ("python", "words"),
    [
        ("/bin/ls", "/bin/ls does not run Python: "),
        ("/nowhere/python", "/nowhere/python does not run Python: "),
        ("{here}/old", "is Python 3.8.1, and 3.9 is the oldest that will do"),
        ("{here}/bare", "has no torch"),
    ],
)
def test_an_interpreter_that_cannot_run_the_job_ends_the_run_before_anything_starts(
    here: Path, python: str, words: str
) -> None:
    for name, version, torch in (("old", "3.8.1", '"2.1"'), ("bare", "3.11.2", "null")):
        answer = f'{{"torch": {torch}, "deepspeed": null, "transformers": null, "cuda": null, "python": "{version}"}}'
        (here / name).write_text(f"#!/bin/sh\necho '{answer}'\n")
        (here / name).chmod(0o755)
    profile = {"kind": "local", "device": "cpu", "python": python.format(here=here)}
    (here / "config.yaml").write_text(json.dumps({"clusters": {"here": profile}, "controller": "external"}))
    job = here / "job.yaml"
    job.write_text(json.dumps(SCRIPT))
    shown = orch("submit", str(job), "-c", "here")
    assert shown.returncode == 4
    assert words in shown.stderr
    assert "set python of the cluster here in the configuration" in shown.stderr
    status = json.loads(orch("status", "tiny", "--json").stdout)
    assert (status["phase"], status["cause"], status["attempt"]) == ("failed", "refused", 1)
