"""A bundle as one ConfigMap: a key a file, and the way back from keys to paths."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass

from orchestrator.errors import JobError
from orchestrator.model.bundle import Bundle, File
from orchestrator.rendering import quoting

LIMIT = 2**20  # bytes of all values; the API server refuses more

_WAY_OUT = (
    "put the code into the image or on the claim and leave `code:` out, or list what it does not need in .gitignore"
)
_ROLES = 2
_EXECUTABLE = 0o555
_NAMED_BIGGEST = 3
_NO_KEY = re.compile(r"[^-._a-zA-Z0-9]")
_KEY_LENGTH = 240  # of 253, which leaves room for a number


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigMap:
    """`data` and `binary` (base64) by key; `items` are those of the volume, in the order of the bundle's paths."""

    data: dict[str, str]
    binary: dict[str, str]
    items: list[dict[str, str | int]]

    @property
    def digest(self) -> str:
        """Of all values by their keys."""
        return hashlib.sha256(json.dumps([self.data, self.binary], sort_keys=True).encode()).hexdigest()


def config_map_of(bundle: Bundle) -> ConfigMap:
    """The ConfigMap that carries `bundle`. Raises JobError when it is too big, or a path cannot be in a volume."""
    _refuse_too_big(bundle)
    made = ConfigMap(data={}, binary={}, items=[])
    for file in bundle.files:
        key = _key(file.path, {*made.data, *made.binary})
        text = _text(file)
        if text is None:
            made.binary[key] = base64.b64encode(file.content).decode()
        else:
            made.data[key] = text
        made.items.append(_item(key, file))
    _refuse_too_many(made)
    return made


def _key(path: str, taken: set[str]) -> str:
    """The path with dots for slashes and _ for what a key cannot hold; a number distinguishes equal keys."""
    plain = _NO_KEY.sub("_", path.replace("/", "."))[:_KEY_LENGTH].lstrip(".") or "_"
    key, number = plain, 1
    while key in taken:
        number += 1
        key = f"{plain}-{number}"
    return key


def _text(file: File) -> str | None:
    try:
        text = file.content.decode()
    except UnicodeDecodeError:
        return None
    # kubectl hands JSON on as YAML, in which a server refuses or changes some characters that JSON has no escapes for.
    return None if "\0" in text or quoting.UNSAFE_IN_YAML.search(text) else text


def _item(key: str, file: File) -> dict[str, str | int]:
    if file.path.startswith(".."):
        raise JobError(
            f"{file.path!r} starts with .., which no Kubernetes volume can hold", hint="rename it", field="code"
        )
    if quoting.UNSAFE_IN_YAML.search(file.path):
        raise JobError(
            f"{file.path!r} has a character in its name that does not come through kubectl unchanged",
            hint="rename it",
            field="code",
        )
    item: dict[str, str | int] = {"key": key, "path": file.path}
    return {**item, "mode": _EXECUTABLE} if file.executable else item


def _refuse_too_many(made: ConfigMap) -> None:
    """The volume names every file, in a PyTorchJob once for each role."""
    total = _ROLES * len(json.dumps(made.items))
    if total > LIMIT:
        raise JobError(
            f"this job has {len(made.items)} files, whose names alone may take {total} bytes of the job object; an "
            f"object of Kubernetes holds about {LIMIT}",
            hint=_WAY_OUT,
            field="code",
        )


def _refuse_too_big(bundle: Bundle) -> None:
    total = sum(len(file.content) for file in bundle.files)
    if total <= LIMIT:
        return
    biggest = sorted(bundle.files, key=lambda file: (-len(file.content), file.path))[:_NAMED_BIGGEST]
    listed = ", ".join(f"{file.path} ({len(file.content)} bytes)" for file in biggest)
    raise JobError(
        f"the files of this job take {total} bytes, a Kubernetes ConfigMap holds {LIMIT}; the biggest: {listed}",
        hint=_WAY_OUT,
        field="code",
    )
