"""render(): one request, one bundle, always the same bytes."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.model.bundle import Bundle, File
from orchestrator.rendering.context import job_values
from orchestrator.rendering.credentials import refuse_credentials
from orchestrator.rendering.environment import output_path, render_text
from orchestrator.rendering.files import make_bundle, text_file
from orchestrator.rendering.request import RenderRequest
from orchestrator.rendering.text import refuse_unwritable

_MANIFEST = ".yaml"  # read by a scheduler, so not part of what travels into the job
_PARTIAL = "_"  # included by others, makes no file of its own


def render(request: RenderRequest) -> Bundle:
    """Every file of one attempt, sorted by path.

    A template that renders to nothing makes no file. Manifests come last, because they carry the other files.
    Raises JobError for what a file cannot or must not hold, naming the field.
    """
    refuse_unwritable(request.spec, "")
    refuse_unwritable(request.cluster.profile, f"clusters.{request.cluster.name}")
    refuse_unwritable(request.plan.ds_config, "deepspeed.config")
    refuse_credentials(request)
    values = job_values(request)
    names = [name for name in sorted(request.templates) if not name.startswith(_PARTIAL)]
    manifests = [name for name in names if output_path(name).endswith(_MANIFEST)]
    others = [name for name in names if name not in manifests]
    carried = make_bundle([*_files(others, request, values), *request.payload])
    if not manifests:
        return carried
    written = _files(manifests, request, {**values, **request.kind.manifest_values(carried)})
    return make_bundle([*carried.files, *request.kind.finish(request, written)])


def _files(names: list[str], request: RenderRequest, values: Mapping[str, object]) -> list[File]:
    texts = ((output_path(name), render_text(name, request.templates, values)) for name in names)
    return [text_file(path, text) for path, text in texts if text.strip()]
