"""A profile's `overlay:` laid over the rendered job, as Kubernetes' strategic merge does it for its own objects.

Mappings are merged, and null takes a key away. Lists of named things are merged by the key that Kubernetes uses for
them, tolerations are added, any other list is replaced. `$patch: replace` and `$patch: delete` say otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from orchestrator.clusters.kubernetes.profile import Document
from orchestrator.errors import JobError

_KEYS: Mapping[str, str] = {
    "containers": "name", "env": "name", "ephemeralContainers": "name", "hostAliases": "ip", "imagePullSecrets": "name",
    "initContainers": "name", "ports": "containerPort", "replicatedJobs": "name", "resourceClaims": "name",
    "runtimePatches": "manager", "schedulingGates": "name", "topologySpreadConstraints": "topologyKey",
    "volumeDevices": "devicePath", "volumeMounts": "mountPath", "volumes": "name",
}  # fmt: skip
_ADDED = ("tolerations",)
_PATCH = "$patch"
_GONE: Final = object()

# What orch finds the job and, by labels anywhere in it, its pods by.
_IDENTITY = ("apiVersion", "kind", "metadata.name", "metadata.namespace")
_OWN_LABELS = ("orch/", "app.kubernetes.io/managed-by")


@dataclass(frozen=True, slots=True)
class Field:
    """A place in a configuration, for errors."""

    names: tuple[str, ...]

    def __truediv__(self, name: str) -> Field:
        return Field((*self.names, name))

    def refuse(self, message: str, hint: str | None = None) -> NoReturn:
        """Raise the JobError of this place."""
        raise JobError(message, hint=hint, field=".".join(self.names))


def lay_over(job: Document, overlay: Document, at: Field) -> dict[str, Any]:
    """The job with the overlay laid over it. Raises JobError for a patch that is invalid or changes what orch needs."""
    merged = _merged(job, overlay, at)
    if merged is _GONE:
        at.refuse("takes the whole job away")
    assert isinstance(merged, dict)
    _refuse_changed_identity(job, merged, at)
    return merged


def _merged(base: Document, patch: Document, at: Field) -> Any:
    directive = patch.get(_PATCH, "merge")
    if directive == "delete":
        return _GONE
    if directive not in ("merge", "replace"):
        (at / _PATCH).refuse(f"is {directive!r}: wanted replace, delete or merge")
    merged = {} if directive == "replace" else dict(base)
    for name, value in patch.items():
        if name == _PATCH:
            continue
        if name.startswith("$"):
            (at / name).refuse(f"{name} is not understood here; there is only {_PATCH}")
        laid = _GONE if value is None else _value(merged.get(name), value, at / name)
        if laid is _GONE:
            merged.pop(name, None)
        else:
            merged[name] = laid
    return merged


def _value(base: Any, patch: Any, at: Field) -> Any:
    if isinstance(patch, Mapping):
        return _merged(base if isinstance(base, Mapping) else {}, patch, at)
    if isinstance(patch, list | tuple):
        return _list(base if isinstance(base, list) else [], patch, at)
    if isinstance(patch, float):
        at.refuse(f"is the number {patch!r}, which readers of YAML understand differently", hint="write it as text")
    return patch


def _list(base: Sequence[Any], patch: Sequence[Any], at: Field) -> list[Any]:
    name = at.names[-1]
    items = [item for item in patch if item != {_PATCH: "replace"}]
    if len(items) < len(patch):
        base = []
    if name in _ADDED:
        return _added(base, items, at)
    if name in _KEYS:
        return _by_key(base, items, _KEYS[name], at)
    return [_new(item, at / str(place)) for place, item in enumerate(items)]


def _added(base: Sequence[Any], items: Sequence[Any], at: Field) -> list[Any]:
    result = list(base)
    for place, item in enumerate(items):
        if isinstance(item, Mapping) and item.get(_PATCH) == "delete":
            wanted = {name: value for name, value in item.items() if name != _PATCH}
            result = [one for one in result if not wanted.items() <= one.items()]
        else:
            new = _new(item, at / str(place))
            result += [] if new in result else [new]
    return result


def _by_key(base: Sequence[Any], items: Sequence[Any], key: str, at: Field) -> list[Any]:
    result = {item[key]: item for item in base}
    for place, item in enumerate(items):
        here = at / str(place)
        if not isinstance(item, Mapping) or not isinstance(item.get(key), str | int):
            here.refuse(f"has no {key}, by which it would be found in the list")
        laid = _merged(result.get(item[key], {}), item, here)
        if laid is _GONE:
            result.pop(item[key], None)
        else:
            result[item[key]] = laid
    return list(result.values())


def _new(item: Any, at: Field) -> Any:
    """An item with no counterpart in the base."""
    laid = _value(None, item, at)
    if laid is _GONE:
        at.refuse("deletes an item of a list whose items have no names", hint="write the whole list")
    return laid


def _refuse_changed_identity(before: Document, after: Document, at: Field) -> None:
    known, found = dict(_identity(before)), dict(_identity(after))
    for path in (*known, *found):
        if known.get(path) != found.get(path):
            Field((*at.names, *path)).refuse("cannot be changed: orch finds the job and its pods by it")


def _identity(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping):
        for name, child in value.items():
            here = (*path, name)
            of_label = path[-1:] == ("labels",) and name.startswith(_OWN_LABELS)
            if of_label or ".".join(here) in _IDENTITY:
                yield here, child
            yield from _identity(child, here)
    elif isinstance(value, list):
        key = _KEYS.get(path[-1], "")
        for place, child in enumerate(value):
            name = child.get(key, place) if isinstance(child, Mapping) else place
            yield from _identity(child, (*path, str(name)))
