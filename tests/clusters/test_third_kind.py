"""A kind of cluster that orch does not have: in a folder with a row in the table, or of an installed package."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.recipes.test_recipes import ROOT, Tree, copied

RECIPE = """\
--- orchestrator/clusters/__init__.py
     "kubernetes": "orchestrator.clusters.kubernetes:KIND",
+    "twin": "orchestrator.clusters.twin:KIND",
+++ orchestrator/clusters/twin/__init__.py
+from orchestrator.clusters.kind import Kind, later, load
+from orchestrator.clusters.twin.profile import TwinProfile
+
+KIND = Kind(
+    name="twin",
+    profile=TwinProfile,
+    open=later("orchestrator.clusters.twin.backend:TwinBackend"),
+    rendering=lambda: load("orchestrator.clusters.twin.render:RENDERING"),
+    check=later("orchestrator.clusters.twin.examine:check"),
+    here=True,
+    excludes=True,
+)
+++ orchestrator/clusters/twin/profile.py
+from __future__ import annotations
+
+from dataclasses import dataclass, field
+
+from orchestrator.model.cluster import Profile
+from orchestrator.model.key import WORD, key
+
+
+@dataclass(frozen=True, slots=True, kw_only=True)
+class TwinProfile(Profile):
+    pool: str | None = field(default=None, metadata=key("The pool that its jobs run in.", pattern=WORD))
+++ orchestrator/clusters/twin/backend.py
+from orchestrator.clusters import kind_of
+
+
+class TwinBackend:
+    kind = "twin"
+
+    def __init__(self, name, profile, home):
+        self._local = kind_of("local").open(name, profile, home)
+
+    def __getattr__(self, name):
+        return getattr(self._local, name)
+++ orchestrator/clusters/twin/render.py
+from orchestrator.rendering.request import KindRendering
+
+RENDERING = KindRendering(
+    hosts=lambda request: [f"127.0.0.{node}" for node in range(1, request.plan.topology.nodes + 1)],
+    base=lambda request: request.job_dir,
+    run_dir=lambda request: None,
+    values=lambda request: {"pool": request.cluster.profile.pool},
+)
+++ orchestrator/clusters/twin/examine.py
+from orchestrator.clusters.findings import ok
+
+
+def check(place):
+    return [ok("pool", place.profile.pool or "none")], ["Its jobs run here."], []
+++ templates/twin/launch.sh.j2
+#!/usr/bin/env bash
+echo {{ job.name }} in {{ twin.pool }}
"""
STANDIN = (ROOT / "tests" / "controller" / "standin.py").read_text()
TEMPLATES = '    templates=Path(__file__).parent / "templates",\n'


def in_the_tree(tree: Tree) -> None:
    tree.apply(RECIPE)


def as_a_package(tree: Tree) -> None:
    """The files of the recipe as a package `twin_kind` that is installed beside the tree."""
    made = re.findall(r"^\+\+\+ (\S+)\n((?:\+(?!\+\+).*\n)+)", RECIPE, re.MULTILINE)
    assert len(made) == 6
    for path, body in made:
        text = "".join(line[1:] + "\n" for line in body.splitlines()).replace("orchestrator.clusters.twin", "twin_kind")
        if path.endswith("twin/__init__.py"):
            text = f"from pathlib import Path\n{text}".replace('    name="twin",\n', f'    name="twin",\n{TEMPLATES}')
        to = Path(
            path.replace("templates/twin", "twin_kind/templates").replace("orchestrator/clusters/twin", "twin_kind")
        )
        (tree.root / to).parent.mkdir(parents=True, exist_ok=True)
        (tree.root / to).write_text(text)
    install(tree, "twin-kind", {"twin": "twin_kind:KIND"})


def install(tree: Tree, package: str, points: Mapping[str, str]) -> None:
    """What tells Python that a package with these entry points is installed: a directory on its path."""
    info = tree.root / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = "".join(f"{name} = {value}\n" for name, value in points.items())
    (info / "entry_points.txt").write_text(f"[orchestrator.clusters]\n{lines}")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A copy in which an agent that trains nothing travels with the jobs."""
    made = copied(tmp_path)
    agent = STANDIN.replace('job["steps"]', "3")
    (made.root / "orchestrator" / "job" / "agent" / "__main__.py").write_text(agent)
    (made.root / "code").mkdir()
    (made.root / "code" / "train").write_text("")
    (made.root / "job.yaml").write_text("name: tiny\nrun: train\ncode: code\n")
    return made


