"""What orch carries is found, and what travels needs nothing else of orch."""

from __future__ import annotations

import ast

import pytest

from orchestrator import assets
from tests.rendering.build import ALL_KINDS

CARRIED = {"orchestrator", "orchestrator.agent", "orchestrator.checkpoints", "orchestrator.training"}


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
    assert all(path.startswith("lib/orchestrator/") and path.endswith(".py") for path in paths)


def test_what_travels_imports_nothing_of_orch_that_stays_behind():
    for file in assets.load_payload():
        for node in ast.walk(ast.parse(file.content)):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for module in modules:
                if module.split(".")[0] == "orchestrator":
                    assert ".".join(module.split(".")[:2]) in CARRIED, f"{file.path} imports {module}"
