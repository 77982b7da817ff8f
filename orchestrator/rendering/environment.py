"""Jinja environments: one per quoting rule, so that a template never quotes and never forgets to."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from jinja2 import DictLoader, Environment, StrictUndefined

from orchestrator.rendering import quoting

SUFFIX = ".j2"


@cache
def _environment(rule: quoting.Rule, templates: tuple[tuple[str, str], ...]) -> Environment:
    environment = Environment(  # noqa: S701 - `finalize` quotes for the kind of file, which is never HTML
        loader=DictLoader(dict(templates)),
        finalize=quoting.finalizer(rule),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        comment_start_string="{//",  # Jinja's own {# is in every ${#array[@]} of a shell
        comment_end_string="//}",
        optimized=False,  # folding constants takes a third of the compilation, and most templates are rendered once
    )
    environment.filters["words"] = quoting.shell_words
    environment.filters["sbatch"] = quoting.sbatch
    return environment


def render_text(name: str, templates: Mapping[str, str], values: Mapping[str, object]) -> str:
    """The text of the template `name`, every `{{ }}` quoted by the rule of the file that it makes."""
    rule = quoting.rule_for(output_path(name))
    environment = _environment(rule, tuple(sorted(templates.items())))
    return environment.get_template(name).render(values)


def output_path(name: str) -> str:
    """The path in the bundle of a template's file."""
    return name.removesuffix(SUFFIX)
