"""Laws that every template keeps, whoever adds one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.rendering import quoting
from orchestrator.rendering.environment import output_path

ROOT = Path(__file__).parents[2] / "templates"
TEMPLATES = sorted(ROOT.rglob("*.j2"))
EXPRESSION = re.compile(r"\{\{.*?\}\}")


@pytest.fixture(params=TEMPLATES, ids=lambda path: str(path.relative_to(ROOT)))
def template(request):
    return request.param


def test_no_template_writes_quotes_around_a_value(template):
    for line in template.read_text().splitlines():
        bare = EXPRESSION.sub("\0", line)
        for quoted in re.findall(r"""'[^']*'|"[^"]*\"""", bare):
            assert "\0" not in quoted, line


def test_every_template_makes_a_kind_of_file_that_has_a_quoting_rule(template):
    quoting.rule_for(output_path(template.name))


def test_every_value_in_an_sbatch_line_is_quoted_for_sbatch(template):
    for line in template.read_text().splitlines():
        if line.startswith("#SBATCH"):
            assert all("| sbatch" in expression for expression in EXPRESSION.findall(line)), line


def test_no_template_prints_into_a_comment(template):
    for line in template.read_text().splitlines():
        if re.match(r"\s*#(?!SBATCH)", line):
            assert not EXPRESSION.search(line), line


def test_every_directory_is_of_a_kind_of_cluster():
    assert {path.parent.name for path in TEMPLATES} == {"common", "local", "ssh", "slurm", "kubernetes"}
