"""What orch carries: templates, manifests, and the library of every job. In a wheel and in a checkout alike."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from orchestrator import __version__, job
from orchestrator.bundle import archive
from orchestrator.errors import OrchError
from orchestrator.model.bundle import File

LIBRARY = "lib.zip"
_PACKAGE = Path(__file__).parent.parent
# By this submitit finds its JobEnvironment in a job: as of an installed distribution, also where orch is not installed.
_DISTRIBUTION = f"orch_deepspeed-{__version__}.dist-info"
_METADATA = f"Metadata-Version: 2.1\nName: orch-deepspeed\nVersion: {__version__}\n"
_ENTRY_POINTS = "[submitit]\njob_environment = orchestrator.job.tasks.environment:OrchJobEnvironment\n"
_SUFFIX = ".j2"


def load_templates(own: str | Path) -> dict[str, str]:
    """The text of every template of a kind of cluster, by file name; its own ones win over the common ones.

    `own`: the directory of those, by its name where it is one of orch's.
    """
    root = _root("templates")
    found: dict[str, str] = {}
    for directory in (root / "common", root / own):
        for path in sorted(directory.glob(f"*{_SUFFIX}")):
            found[path.name] = path.read_text(encoding="utf-8")
    return found


@cache  # the same object for every run that a process submits
def load_library() -> File:
    """The library that the agent, the trainer and users' scripts import inside the job."""
    return as_library(library_files())


def as_library(files: Iterable[File]) -> File:
    """Modules as the one file that a bundle carries: Python imports from it, and a shared disk holds one file."""
    return File(path=LIBRARY, content=archive.pack(files))


def library_files() -> tuple[File, ...]:
    """What is in the library, in the order of the paths."""
    files = (File(path=name, content=path.read_bytes()) for name, path in job.modules())
    described = (
        File(path=f"{_DISTRIBUTION}/METADATA", content=_METADATA.encode()),
        File(path=f"{_DISTRIBUTION}/entry_points.txt", content=_ENTRY_POINTS.encode()),
    )
    return tuple(sorted((*files, *described), key=lambda file: file.path))


def manifests() -> Path:
    """The directory of what is applied to a Kubernetes cluster once. Raises OrchError."""
    return _root("manifests")


def _root(name: str) -> Path:
    """Beside the modules in a wheel, beside the package in a checkout or an editable install."""
    candidates = (_PACKAGE / f"_{name}", _PACKAGE.parent / name)
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise OrchError(
        f"no {name}: neither {candidates[0]} nor {candidates[1]} is there",
        hint="this installation is incomplete: install orch-deepspeed again",
    )
