from __future__ import annotations

import pytest

from orchestrator.config import specfile
from orchestrator.errors import JobError

JOB = """\
name: a
model: gpt2
data: {files: "*.txt"}
training: {steps: 1}
"""


def parse(*overrides: str, job: str = JOB, file: str = "job.yaml"):
    return specfile.parse(job.encode(), file, overrides)


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("training.steps=50", lambda spec: spec.training.steps == 50),
        ("training.learning_rate=3e-4", lambda spec: spec.training.learning_rate == 3e-4),
        ("training={epochs: 2, args: {warmup_steps: 3}}", lambda spec: spec.training.args == {"warmup_steps": 3}),
        ("deepspeed.zero=3", lambda spec: spec.deepspeed.zero == 3),
        ("deepspeed.config.zero_optimization.stage=3", lambda s: s.deepspeed.config["zero_optimization"]["stage"] == 3),
        ("data.files=[a, b]", lambda spec: spec.data.files == ("a", "b")),
        ("data.files=*.py", lambda spec: spec.data.files == ("*.py",)),
        ("model=org/other", lambda spec: spec.model.path == "org/other"),
        ("model.revision=main", lambda spec: (spec.model.path, spec.model.revision) == ("gpt2", "main")),
        ("env.A=x: y # z", lambda spec: spec.env == {"A": "x: y # z"}),
        ('env.A="5"', lambda spec: spec.env == {"A": "5"}),
        ("env.A=a=b", lambda spec: spec.env == {"A": "a=b"}),
        ("checkpoint.every=20m", lambda spec: spec.checkpoint.every_seconds == 1200),
        ("training.micro_batch=null", lambda spec: spec.training.micro_batch is None),
    ],
)
def test_an_override_is_read_as_the_same_value_in_the_file(override, read):
    assert read(parse(override))


def test_a_later_override_wins():
    spec = parse("training.steps=2", "training.steps=3")
    assert spec.training is not None
    assert spec.training.steps == 3


def test_null_takes_a_value_away():
    spec = parse("training.steps=null", "training.epochs=2")
    assert spec.training is not None
    assert (spec.training.steps, spec.training.epochs) == (None, 2.0)


def test_an_override_reaches_into_a_raw_configuration_file(tmp_path):
    (tmp_path / "ds.json").write_text('{"fp16": {"enabled": true}}')
    job = JOB + "deepspeed: {config: ds.json}"
    spec = parse("deepspeed.config.fp16.hysteresis=4", job=job, file=str(tmp_path / "job.yaml"))
    assert spec.deepspeed.config == {"fp16": {"enabled": True, "hysteresis": 4}}


@pytest.mark.parametrize(
    ("override", "field", "words"),
    [
        ("training.steps", None, "wanted KEY=VALUE"),
        ("=5", None, "wanted KEY=VALUE"),
        ("training..steps=5", None, "wanted KEY=VALUE"),
        ("training.step=5", "training.step", "did you mean steps?"),
        ("steps=5", "steps", "did you mean training.steps?"),
        ("training.steps=-5", "training.steps", "found -5"),
        ("training.steps=many", "training.steps", 'found the text "many"'),
        ("training.steps='5'", "training.steps", 'found the text "5"'),
        ("training.steps.x=5", "training.steps.x", "there is no mapping above x, but 1 (job.yaml:4)"),
        ("training.steps=99999999999999999999", None, "64 bits"),
        ("training={a: [}", None, "is not YAML"),
        ("env.A=5", "env.A", 'quote it: "5"'),
        ("env.A=\udcff", "env.A", "half a character"),
        ('env.A="\udcff"', None, "is not UTF-8"),
        ("na\udcffme=x", "na\udcffme", "unknown key"),
        ("training.epochs=2", "training.epochs", "stands beside training.steps"),
    ],
)
def test_a_bad_override_is_named_in_the_error(override, field, words):
    with pytest.raises(JobError) as caught:
        parse(override)
    error = caught.value
    assert error.file == f"--set {override}".encode(errors="replace").decode()
    assert (error.line, error.field) == (None, field)
    assert words in error.message


def test_an_override_of_a_file_that_is_no_mapping_is_refused():
    with pytest.raises(JobError, match="there is no mapping above name"):
        parse("name=a", job="- a")
