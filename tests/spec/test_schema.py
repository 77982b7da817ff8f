from __future__ import annotations

import json
import runpy
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.clusters import BUILT_IN, PROFILES
from orchestrator.config import configfile, schema, specfile
from orchestrator.config.scaffold import Answers, job_yaml
from orchestrator.config.yamlfile import parse, plain
from orchestrator.errors import JobError

ROOT = Path(__file__).parents[2]
JOB = jsonschema.Draft202012Validator(schema.json_schema())
CONFIG = jsonschema.Draft202012Validator(schema.config_schema(PROFILES))


def test_the_schemas_are_schemas():
    for validator in (JOB, CONFIG):
        validator.check_schema(validator.schema)
        json.dumps(validator.schema, allow_nan=False)


def test_every_key_has_a_description():
    def check(node):
        for name, child in node.get("properties", {}).items():
            if isinstance(child, dict) and "not" not in child and name != "model_type":
                assert child.get("description"), name
                for choice in [child, *child.get("anyOf", [])]:
                    check(choice)

    check(schema.json_schema())
    check(schema.config_schema(PROFILES))


PAGES = runpy.run_path(str(ROOT / "tools/reference.py"))["pages"](BUILT_IN)


@pytest.mark.parametrize("name", sorted(PAGES))
def test_the_pages_generated_from_the_model_are_fresh(name):
    assert (ROOT / "docs" / name).read_text() == PAGES[name], "run: make docs"


