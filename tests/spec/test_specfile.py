from __future__ import annotations

from dataclasses import replace

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.config import specfile
from orchestrator.errors import JobError
from orchestrator.model.spec import Data, DeepSpeed, Model, Secret, Training

SMALLEST = """\
name: a
model: gpt2
data: {files: "*.txt"}
training: {steps: 1}
"""
SCRIPT = "name: a\ncode: .\nrun: train.py\n"


def parse(text: str, *overrides: str, file: str = "job.yaml"):
    return specfile.parse(text.encode(), file, overrides)


def refusal(text: str, *overrides: str, file: str = "job.yaml") -> JobError:
    with pytest.raises(JobError) as caught:
        parse(text, *overrides, file=file)
    return caught.value


def test_the_smallest_job_has_defaults_for_the_rest():
    spec = parse(SMALLEST)
    assert spec.model == Model(path="gpt2")
    assert spec.data == Data(files=("*.txt",))
    assert spec.training == Training(steps=1)
    assert spec.deepspeed == DeepSpeed()


def test_a_script_of_the_users_own_needs_no_model():
    spec = parse(SCRIPT)
    assert (spec.model, spec.data, spec.training) == (None, None, None)


def test_every_key_is_read():
    spec = parse(
        """
        name: tiny-llama
        model: {path: org/model, revision: main}
        tokenizer: bytes
        data: {dataset: org/data, split: validation, text_field: body, sequence_length: 256}
        training: {epochs: 2, global_batch: 16, micro_batch: 4, learning_rate: 3e-4, precision: fp32,
                   gradient_checkpointing: true, seed: 0, log_every: 5,
                   args: {warmup_steps: 10, lr_scheduler_type: cosine}}
        deepspeed: {zero: 3, offload: nvme, nvme_path: /nvme, config: {zero_optimization: {sub_group_size: 1e9}}}
        resources: {nodes: 2, gpus_per_node: 8}
        checkpoint: {dir: /data/ckpt, every: 20m, keep: 1}
        restart: {max_failures: 0}
        launcher: deepspeed
        env: {KEY: "5", EMPTY: ""}
        secrets: {A: {env: HF}, B: {file: token}, C: {kubernetes: name/key}}
        code: src
        """
    )
    assert spec.training is not None
    assert spec.training.epochs == 2.0
    assert isinstance(spec.training.epochs, float)
    assert spec.training.args == {"warmup_steps": 10, "lr_scheduler_type": "cosine"}
    assert spec.deepspeed.config == {"zero_optimization": {"sub_group_size": 1e9}}
    assert spec.checkpoint.every_seconds == 1200
    assert spec.env == {"KEY": "5", "EMPTY": ""}
    assert spec.secrets == {"A": Secret(env="HF"), "B": Secret(file="token"), "C": Secret(kubernetes="name/key")}
    assert specfile.restore(specfile.canonical(spec)) == spec


@pytest.mark.parametrize(
    ("every", "steps", "seconds"), [("20", 20, None), ("90s", None, 90), ("2h", None, 7200), ("auto", None, None)]
)
def test_a_checkpoint_is_every_so_many_steps_or_seconds(every, steps, seconds):
    checkpoint = parse(f"{SMALLEST}checkpoint: {{every: {every}}}").checkpoint
    assert (checkpoint.every_steps, checkpoint.every_seconds) == (steps, seconds)


