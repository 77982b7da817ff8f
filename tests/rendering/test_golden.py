"""Golden bundles: what is rendered for each kind of cluster, byte by byte. ORCH_UPDATE_GOLDEN=1 writes them anew."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.bundle import assets
from tests.rendering.build import ALL_KINDS, PROFILES, RICH, SCRIPT, SECRETS, bundle, nodes
from tests.rendering.pods import KINDS, of_kind

GOLDEN = Path(__file__).parents[1] / "golden"
WRITE = bool(os.environ.get("ORCH_UPDATE_GOLDEN"))
OVERLAY = {"metadata": {"annotations": {"note": "012"}}, "spec": {"ttlSecondsAfterFinished": 3600}}

CASES = {
    **{kind: lambda kind=kind: bundle(kind) for kind in ALL_KINDS},
    "slurm-bare": lambda: bare("slurm"),
    "ssh-bare": lambda: bare("ssh"),
    **{f"kubernetes-{kind}": lambda kind=kind: of_kind(kind) for kind in ("trainjob", "jobset")},
    **{f"kubernetes-{kind}-rich": lambda kind=kind: of_kind(kind, RICH) for kind in KINDS},
    "kubernetes-overlay": lambda: of_kind("jobset", replace(PROFILES["kubernetes"], overlay=OVERLAY)),
    "kubernetes-script": lambda: bundle(
        "kubernetes",
        replace(PROFILES["kubernetes"], claim="checkpoints"),
        spec=replace(SCRIPT, secrets=SECRETS["kubernetes"]),
        plan=replace(nodes(1, ranks=1, device="cpu"), batch=None, memory=None, checkpoint_bytes=None),
    ),
}


def bare(kind):
    """The cluster that exists with no configuration."""
    return bundle(kind, replace(PROFILES["local"], kind=kind, env={}))


def files(of):
    """A bundle's own files; the library that travels with it is not of interest here."""
    return {file.path: file.content for file in of.files if file.path != assets.LIBRARY}


def everything(directory):
    return [path for path in directory.rglob("*") if path.is_file()]


@pytest.mark.parametrize("case", CASES)
def test_a_bundle_is_byte_for_byte_what_it_was(case):
    directory, rendered = GOLDEN / case, files(CASES[case]())
    if WRITE:
        shutil.rmtree(directory, ignore_errors=True)
        for name, content in rendered.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(content)
        return
    golden = {path.relative_to(directory).as_posix(): path.read_bytes() for path in everything(directory)}
    assert sorted(golden) == sorted(rendered), "ORCH_UPDATE_GOLDEN=1 writes the golden files anew"
    for name, content in rendered.items():
        assert content.decode() == golden[name].decode(), f"{name}: ORCH_UPDATE_GOLDEN=1 writes it anew"


def test_there_is_no_golden_bundle_without_a_case():
    assert sorted(entry.name for entry in GOLDEN.iterdir()) == sorted(CASES)


@pytest.mark.parametrize("case", CASES)
def test_two_renders_are_equal_to_the_byte(case):
    first, second = CASES[case](), CASES[case]()
    assert first == second
    assert first.digest == second.digest


@pytest.mark.parametrize("case", CASES)
def test_files_are_in_order_and_end_with_one_newline(case):
    made = CASES[case]()
    assert [file.path for file in made.files] == sorted(file.path for file in made.files)
    for name, content in files(made).items():
        assert content.endswith(b"\n"), name
        assert not content.endswith(b"\n\n"), name
