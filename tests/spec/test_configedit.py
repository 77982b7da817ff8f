"""A cluster is added to a configuration file and nothing else of it changes: no comment, no order, no value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.clusters import PROFILES
from orchestrator.clusters.slurm.profile import SlurmProfile
from orchestrator.config import configfile
from orchestrator.config.edit import with_cluster
from orchestrator.errors import JobError

NEW = {"kind": "slurm", "partition": "gpu", "options": ["--mail-type=END"], "env": {"A": "5"}}
PROFILE = SlurmProfile(kind="slurm", partition="gpu", options=("--mail-type=END",), env={"A": "5"})

FILES = {
    "nothing": "",
    "only a comment": "# mine\n",
    "no newline at the end": "default: local",
    "without clusters": "# mine\ndefault: local  # for now\ncontroller: external\n\n# the end\n",
    "clusters last": "default: a\nclusters:\n  # first\n  a: {kind: slurm}  # one\n  b:\n    kind: ssh\n    hosts: [x]",
    "clusters first": "clusters:\n  a:\n    kind: slurm\n    setup:\n      - module load a\n      - |\n        two\n"
    "        lines\n\n# then\ndefault: a\n",
    "wide indent": "clusters:\n      a: {kind: slurm}\n",
    "in braces": "clusters: {a: {kind: slurm}, b: {kind: ssh,}}  # one line\ndefault: a\n",
    "empty braces": "clusters: {}\ndefault: local\n",
    "all in braces": "{default: local, controller: auto}",
    "a document": "---\nclusters:\n  a: {kind: slurm}\n...\n",
    "a document of nothing": "---\n",
    "a document of nothing, with a directive": "%YAML 1.1\n---",
    "windows": "default: a\r\nclusters:\r\n  a: {kind: slurm}\r\n",
    "folded at the end": "clusters:\n  a:\n    kind: slurm\n    setup:\n    - >\n      a\n      b\n",
}


def parse(text: str):
    return configfile.parse(text.encode(), "config.yaml", PROFILES)


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_a_cluster_is_added_and_nothing_else_changes(text: str) -> None:
    before, after = parse(text), with_cluster(text, "new", NEW)
    found = parse(after)
    assert found.clusters["new"] == PROFILE
    assert {name: one for name, one in found.clusters.items() if name != "new"} == before.clusters
    assert (found.default, found.controller) == (before.default, before.controller)
    if "{default" not in text and "clusters: {" not in text:
        rest = iter(after.split("\n"))
        assert all(line in rest for line in text.split("\n"))  # each of them, in their order


@pytest.mark.parametrize(
    "text",
    [
        "clusters:\n  a: {kind: ssh}  # old\n  # next\n  b: {kind: slurm}\ndefault: b\n",
        "clusters:\n  a:\n    kind: ssh\n    hosts: [x]\n\n  # next\n  b: {kind: slurm}\ndefault: b\n",
        "# next\nclusters: {b: {kind: slurm}, a: {kind: ssh, hosts: [x]}}\ndefault: b\n",
    ],
)
def test_a_cluster_is_replaced_where_it_stood(text: str) -> None:
    with pytest.raises(JobError, match="a already"):
        with_cluster(text, "a", NEW)
    after = with_cluster(text, "a", NEW, replace=True)
    found = parse(after)
    assert found.clusters["a"] == PROFILE
    assert found.clusters["b"] == SlurmProfile(kind="slurm")
    assert list(found.clusters) == list(parse(text).clusters)
    assert "# next" in after


@pytest.mark.parametrize("text", ["just words", "- a\n", "clusters:\n"])
def test_what_is_no_mapping_is_left_to_its_owner(text: str) -> None:
    with pytest.raises(JobError, match="cannot be edited") as error:
        with_cluster(text, "a", {"kind": "ssh"})
    assert error.value.hint == "write it there yourself, below clusters: a: {kind: ssh}"


@given(st.text(max_size=60), st.text(max_size=20))
def test_whatever_a_value_holds_is_read_back(value: str, key: str) -> None:
    try:
        value.encode(), key.encode()
    except UnicodeEncodeError:
        return
    value, key = value.replace("\0", ""), key.replace("\0", "")
    profile = {"kind": "slurm", "env": {f"A{key.encode().hex()}": value}, "constraint": value or "x"}
    for text in ("", "clusters:\n  a: {kind: slurm}\n", "{clusters: {a: {kind: slurm}}}"):
        found = parse(with_cluster(text, "new", profile)).clusters["new"]
        assert (dict(found.env), found.constraint) == (profile["env"], profile["constraint"])
