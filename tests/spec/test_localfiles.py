from __future__ import annotations

import pytest

from orchestrator.config import specfile
from orchestrator.errors import JobError
from orchestrator.inputs import localfiles
from orchestrator.model.spec import Spec

JOB = "name: a\nmodel: {model}\ndata: {{{data}}}\ntraining: {{steps: 1}}\n"


def job(model: str = "gpt2", data: str = "dataset: org/data", more: str = "") -> Spec:
    return specfile.parse((JOB.format(model=model, data=data) + more).encode(), "job.yaml")


def refusal(spec: Spec, directory) -> JobError:
    with pytest.raises(JobError) as caught:
        localfiles.check_local(spec, str(directory))
    return caught.value


@pytest.fixture
def here(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src/train.py").write_text("")
    (tmp_path / "text/deep").mkdir(parents=True)
    (tmp_path / "text/deep/a.txt").write_text("")
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text("{}")
    (tmp_path / "token").write_text("secret")
    return tmp_path


@pytest.mark.parametrize(
    "spec",
    [
        job(),
        job(model="./model", data='files: "text/**/*.txt"', more="tokenizer: ./model\ncode: src\n"),
        job(data="files: [text/deep/a.txt]", more="secrets: {A: {file: token}}\n"),
        job(data="dataset: ./text"),
        specfile.parse(b"name: a\nrun: train.py --x\ncode: src\n", "job.yaml"),
        specfile.parse(b"name: a\nrun: /elsewhere/train.py\n", "job.yaml"),
    ],
)
def test_what_is_there_is_fine(here, spec):
    localfiles.check_local(spec, str(here))
    localfiles.check_sent(spec, str(here))


@pytest.mark.parametrize(
    ("spec", "field", "words"),
    [
        (job(data='files: "*.txt"'), "data.files", "no file matches *.txt"),
        (job(data="files: [text/deep/a.txt, text]"), "data.files[1]", "no file matches text"),
        (job(data="dataset: ./none"), "data.dataset", "wanted a directory"),
        (job(model="./none"), "model.path", "no config.json"),
        (job(model="./src"), "model.path", "no config.json"),
        (job(more="tokenizer: ./none\n"), "tokenizer", "wanted a directory"),
        (job(more="code: none\n"), "code", "found nothing"),
        (job(more="code: token\n"), "code", "found a file"),
        (job(more="secrets: {A: {file: none}}\n"), "secrets.A.file", "no such file"),
        (specfile.parse(b"name: a\nrun: other.py\ncode: src\n", "job.yaml"), "run", "wanted a script"),
    ],
)
def test_what_is_missing_on_this_machine_is_named(here, spec, field, words):
    error = refusal(spec, here)
    assert error.field == field
    assert words in error.message


def test_everything_that_is_missing_is_told_at_once(here):
    error = refusal(job(model="./none", data="files: none", more="code: none\n"), here)
    assert (error.field, error.message.count("\n")) == ("code", 2)
    assert "\ndata.files: no file matches none" in error.message


def test_only_what_is_sent_must_be_here_for_another_cluster(here):
    localfiles.check_sent(job(model="./none", data="files: none"), str(here))
    with pytest.raises(JobError, match="wanted a directory"):
        localfiles.check_sent(job(more="code: none\n"), str(here))