BAD = [
    ("nmae: a", 5, "nmae", "did you mean name?"),
    ("steps: 5", 5, "steps", "did you mean training.steps?"),
    ("xyz: 5", 5, "xyz", "unknown key; the keys here are name, model"),
    ("deepspeed:\n  zero: 2\n  ofload: cpu", 7, "deepspeed.ofload", "did you mean offload?"),
    ("secrets:\n  A:\n    evn: B", 7, "secrets.A.evn", "did you mean env?"),
    ("resources: {nodes: '2'}", 5, "resources.nodes", 'wanted a whole number of at least 1, found the text "2"'),
    ("resources: {nodes: true}", 5, "resources.nodes", "found true"),
    ("resources: {nodes: 0}", 5, "resources.nodes", "found 0"),
    ("resources: {nodes: -2}", 5, "resources.nodes", "found -2"),
    ("resources: {nodes: 2.0}", 5, "resources.nodes", "found 2.0; write 2"),
    ("resources: {nodes: }", 5, "resources.nodes", "found nothing"),
    ("resources: 2", 5, "resources", "wanted a mapping with keys of nodes, gpus_per_node; found 2"),
    ("resources: []", 5, "resources", "found a list that is empty"),
    ("deepspeed: {zero: 4}", 5, "deepspeed.zero", "wanted 0, 1, 2, 3 or auto, found 4"),
    ("deepspeed: {zero: true}", 5, "deepspeed.zero", "found true"),
    ("deepspeed: {zero: 1.0}", 5, "deepspeed.zero", "found 1.0"),
    ("deepspeed: {offload: disk}", 5, "deepspeed.offload", "wanted none, cpu, nvme or auto"),
    ("deepspeed: {config: [1]}", 5, "deepspeed.config", "wanted a file name or a mapping"),
    ("deepspeed: {config: {a: {b: .nan}}}", 5, "deepspeed.config.a.b", "wanted a finite number, found .nan"),
    ("deepspeed: {config: {a: [1, -.inf]}}", 5, "deepspeed.config.a[1]", "finite"),
    ("checkpoint: {every: 20d}", 5, "checkpoint.every", 'a time like "90s"'),
    ("checkpoint: {every: 0}", 5, "checkpoint.every", "at least 1"),
    ("checkpoint: {every: 1.5}", 5, "checkpoint.every", "found 1.5"),
    ("checkpoint: {dir: ../x}", 5, "checkpoint.dir", "without . or .."),
    ("checkpoint: {dir: /}", 5, "checkpoint.dir", "a directory"),
    ("checkpoint: {dir: attempts/x}", 5, "checkpoint.dir", "a directory"),
    ("checkpoint: {dir: ~/x}", 5, "checkpoint.dir", "a directory"),
    ("env:\n  A: 5", 6, "env.A", 'wanted text, found 5; quote it: "5"'),
    ("env:\n  A: true", 6, "env.A", 'quote it: "true"'),
    ("env:\n  A: 1.10", 6, "env.A", 'quote it: "1.10"'),
    ("env:\n  A-B: x", 6, "env.A-B", "letters, digits and _"),
    ("env:\n  ORCH_RUN: x", 6, "env.ORCH_RUN", "ORCH_"),
    ("env:\n  RANK: x", 6, "env.RANK", "the launcher sets it"),
    ('env:\n  A: "\\0"', 6, "env.A", "NUL"),
    ("env: [A=b]", 5, "env", "wanted a mapping, found a list of 1"),
    ("secrets:\n  A: {}", 6, "secrets.A", "wanted a value for env, file or kubernetes"),
    ("secrets:\n  A:\n    env: X\n    file: y", 8, "secrets.A.file", "stands beside secrets.A.env"),
    ("secrets:\n  A: {kubernetes: name}", 6, "secrets.A.kubernetes", "name/key"),
    ("secrets:\n  A: token", 6, "secrets.A", "wanted a mapping with keys of env, file, kubernetes"),
    ("env: {A: b}\nsecrets: {A: {env: B}}", 6, "secrets", "A is in env too"),
    ("run: train.py\ncode: .", 2, "model", "stands beside run"),
    ("launcher: mpirun", 5, "launcher", "wanted torchrun or deepspeed"),
    ("tokenizer: ''", 5, "tokenizer", 'found the text ""'),
    ("code: ~/src", 5, "code", "without ~/"),
]


@pytest.mark.parametrize(("more", "line", "field", "words"), BAD)
def test_what_is_wrong_is_refused_with_file_line_and_field(more, line, field, words):
    error = refusal(SMALLEST + more)
    assert (error.file, error.line, error.field) == ("job.yaml", line, field)
    assert words in error.message
    assert str(error).startswith(f"job.yaml:{line}: {field}: ")


