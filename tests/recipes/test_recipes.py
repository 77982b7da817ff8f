"""The recipes of CONTRIBUTING.md: each one's diff is applied to a copy of the tree, and what it adds is used there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.program import record

ROOT = Path(__file__).parents[2]
JOB = """\
name: tiny
model: {config: {model_type: llama, hidden_size: 64, intermediate_size: 128, num_hidden_layers: 2, num_attention_heads: 4, vocab_size: 264}}
data: {files: "stdlib:json/*.py", sequence_length: 64}
training: {steps: 6, global_batch: 4, precision: fp32}
"""  # noqa: E501 - one line of YAML


def recipes() -> dict[str, str]:
    """The diff of each recipe that has one, by its heading."""
    section = (ROOT / "CONTRIBUTING.md").read_text().split("\n## Recipes\n", 1)[1].split("\n## ", 1)[0]
    parts = re.split(r"^### (.+)$", section, flags=re.MULTILINE)[1:]
    found = zip(parts[::2], parts[1::2], strict=True)
    return {name: diff for name, text in found for diff in re.findall(r"```diff\n(.*?)```", text, re.DOTALL)}


def entry_points() -> str:
    """The entry points that the recipes show, as pip writes them beside an installed package."""
    [block] = re.findall(r"```toml\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    points = tomllib.loads(block)["project"]["entry-points"]
    return "".join(
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in points.items()
    )


@dataclass(frozen=True, kw_only=True)
class Tree:
    """A copy of the parts of the repository that a program needs, with a recipe applied to it."""

    root: Path
    home: Path

    def apply(self, diff: str) -> None:
        for mark, path, body in re.findall(r"^(---|\+\+\+) (\S+)\n((?:(?!\+\+\+ )[ +].*\n|\n)+)", diff, re.MULTILINE):
            target = self.root / path
            lines = body.splitlines()
            after = "".join(f"{line[1:]}\n" for line in lines)
            if mark == "+++":
                assert not target.exists(), f"{path} is no new file"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(after)
                continue
            before = "".join(f"{line[1:]}\n" for line in lines if line.startswith(" "))
            text = target.read_text()
            assert text.count(before) == 1, f"{path} does not hold this once:\n{before}"
            target.write_text(text.replace(before, after))

    def orch(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.python("-m", "orchestrator", *arguments)

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(self.root), "ORCH_HOME": str(self.home), "COLUMNS": "200"}
        environment["ORCH_CONFIG"] = str(self.root / "config.yaml")
        return subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, cwd=self.root, env=environment, check=False
        )


Follow = Callable[[str], Tree]


def copied(place: Path) -> Tree:
    """A new copy, where no command starts a controller."""
    made = Tree(root=place / "tree", home=place / "home")
    for part in ("orchestrator", "templates", "manifests", "docs", "tools"):
        shutil.copytree(ROOT / part, made.root / part, ignore=shutil.ignore_patterns("__pycache__"))
    (made.root / "job.yaml").write_text(JOB)
    (made.root / "config.yaml").write_text("controller: external\n")
    return made


@pytest.fixture
def follow(tmp_path: Path) -> Follow:
    """Follow a recipe in a new copy."""

    def apply(name: str) -> Tree:
        made = copied(tmp_path)
        made.apply(recipes()[name])
        return made

    return apply


def test_every_recipe_with_a_diff_has_a_test():
    assert set(recipes()) == set(re.findall(r'= follow\("(.+)"\)$', Path(__file__).read_text(), re.MULTILINE))


def test_a_field_of_job_yaml_has_limits_hints_an_override_and_a_line_in_the_reference(follow: Follow):
    tree = follow("A field of job.yaml")
    taken = tree.orch("plan", "job.yaml", "--set", "checkpoint.keep_every=5")
    assert taken.returncode == 0, taken.stderr
    refused = tree.orch("plan", "job.yaml", "--set", "checkpoint.keep_every=0")
    assert refused.returncode == 2
    assert "checkpoint.keep_every" in refused.stderr
    misspelt = tree.orch("plan", "job.yaml", "--set", "checkpoint.keep_evry=5")
    assert "did you mean keep_every?" in misspelt.stderr
    assert tree.python("tools/docs.py").returncode == 0
    assert "Keep each checkpoint of a multiple of it." in (tree.root / "docs" / "job.md").read_text()
    assert '"keep_every"' in (tree.root / "docs" / "job.schema.json").read_text()


def test_a_failure_signature_travels_into_the_job(follow: Follow):
    tree = follow("A failure signature")
    rendered = tree.orch("render", "job.yaml", "-o", "out")
    assert rendered.returncode == 0, rendered.stderr
    first, *_ = json.loads((tree.root / "out" / "job.json").read_text())["signatures"]
    assert first["cause"] == "user_error"
    assert re.search(first["pattern"], "OSError: You are trying to access a gated repo.")


def test_a_rule_of_the_controller_decides(follow: Follow):
    tree = follow("A rule of the controller")
    program = """