def done(tree: Tree, *arguments: str) -> str:
    ran = tree.orch(*arguments)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.timeout(300)
@pytest.mark.parametrize("bring", [in_the_tree, as_a_package])
def test_every_command_knows_a_kind_that_was_brought(tree: Tree, bring) -> None:
    bring(tree)
    done(tree, "clusters", "add", "lab", "--kind", "twin", "--set", "pool=a", "--set", "device=cpu")
    known = json.loads(done(tree, "clusters", "--json"))[-1]
    assert (known["name"], known["kind"], known["known"]) == ("lab", "twin", {"device": "cpu", "pool": "a"})
    found = json.loads(done(tree, "clusters", "check", "lab", "--json"))
    assert (found["kind"], found["can"]) == ("twin", ["Its jobs run here."])
    assert "1 rank on the CPU" in done(tree, "plan", "job.yaml", "-c", "lab")
    done(tree, "render", "job.yaml", "-c", "lab", "-o", "out")
    assert (tree.root / "out" / "launch.sh").read_text() == "#!/usr/bin/env bash\necho tiny in a\n"
    assert "launch.sh" in done(tree, "submit", "job.yaml", "-c", "lab", "--dry-run")
    assert done(tree, "submit", "job.yaml", "-c", "lab") == "tiny\n"
    end = time.monotonic() + 200
    while (run := json.loads(done(tree, "status", "tiny", "--json")))["phase"] not in ("succeeded", "failed"):
        assert time.monotonic() < end, run
        done(tree, "controller", "--once")
    assert (run["phase"], run["cluster"]) == ("succeeded", "lab")
    done(tree, "nodes", "exclude", "n1", "-c", "lab")
    [node] = json.loads(done(tree, "nodes", "--json"))
    assert (node["node"], node["cluster"]) == ("n1", "lab")


BROKEN = (
    ("twin_kind:KIND", None, "of twin_kind:KIND (first 1.0) cannot be used: ModuleNotFoundError: No module named"),
    ("twin_kind:KIND", "1 / 0", "cannot be used: ZeroDivisionError: division by zero"),
    ("twin_kind:KIND", "OTHER = 1", "cannot be used: AttributeError: module"),
    ("twin_kind:KIND", "KIND = 5", "cannot be used: wanted the Kind twin, found an object of type int"),
    (
        "twin_kind:KIND",
        "from orchestrator.clusters import kind_of\nKIND = kind_of('local')",
        "wanted the Kind twin, found an object the Kind local",
    ),
)


@pytest.mark.parametrize(("point", "module", "sentence"), BROKEN)
def test_a_kind_that_cannot_be_used_is_a_sentence_and_harms_no_other(
    tree: Tree, point: str, module: str | None, sentence: str
) -> None:
    if module is not None:
        (tree.root / "twin_kind.py").write_text(module)
    install(tree, "first", {"twin": point})
    refused = tree.orch("clusters", "add", "lab", "--kind", "twin")
    assert refused.returncode == 4, refused.stderr
    assert sentence in refused.stderr
    assert "Traceback" not in refused.stderr
    (tree.root / "config.yaml").write_text("clusters:\n  hpc: {kind: slurm, partion: gpu}\n")
    assert "did you mean partition?" in tree.orch("clusters").stderr


def test_a_name_that_two_packages_bring_is_refused_and_both_are_named(tree: Tree) -> None:
    as_a_package(tree)
    install(tree, "second", {"twin": "other_kind:KIND", "local": "other_kind:KIND"})
    refused = tree.orch("clusters", "add", "lab", "--kind", "twin")
    assert refused.returncode == 4
    assert "other_kind:KIND (second 1.0), twin_kind:KIND (twin-kind 1.0)" in refused.stderr
    assert "1 rank on the CPU" in done(tree, "plan", "job.yaml")  # no package takes the name of a built-in kind


def test_a_name_that_is_no_kind_is_refused_with_the_kinds_that_there_are(tree: Tree) -> None:
    refused = tree.orch("clusters", "add", "lab", "--kind", "pbs")
    assert refused.returncode == 2
    assert "one of local, ssh, slurm, kubernetes" in refused.stderr