@pytest.mark.parametrize(
    ("text", "line", "field", "words"),
    [
        ("", 1, None, "wanted a mapping with keys of name, model"),
        ("- a\n", 1, None, "found a list of 1"),
        ("hello", 1, None, 'found the text "hello"'),
        (SMALLEST.replace("name: a\n", ""), 1, "name", "is missing"),
        (SMALLEST.replace("name: a", "name: 5"), 1, "name", 'found 5; quote it: "5"'),
        *[
            (SMALLEST.replace("name: a", f"name: {name}"), 1, "name", "1 to 40 lower-case letters")
            for name in ("Big", "a_b", "-a", "a-", "a.b", "ü", "x" * 41, '"a\\n"', "''")
        ],
        (SMALLEST.replace("gpt2", "{path: a, config: {model_type: b}}"), 2, "model.config", "beside model.path"),
        (SMALLEST.replace("gpt2", "{}"), 2, "model", "wanted a value for path or config"),
        (SMALLEST.replace("gpt2", "{config: {}}"), 2, "model.config.model_type", "wanted text"),
        (SMALLEST.replace("gpt2", "{config: {model_type: x}, revision: y}"), 2, "model.revision", "belongs to a path"),
        (SMALLEST.replace("gpt2", "5"), 2, "model", "wanted a mapping with keys of path"),
        (SMALLEST.replace("model: gpt2\n", ""), 1, "model", "is missing"),
        (SMALLEST.replace('"*.txt"', "[]"), 3, "data.files", "found a list that is empty"),
        (SMALLEST.replace('"*.txt"', "[a, 5]"), 3, "data.files[1]", "quote it"),
        (SMALLEST.replace('"*.txt"', "a, dataset: b"), 3, "data.dataset", "beside data.files"),
        (SMALLEST.replace('files: "*.txt"', "split: a"), 3, "data", "wanted a value for files or dataset"),
        (SMALLEST.replace("steps: 1", "steps: 1, epochs: 2"), 4, "training.epochs", "beside training.steps"),
        (SMALLEST.replace("steps: 1", ""), 4, "training", "wanted a value for steps or epochs"),
        (SMALLEST.replace("steps: 1", "steps: 1e3"), 4, "training.steps", "found 1e3; write 1000"),
        (SMALLEST.replace("steps: 1", "epochs: 0"), 4, "training.epochs", "wanted a number above 0"),
        (SMALLEST.replace("steps: 1", "epochs: .inf"), 4, "training.epochs", "found .inf"),
        (SMALLEST.replace("steps: 1", "epochs: 1e999"), 4, "training.epochs", "found 1e999"),
        (SMALLEST.replace("steps: 1", "steps: 1, learning_rate: 1_000"), 4, "training.learning_rate", "1_000"),
        (
            SMALLEST.replace("steps: 1", "steps: 1, gradient_checkpointing: yes"),
            4,
            "training.gradient_checkpointing",
            'found the text "yes"; write true or false',
        ),
        (
            SMALLEST.replace("steps: 1", "steps: 1, args: {save_steps: 5}"),
            4,
            "training.args.save_steps",
            "is set by orch; use checkpoint.every",
        ),
        ("name: a\nrun: train.py\n", 2, "run", "add `code: .`"),
        ('name: a\nrun: "\'x"\n', 2, "run", "is not a command line: no closing quotation"),
        ("name: a\nrun: '  '\n", 2, "run", "wanted a Python script"),
        ("name: a\nrun: --flag\n", 2, "run", "wanted a Python script"),
        (SCRIPT + "training: {steps: 5}\n", 4, "training", "stands beside run"),
        (SCRIPT + "tokenizer: bytes\n", 4, "tokenizer", "stands beside run"),
    ],
)
def test_a_job_that_says_too_much_or_too_little_is_refused(text, line, field, words):
    error = refusal(text)
    assert (error.file, error.line, error.field) == ("job.yaml", line, field)
    assert words in error.message


