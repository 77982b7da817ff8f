from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config import specfile
from orchestrator.config.scaffold import Answers, job_yaml, quoted
from orchestrator.config.yamlfile import parse, plain


@pytest.mark.parametrize("minimal", [False, True])
@pytest.mark.parametrize(
    "answers",
    [{}, {"model": "gpt2"}, {"run": "train.py --flag 'a b'"}, {"files": ["a.txt", "b #.txt"], "schema": "x y\n.json"}],
)
def test_what_init_writes_is_a_job(answers, minimal):
    text = job_yaml(Answers(**answers, minimal=minimal))
    spec = specfile.parse(text.encode(), "job.yaml")
    assert spec.name == "first-run"
    assert spec.run == answers.get("run")
    if spec.data is not None:
        assert spec.data.files == tuple(answers.get("files", ["data/*.txt"]))


def test_minimal_leaves_out_the_comments():
    text = job_yaml(Answers(minimal=True))
    assert "#" not in text
    assert len(text.splitlines()) < 30


def test_commented_keys_are_keys():
    text = job_yaml(Answers())
    for line in ("  # gradient_checkpointing: true", "  # args: {", "  # config: {", "# env: {", "# secrets: {"):
        assert f"\n{line}" in text
        text = text.replace(f"\n{line}", "\n" + line.replace("# ", "", 1))
    spec = specfile.parse(text.encode(), "job.yaml")
    assert spec.env == {"TOKENIZERS_PARALLELISM": "false"}


def test_the_editors_hint_is_the_first_line():
    assert job_yaml(Answers(schema="job.schema.json")).startswith("# yaml-language-server: $schema=job.schema.json\n")


@given(st.text())
def test_any_text_is_quoted_so_that_it_is_read_back(text):
    assert plain(parse(f"a: {quoted(text)} # b".encode(), "x")) == {"a": text}
    assert yaml.safe_load(f"[{quoted(text)}]") == [text]


@pytest.mark.parametrize(
    "text", ["yes", "n", "5", "0x10", "1e3", "null", "", "-a", "a: b", "a #b", "{{ x }}", "~", "2024-01-01"]
)
def test_texts_that_look_like_something_else_are_quoted(text):
    assert quoted(text) == f'"{text}"'
