"""orch as its users get it: a wheel, in an environment of its own, far from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
UV = [sys.executable, "-m", "uv"]

Orch = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the wheel and the source distribution of the checkout."""
    directory = tmp_path_factory.mktemp("dist")
    command = [*UV, "build", "--quiet", "--offline", "--no-build-isolation", "--out-dir", str(directory), str(ROOT)]
    subprocess.run(command, check=True, env=os.environ | {"VIRTUAL_ENV": sys.prefix})
    return directory


@pytest.fixture(scope="session")
def wheel(distributions: Path) -> Path:
    return next(distributions.glob("*.whl"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of a fresh environment that has the wheel and its core dependencies, nothing else."""
    directory = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([*UV, "venv", "--quiet", "--python", sys.executable, str(directory)], check=True)
    install = [*UV, "pip", "install", "--quiet", "--python", str(directory / "bin" / "python")]
    pins = ["--constraint", str(ROOT / "requirements.txt"), str(wheel)]
    if subprocess.run([*install, "--offline", *pins], check=False, stderr=subprocess.DEVNULL).returncode:
        subprocess.run([*install, *pins], check=True)  # the cache lacked something
    return directory / "bin"


@pytest.fixture
def orch(installed: Path, tmp_path: Path) -> Orch:
    """Runs the installed `orch` to its end, away from the checkout, and with nothing on PYTHONPATH."""

    def run(*arguments: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        done = subprocess.run(
            [str(installed / "orch"), *arguments],
            cwd=tmp_path,
            env=env | environment,
            text=True,
            capture_output=True,
            check=False,
        )
        assert not check or done.returncode == 0, f"{done.args} ended {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture(scope="session")
def training_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has torch and deepspeed (those of this environment) but no orch."""
    directory = tmp_path_factory.mktemp("training") / "venv"
    subprocess.run([*UV, "venv", "--quiet", "--python", sys.executable, str(directory)], check=True)
    python = directory / "bin" / "python"
    site = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"],
        check=True,
        text=True,
        stdout=subprocess.PIPE,
    ).stdout.strip()
    # A .pth file inside this directory, such as the one of the editable install, is not read again.
    Path(site, "training.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return python