def test_everything_that_is_wrong_is_told_at_once_in_the_order_of_lines():
    error = refusal("nmae: a\nmodel: gpt2\ndata: {files: 5}\ntraining:\n  steps: -1\n  seeed: 2\n")
    lines = str(error).split("\n")
    assert [line.split(": ")[:2] for line in lines] == [
        ["job.yaml:1", "nmae"],
        ["job.yaml:1", "name"],
        ["job.yaml:3", "data.files"],
        ["job.yaml:5", "training.steps"],
        ["job.yaml:6", "training.seeed"],
    ]


def test_a_thousand_mistakes_are_told_in_twenty_lines():
    error = refusal(SMALLEST + "".join(f"x{n}: 1\n" for n in range(1000)))
    assert error.message.count("\n") == 20
    assert error.message.endswith("... and 980 more")


def test_a_value_from_an_alias_is_wrong_where_it_was_written():
    error = refusal(SMALLEST + "env: {A: &five 5}\nsecrets: {B: {env: *five}}\n")
    assert "job.yaml:5: env.A" in str(error)
    assert "job.yaml:5: secrets.B.env" in str(error)


def test_a_path_of_a_raw_configuration_starts_at_the_job_file(tmp_path):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/ds.json").write_text(
        '{ // the guide\'s\n\t"zero_optimization": { /* stage\n three */ "stage": 3, "nvme_path": "a//b/*c*/" },\n'
        '  "train_batch_size": "auto"\n}\n'
    )
    spec = parse(SMALLEST + "deepspeed: {config: conf/ds.json}", file=str(tmp_path / "job.yaml"))
    assert spec.deepspeed.config == {
        "zero_optimization": {"stage": 3, "nvme_path": "a//b/*c*/"},
        "train_batch_size": "auto",
    }


@pytest.mark.parametrize(
    ("text", "line", "field", "words"),
    [
        ('{"a": 1,\n "a": 2}', 2, "deepspeed.config.a", "twice"),
        ('{"a": 1,,}', 1, "deepspeed.config", "is not JSON: wanted a key, found ,"),
        ('{"a": 1\n "b" 2}', 2, "deepspeed.config", "is not JSON: wanted : after a key"),
        ('{"a": 1,\n "b": True, "c": 2}', 2, "deepspeed.config", "is not JSON: wanted a value, found True"),
        ('{"a": 1,\n "b": }', 2, "deepspeed.config", "is not JSON: wanted a value, found }"),
        ('{"a": "b\n", "c": 1}', 1, "deepspeed.config", "is not JSON: the text never ends"),
        ('{"a": [1,\n 2', 2, "deepspeed.config", "is not JSON: the list never ends"),
        ('{"a": 1}\n}', 2, "deepspeed.config", "is not JSON: wanted nothing after the object"),
        ('{"a": "\\x"}', 1, "deepspeed.config", "is no escape"),
        ("[1]", 1, "deepspeed.config", "wanted a JSON object"),
        ("", 1, "deepspeed.config", "is not JSON"),
        ('{"a": 1 /* never ends', 1, "deepspeed.config", "is not JSON"),
        ('{"a":\n NaN}', 2, "deepspeed.config", "is not JSON: NaN"),
        ('{"a": {\n"b": ' + "9" * 5000 + "}}", 2, "deepspeed.config.a.b", "beyond 64 bits"),
        ('{"a":' * 40_000, 1, None, "deeper than"),
        (b"{\n\xff}", 2, "deepspeed.config", "not UTF-8"),
    ],
)
def test_what_is_wrong_in_a_raw_configuration_is_told_with_its_own_file_and_line(tmp_path, text, line, field, words):
    config = tmp_path / "ds.json"
    config.write_bytes(text if isinstance(text, bytes) else text.encode())
    error = refusal(SMALLEST + "deepspeed: {config: ds.json}", file=str(tmp_path / "job.yaml"))
    assert (error.file, error.line) == (str(config), line)
    assert field is None or error.field == field
    assert words in error.message


