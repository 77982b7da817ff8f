"""`orch submit --dry-run`: the files that would be sent, and the digest of them all."""

from __future__ import annotations

from orchestrator.model.bundle import Bundle
from orchestrator.views import units


def listing(bundle: Bundle) -> list[str]:
    """One line for each file: bytes, path, `*` if executable (as in `ls -F`); then the sum and the digest."""
    width = max(len(f"{len(file.content):,}") for file in bundle.files)
    lines = [f"{len(file.content):>{width},}  {file.path}{'*' if file.executable else ''}" for file in bundle.files]
    total = sum(len(file.content) for file in bundle.files)
    return [*lines, f"{units.plural(len(bundle.files), 'file')}, {units.size(total)}", f"digest {bundle.digest}"]


def to_json(bundle: Bundle) -> dict[str, object]:
    files = [{"path": file.path, "bytes": len(file.content), "executable": file.executable} for file in bundle.files]
    return {"digest": bundle.digest, "files": files}
