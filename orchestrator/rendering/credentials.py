"""Keys and tokens have no place in `env:`, which is written to the job's files: what looks like one is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orchestrator.model.credentials import refuse_credential
from orchestrator.rendering.request import RenderRequest


def refuse_credentials(request: RenderRequest) -> None:
    """Raises JobError, which does not repeat the value, for what of the job or its cluster holds a key."""
    for field, name, value in _written(request):
        refuse_credential(field, name, value, kubernetes=request.kubernetes_secrets)


def _written(request: RenderRequest) -> Iterator[tuple[str, str, str]]:
    """Field, name and value of every text that users choose freely."""
    profile, cluster = request.cluster.profile, f"clusters.{request.cluster.name}"
    for where, variables in (("env", request.spec.env), (f"{cluster}.env", profile.env)):
        yield from ((f"{where}.{name}", name, value) for name, value in variables.items())
    yield from request.kind.texts(request)


def texts_of(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Every text in an overlay by its name: its key, or where it is the `value` of a variable that one's."""
    if isinstance(value, Mapping):
        variable = value.get("name")
        for key, child in value.items():
            yield from texts_of(child, variable if key == "value" and isinstance(variable, str) else str(key))
    elif isinstance(value, list | tuple):
        for child in value:
            yield from texts_of(child, name)
    elif isinstance(value, str):
        yield name, value
