"""Golden bundles: what is rendered for each kind of cluster, byte by byte. ORCH_UPDATE_GOLDEN=1 writes them anew.

A field of job.json is in every bundle, and changes three files here: job.json of the built-in trainer and of a script,
and one ConfigMap. Of the other bundles, `job.json.diff` has what differs from the trainer's. Their ConfigMaps are
compared without the copy of job.json, which is compared with the file, and without the digest, which is computed again.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from orchestrator.bundle import assets
from orchestrator.clusters import kind_of
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
    return bundle(kind, kind_of(kind).profile(kind=kind))


def files(of):
    """A bundle's own files; the library that travels with it is not of interest here."""
    return {file.path: file.content for file in of.files if file.path != assets.LIBRARY}


BASE = "local"
WHOLE = {(BASE, "job.json"), ("kubernetes-script", "job.json"), ("kubernetes", "configmap.yaml")}


@functools.cache
def rendered(case):
    return files(CASES[case]())


def pinned(case, of):
    """The golden files of a bundle's files."""
    made = dict(of)
    if (case, "job.json") not in WHOLE:
        made["job.json.diff"] = differences(json.loads(rendered(BASE)["job.json"]), json.loads(made.pop("job.json")))
    if "configmap.yaml" in of and (case, "configmap.yaml") not in WHOLE:
        text = of["configmap.yaml"].decode()
        text = text.replace(json.dumps(of["job.json"].decode()), '"<job.json>"')
        made["configmap.yaml"] = text.replace(digest_of(of["configmap.yaml"]), "<digest>").encode()
    return made


def differences(base, other):
    return "".join(f"{line}\n" for line in _differences(base, other, "")).encode()


def _differences(base, other, path) -> Iterator[str]:
    for key in sorted({*base, *other}):
        here = f"{path}{key}"
        if key not in other:
            yield f"{here} is absent"
        elif isinstance(base.get(key), dict) and isinstance(other[key], dict):
            yield from _differences(base[key], other[key], f"{here}.")
        elif key not in base or base[key] != other[key]:
            yield f"{here} = {json.dumps(other[key])}"


def digest_of(config_map):
    held = yaml.safe_load(config_map)
    values = [held.get("data", {}), held.get("binaryData", {})]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


@pytest.mark.parametrize("case", CASES)
def test_a_bundle_is_byte_for_byte_what_it_was(case):
    directory, now = GOLDEN / case, pinned(case, rendered(case))
    if WRITE:
        shutil.rmtree(directory, ignore_errors=True)
        for name, content in now.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(content)
        return
    found = (path for path in directory.rglob("*") if path.is_file())
    golden = {path.relative_to(directory).as_posix(): path.read_text() for path in found}
    assert sorted(golden) == sorted(now), "ORCH_UPDATE_GOLDEN=1 writes the golden files anew"
    for name, content in now.items():
        assert content.decode() == golden[name], f"{name}: ORCH_UPDATE_GOLDEN=1 writes it anew"


@pytest.mark.parametrize("case", CASES)
def test_job_json_is_written_in_one_way_and_a_config_map_holds_a_copy_of_it(case):
    now = rendered(case)
    text = now["job.json"].decode()
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    if "configmap.yaml" in now:
        held = yaml.safe_load(now["configmap.yaml"])
        assert held["data"]["job.json"] == text
        assert held["metadata"]["annotations"]["orch/digest"] == digest_of(now["configmap.yaml"])


def with_a_new_field(of):
    """The files of a bundle whose job.json has a field more."""
    before, digest = of["job.json"].decode(), digest_of(of["configmap.yaml"]) if "configmap.yaml" in of else ""
    after = json.dumps({**json.loads(before), "a_new_field": 1}, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    changed = {**of, "job.json": after.encode()}
    if digest:
        text = of["configmap.yaml"].decode().replace(json.dumps(before), json.dumps(after))
        changed["configmap.yaml"] = text.replace(digest, digest_of(text.encode())).encode()
    return changed


def test_a_new_field_of_job_json_changes_three_golden_files():
    base = json.loads(with_a_new_field(rendered(BASE))["job.json"])
    changed = []
    for case in CASES:
        before, new = pinned(case, rendered(case)), with_a_new_field(rendered(case))
        after = pinned(case, new)
        if "job.json.diff" in after:
            after["job.json.diff"] = differences(base, json.loads(new["job.json"]))
        changed += [(case, name) for name in after if after[name] != before[name]]
    assert set(changed) == WHOLE


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
