"""What orch carries is found, and what travels needs nothing else of orch."""

from __future__ import annotations

import ast
from importlib import metadata

import pytest

import orchestrator
from orchestrator import assets
from tests.rendering.build import ALL_KINDS

CARRIED = {
    "orchestrator",
    "orchestrator.agent",
    "orchestrator.checkpoints",
    "orchestrator.submitit",
    "orchestrator.training",
}


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_every_kind_of_cluster_has_the_common_files_and_its_own(kind):
    found = set(assets.load_templates(kind))
    assert {"job.json.j2", "ds_config.json.j2", "hostfile.j2"} < found


def test_a_kind_without_templates_of_its_own_has_the_common_ones():
    assert set(assets.load_templates("none")) == {"job.json.j2", "ds_config.json.j2", "hostfile.j2"}


def test_what_travels_is_python_source_in_the_order_of_its_paths():
    paths = [file.path for file in assets.load_payload()]
    assert "lib/orchestrator/agent/__main__.py" in paths
    assert paths == sorted(paths)
    source = [path for path in paths if ".dist-info/" not in path]
    assert all(path.startswith("lib/orchestrator/") and path.endswith(".py") for path in source)


def test_submitit_finds_in_a_job_what_travels_there_and_nothing_else(tmp_path):
    for file in assets.load_payload():
        path = tmp_path / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
    found = next(iter(metadata.distributions(name="orch-deepspeed", path=[str(tmp_path / "lib")])))
    assert found.version == orchestrator.__version__
    [plugin] = found.entry_points
    assert (plugin.group, plugin.name) == ("submitit", "job_environment")
    assert (tmp_path / "lib" / f"{plugin.module.replace('.', '/')}.py").exists()


def test_what_travels_imports_nothing_of_orch_that_stays_behind():
    for file in (file for file in assets.load_payload() if file.path.endswith(".py")):
        for node in ast.walk(ast.parse(file.content)):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for module in modules:
                if module.split(".")[0] == "orchestrator":
                    assert ".".join(module.split(".")[:2]) in CARRIED, f"{file.path} imports {module}"