def test_a_raw_configuration_that_is_missing_is_told_in_the_job_file(tmp_path):
    error = refusal(SMALLEST + "deepspeed:\n  config: ds.json", file=str(tmp_path / "job.yaml"))
    assert (error.line, error.field) == (6, "deepspeed.config")
    assert "No such file" in error.message


def test_the_place_of_a_field_is_known_to_later_stages(tmp_path):
    (tmp_path / "ds.json").write_text('{\n "fp16": {\n  "enabled": true}}')
    (tmp_path / "job.yaml").write_text(SMALLEST + "deepspeed:\n  config: ds.json\n")
    loaded = specfile.load(tmp_path / "job.yaml")
    assert loaded.job_dir == str(tmp_path)
    raised = loaded.place(JobError("no", field="deepspeed.config.fp16.enabled", hint="do"))
    assert (raised.file, raised.line, raised.hint) == (str(tmp_path / "ds.json"), 3, "do")
    assert loaded.place(JobError("no", field="deepspeed.offload")).line == 5
    assert loaded.place(JobError("no", field="model.path")).line == 2
    assert loaded.place(JobError("no", field="data.files[1]")).line == 3
    assert loaded.place(JobError("no")).file == str(tmp_path / "job.yaml")


def clean(text: str) -> bool:
    return "\0" not in text


VARIABLES = st.dictionaries(st.from_regex("[A-Z]{1,5}_X", fullmatch=True), st.text().filter(clean), max_size=3)
PATHS = st.text(min_size=1).filter(clean).filter(lambda text: not text.startswith("~/"))


@given(env=VARIABLES, files=st.lists(PATHS, min_size=1, max_size=3), text_field=st.text(min_size=1).filter(clean))
def test_hostile_texts_are_read_back_from_the_canonical_form(env, files, text_field):
    spec = parse(SMALLEST)
    hostile = replace(spec, env=env, data=replace(spec.data, files=tuple(files), text_field=text_field))
    assert specfile.restore(specfile.canonical(hostile)) == hostile


class Quoting(yaml.SafeDumper):
    """Quotes every text: by itself it leaves those that are numbers in YAML 1.2 only, as 0E0 is."""


Quoting.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


@given(env=VARIABLES, file=PATHS)
@example(env={"A_X": "1e3"}, file="0E0")
def test_hostile_texts_are_read_from_yaml_as_they_are(env, file):
    job = {"name": "a", "model": "gpt2", "data": {"files": file}, "training": {"steps": 1}, "env": env}
    spec = parse(yaml.dump(job, Dumper=Quoting))
    assert spec.env == env
    assert spec.data is not None
    assert spec.data.files == (file,)


def test_the_canonical_form_does_not_depend_on_the_order_of_keys():
    one = parse(SMALLEST + "env: {A: x, B: y}\ndeepspeed: {config: {a: 1, b: 2}}")
    other = parse("deepspeed: {config: {b: 2, a: 1}}\nenv: {B: y, A: x}\n" + SMALLEST)
    assert specfile.canonical(one) == specfile.canonical(other)


def test_a_job_under_another_name_is_checked_too():
    assert specfile.named(parse(SMALLEST), "b").name == "b"
    with pytest.raises(JobError, match=r"^--name B: name: wanted 1 to 40"):
        specfile.named(parse(SMALLEST), "B")


@pytest.mark.parametrize("kind", ["local", "ssh", "slurm"])
def test_a_kubernetes_secret_is_refused_on_other_clusters(kind):
    spec = parse(SMALLEST + "secrets: {A: {kubernetes: name/key}}")
    specfile.check_secrets(spec, "kubernetes", kubernetes=True)
    with pytest.raises(JobError) as caught:
        specfile.check_secrets(spec, kind, kubernetes=False)
    assert caught.value.field == "secrets.A.kubernetes"
