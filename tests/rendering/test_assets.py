"""What orch carries is found, and what travels needs nothing else of orch."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import metadata

import pytest

import orchestrator
from orchestrator.bundle import archive, assets
from orchestrator.model.bundle import File
from tests.rendering.build import ALL_KINDS

CARRIED = {"orchestrator", "orchestrator.job", "orchestrator.submitit", "orchestrator.training"}


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_every_kind_of_cluster_has_the_common_files_and_its_own(kind):
    found = set(assets.load_templates(kind))
    assert {"job.json.j2", "ds_config.json.j2", "hostfile.j2"} < found


def test_a_kind_without_templates_of_its_own_has_the_common_ones():
    assert set(assets.load_templates("none")) == {"job.json.j2", "ds_config.json.j2", "hostfile.j2"}


def test_what_travels_is_python_source_in_the_order_of_its_paths():
    paths = [file.path for file in assets.library_files()]
    assert "orchestrator/job/agent/__main__.py" in paths
    assert paths == sorted(paths)
    source = [path for path in paths if ".dist-info/" not in path]
    assert all(path.startswith("orchestrator/") and path.endswith(".py") for path in source)


def test_the_library_is_one_file_with_the_same_bytes_every_time():
    library = assets.load_library()
    assert library == assets.as_library(assets.library_files())
    assert archive.unpack(library.content) == assets.library_files()


def test_an_archive_keeps_the_modes_and_names_of_files():
    files = (File(path="code/ä b.sh", content=b"#!\n", executable=True), File(path="code/x", content=b""))
    assert archive.unpack(archive.pack(files)) == files


def test_python_imports_from_the_library_as_it_travels(tmp_path):
    (tmp_path / assets.LIBRARY).write_bytes(assets.load_library().content)
    program = "import orchestrator.job.agent, orchestrator.job.training.session as c; print(c.__file__)"
    environment = {"PYTHONPATH": str(tmp_path / assets.LIBRARY)}
    argv = [sys.executable, "-S", "-c", program]  # -S: without the packages that this interpreter has
    done = subprocess.run(argv, env=environment, cwd=tmp_path, check=True, text=True, stdout=subprocess.PIPE)
    assert done.stdout.strip() == str(tmp_path / assets.LIBRARY / "orchestrator/job/training/session.py")


def test_submitit_finds_in_a_job_what_travels_there_and_nothing_else(tmp_path):
    path = tmp_path / assets.LIBRARY
    path.write_bytes(assets.load_library().content)
    found = next(iter(metadata.distributions(name="orch-deepspeed", path=[str(path)])))
    assert found.version == orchestrator.__version__
    [plugin] = found.entry_points
    assert (plugin.group, plugin.name) == ("submitit", "job_environment")
    assert f"{plugin.module.replace('.', '/')}.py" in {file.path for file in assets.library_files()}


def test_what_travels_imports_nothing_of_orch_that_stays_behind():
    for file in (file for file in assets.library_files() if file.path.endswith(".py")):
        for node in ast.walk(ast.parse(file.content)):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for module in modules:
                if module.split(".")[0] == "orchestrator":
                    assert ".".join(module.split(".")[:2]) in CARRIED, f"{file.path} imports {module}"