import pathlib, sys
from orchestrator.model.run import Action, Cause, Observation, Phase
from orchestrator.policy.rules import decide
from orchestrator.store import open_store
run = open_store(pathlib.Path(sys.argv[1])).get("tiny")
decision = decide(run, Observation(phase=Phase.FAILED, cause=Cause.DISK_FULL), 1_000.0)
assert (decision.rule, decision.action) == ("disk", Action.GIVE_UP), decision
"""
    record(tree.home, "tiny").close()
    done = tree.python("-c", program, str(tree.home))
    assert done.returncode == 0, done.stderr


def test_a_file_in_the_bundle_is_rendered_and_quoted(follow: Follow):
    tree = follow("A file in the bundle")
    rendered = tree.orch("render", "job.yaml", "-o", "out", "--set", "resources.nodes=2")
    assert rendered.returncode == 0, rendered.stderr
    said = subprocess.run([tree.root / "out" / "describe.sh"], capture_output=True, text=True, check=True)
    assert said.stdout == "tiny on 2 nodes\n"


def test_a_memory_term_is_in_the_plan(follow: Follow):
    tree = follow("A memory term")
    planned = tree.orch("plan", "job.yaml", "--json")
    assert planned.returncode == 0, planned.stderr
    assert '"checkpoint buffer"' in planned.stdout


def test_a_command_runs_has_help_and_a_place_in_the_reference(follow: Follow):
    tree = follow("A command")
    record(tree.home, "tiny").close()
    where = tree.orch("where", "tiny")
    assert where.stdout == f"{tree.home / 'runs' / 'tiny'}\n", where.stderr
    assert "print the directory of a run" in tree.orch("--help").stdout
    assert tree.python("tools/docs.py").returncode == 0
    assert "## orch where" in (tree.root / "docs" / "cli.md").read_text()


def test_a_status_column_is_in_the_table_and_in_the_json(follow: Follow):
    tree = follow("A status column")
    record(tree.home, "tiny").close()
    assert json.loads(tree.orch("status", "--json").stdout)[0]["gpu_memory"] is None
    program = """
import json, pathlib, sys
from orchestrator.job.checkpoints.claiming import Request, claim
from orchestrator.job.checkpoints.report import read_report
from orchestrator.job.protocol import files
from orchestrator.model.run import Observation, Phase
from orchestrator.policy.reconcile import current
from orchestrator.store import open_store
store = open_store(pathlib.Path(sys.argv[1]))
run = store.get("tiny")
request = Request("tiny", run.run_id, attempt=1, start="s", nodes=1, address="a", port=1, max_failures=0)
made = claim(run.checkpoint_dir, request)
line = {"step": 3, "gpu_memory": 3 << 30}
(files.generation_dir(run.checkpoint_dir, made.generation) / files.METRICS).write_text(json.dumps(line) + chr(10))
seen = Observation(phase=Phase.RUNNING, report=read_report(run.checkpoint_dir))
store.update({"tiny": current(run, seen)})
"""
    done = tree.python("-c", program, str(tree.home))
    assert done.returncode == 0, done.stderr
    header, row = tree.orch("status").stdout.splitlines()
    assert header.split()[0] == "MEMORY"
    assert row.split()[:3] == ["3.00", "GiB", "tiny"]
    assert json.loads(tree.orch("status", "--json").stdout)[0]["gpu_memory"] == 3 << 30


def test_a_kind_of_cluster_is_an_installed_package(follow: Follow):
    tree = follow("A kind of cluster")
    described = tree.root / "twin-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: twin\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text(entry_points())
    for line in (
        "clusters add here --kind twin --set room=cellar",
        "clusters check here",
        "plan job.yaml -c here",
        "render job.yaml -c here -o out",
        "submit job.yaml -c here --dry-run",
    ):
        done = tree.orch(*line.split())
        assert done.returncode == 0, (line, done.stderr)
    said = subprocess.run(["bash", tree.root / "out" / "start.sh"], capture_output=True, text=True, check=True)
    assert said.stdout == "train tiny in room cellar\n"
    misspelt = tree.orch("clusters", "add", "other", "--kind", "twin", "--set", "rom=cellar")
    assert "did you mean room?" in misspelt.stderr