EXAMPLES = sorted(ROOT.glob("examples/**/job.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=[str(path.relative_to(ROOT)) for path in EXAMPLES])
def test_every_example_is_a_job_for_parser_and_schema(path):
    specfile.load(path)
    assert list(JOB.iter_errors(plain(parse(path.read_bytes(), str(path))))) == []


@pytest.mark.parametrize("page", ["job.md", "configuration.md"])
def test_the_examples_in_the_pages_are_read(page):
    blocks = (ROOT / "docs" / page).read_text().split("```yaml\n")[1:]
    assert blocks
    for block in blocks:
        text = block.split("```")[0].encode()
        validator = JOB if page == "job.md" else CONFIG
        (specfile.parse if page == "job.md" else parse_configuration)(text, page)
        assert list(validator.iter_errors(plain(parse(text, page)))) == []


@pytest.mark.parametrize("answers", [Answers(), Answers(minimal=True), Answers(run="train.py"), Answers(model="gpt2")])
def test_what_init_writes_meets_the_schema(answers):
    assert list(JOB.iter_errors(plain(parse(job_yaml(answers).encode(), "x")))) == []


def mapping(**choices):
    """A few of the keys, each with one of its values."""
    pairs = [(key, value) for key, values in choices.items() for value in values]
    return st.lists(st.sampled_from(pairs), max_size=3).map(dict)


def merged(*parts):
    return st.tuples(*parts).map(lambda found: {key: value for part in found for key, value in part.items()})


MODELS = [None, "a", "~/a", {}, {"path": "a"}, {"config": {"model_type": "a"}}, {"config": {}}, {"path": None}]
MODELS += [
    {"path": "a", "revision": "b"},
    {"config": {"model_type": "a"}, "revision": "b"},
    {"path": "a", "config": None},
]
DATA = [
    None,
    {},
    {"files": "a"},
    {"files": ["a"]},
    {"files": []},
    {"dataset": "a"},
    {"files": "a", "dataset": "b"},
    {"split": 5},
]
TRAINING = [
    None,
    {},
    {"steps": 5},
    {"steps": 0},
    {"epochs": 0.5},
    {"steps": 1, "epochs": None},
    {"steps": 1, "epochs": 1},
]
TRAINING += [{"steps": 1, "args": {"a": 1}}, {"steps": 1, "args": {"seed": 1}}, {"steps": 1, "seed": -1}, {"step": 1}]
BASE = {"name": "a", "model": "gpt2", "data": {"files": "a"}, "training": {"steps": 1}}

PARTS = mapping(
    name=["a", "A", "-", "a" * 41, "", 5, "a\n"],
    model=MODELS,
    data=DATA,
    training=TRAINING,
    tokenizer=["bytes", "", None, 5],
    deepspeed=[
        {},
        None,
        {"zero": 3},
        {"zero": "auto"},
        {"zero": "3"},
        {"zero": True},
        {"offload": "x"},
        {"config": {"a": 1}},
    ],
    resources=[{}, {"nodes": 2}, {"nodes": "2"}, {"nodes": True}, {"node": 1}, []],
    checkpoint=[
        {"every": 5},
        {"every": "5m"},
        {"every": "5d"},
        {"every": 0},
        {"every": 1.5},
        {"dir": "a/../b"},
        {"dir": "/a"},
    ],
    launcher=["torchrun", "mpirun", None],
    env=[{}, {"A": "b"}, {"A": ""}, {"A": 1}, {"1": "a"}, {"ORCH_A": "b"}, {"RANK": "1"}, {"A\n": "b"}],
    secrets=[{}, {"A_B": {"env": "C"}}, {"A_B": {}}, {"A_B": {"env": "C", "file": "d"}}, {"A_B": {"kubernetes": "a"}}],
    code=[".", "", None, 5],
    run=[None, "/train.py", "/train.py --a", "", 5],
    extra=[1],
)


def parse_configuration(text: bytes, file: str):
    return configfile.parse(text, file, PROFILES)


def accepts(read, document) -> bool:
    try:
        read(json.dumps(document).encode(), "job.yaml")
    except JobError:
        return False
    return True


@settings(max_examples=500)
@given(merged(st.sampled_from([BASE, {"name": "a", "run": "/train.py"}, {}]), PARTS))
def test_schema_and_parser_agree_on_a_job(document):
    assert JOB.is_valid(document) == accepts(specfile.parse, document)


PROFILE = mapping(
    kind=["local", "ssh", "slurm", "kubernetes", "cloud", None],
    partition=["gpu", "a b", "-a", ""],
    hosts=[["a"], [], ["a b"], "a"],
    hostfile=["/a", "a"],
    claim=["a", None],
    storage_class=["a", "A"],
    storage=["1Gi", "1 G"],
    gpu_memory=[1, 0, "80GiB", "80G", None],
    interface=[{}, {"socket": "a"}, {"hcas": ["b"]}, {"x": 1}],
    time_limit=["24:00:00", "1-00", 60, "x"],
    python=["python3", ""],
    job_kind=["jobset", "auto", "job"],
    runtime=["a.b", "TrainingRuntime/a", "Runtime/a", "A"],
    queue=["a", "a" * 64, None],
    node_selector=[{}, {"a.b/C_d": "e"}, {"a/b/c": "d"}, {"a": "b c"}, {"a": ""}, {"a": 5}],
    tolerations=[[], [{"operator": "Exists"}], ["a"], {}, [[]]],
    gpu_resource=["amd.com/gpu", "gpu"],
    rdma=[{"resource": "rdma/a"}, {"resource": "a"}, {}, {"resource": "rdma/a", "count": 0}, None],
    labels=[{"a": "b"}, {"orch/run": "b"}, {"kueue.x-k8s.io/queue-name": "b"}, {"a": "-"}],
    annotations=[{"a": "b c"}, {"orch/run": "b"}, {"a b": "c"}],
    overlay=[{}, {"a": [1, {"b": None}]}, [], None],
    stuck_after=[1, 0, 1.5],
    force_delete=[True, "true"],
)
BARE = st.sampled_from([{"kind": kind} for kind in ("local", "ssh", "slurm", "kubernetes")])
CLUSTERS = st.dictionaries(st.sampled_from(["a", "slurm", "-"]), merged(BARE, PROFILE), max_size=2)


@settings(max_examples=300)
@given(
    merged(
        mapping(default=["local", 5], controller=["auto", "x"], extra=[1]),
        st.fixed_dictionaries({}, optional={"clusters": CLUSTERS}),
    )
)
def test_schema_and_parser_agree_on_a_configuration(document):
    assert CONFIG.is_valid(document) == accepts(parse_configuration, document)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    ["name", "model", "data", "training", "deepspeed", "env", "secrets", "run", "steps", "path", "zero"]
)
TREES = st.recursive(VALUES, lambda inner: st.dictionaries(KEYS | st.text(max_size=5), inner, max_size=4), max_leaves=8)


@pytest.mark.parametrize("read", [specfile.parse, parse_configuration])
@given(document=st.dictionaries(KEYS, TREES))
def test_any_document_is_read_or_refused(read, document):
    text = yaml.safe_dump(document).encode()
    try:
        read(text, "job.yaml")
    except JobError as error:
        refused = error
        assert str(refused).startswith("job.yaml:")
