"""Rules that no linter knows.

Usage: python tools/rules.py   (exit status 1 and a line per finding when one is broken)

A rule is a row of RULES, or a function of CHECKS for what a pattern cannot say.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A pattern that no line of the files under `paths` may match."""

    pattern: str
    paths: str
    why: str


LOW_LEVEL = r"^orchestrator/(?!job/system/|system/).*\.py$"
PROSE = r"^(orchestrator/|templates/|docs/(?!adr/))"
RULES = (
    Rule(pattern=r"unittest\.mock|\bMagicMock\b|\bpatch\(", paths=r"\.py$", why="tests use the real thing, not a mock"),
    Rule(pattern=r"monkeypatch\.setattr", paths=r"\.py$", why="what a test must replace is an argument"),
    Rule(pattern=r"\b(TODO|FIXME|XXX)\b", paths=r".", why="what is open is an issue"),
    Rule(pattern=r"orchestrator|\bORCH_", paths=r"^testbeds/", why="a test bed knows nothing of what is tested on it"),
    Rule(pattern=r"shell=True", paths=r"\.py$", why="argv lists need no quoting"),
    Rule(
        pattern=r"# (noqa|type: ignore)(?!.* - )", paths=r"\.py$", why="an ignore says its reason: # noqa: X - reason"
    ),
    Rule(pattern=r"[\"']/proc|\b(fcntl|flock)\b", paths=LOW_LEVEL, why="processes and locks: orchestrator.job.system"),
    Rule(
        pattern=r"\bos\.replace\(|\.replace\([\w./ ]+\)",
        paths=LOW_LEVEL,
        why="a file that is whole or not there: orchestrator.job.system.atomic",
    ),
    Rule(
        pattern=r"(?i)\bmend(s|ed)?\b|\bwhoever\b|\bin vain\b|\bnobody can (say|know)\b|\bpast orch\b|\bleaves? word\b|"
        r"\btakes leave\b|\bworth a word\b|(?<!there )\bis no (name|number|integer|mapping|text|failure)\b|"
        r"\bdef _?(told|said|word)\b|\bself\._?(told|said|kept|word|watched)\b",
        paths=PROSE,
        why="plain technical English, and the field's own names: fix, the user, recorded, reported",
    ),
    Rule(pattern=r"[ \t]+$", paths=r"\.(py|md|sh|toml|yaml|j2)$|^Makefile$", why="no blanks at the end of a line"),
)
NOT_SEARCHED = re.compile(r"^(LICENSE|requirements\.txt|tests/golden/|tools/rules\.py|templates/manifests/)")
NEEDS_MORE = ("tasks", "training")  # of what travels: all else is run by any Python with the standard library


KINDS = {"local", "ssh", "slurm", "kubernetes"}
UNTYPED = re.compile(r"\b(?:[dD]ict|(?:Mutable)?Mapping)\[str, Any\]")
MOST_UNTYPED = 2.5


def main() -> int:
    findings = [*broken_rules(), *(finding for check in CHECKS for finding in check())]
    print(
        "\n".join(findings)
        if findings
        else f"{len(RULES) + len(CHECKS)} rules hold; {untyped():.1f} untyped mappings per 1,000 lines"
    )
    return 1 if findings else 0


def tracked() -> list[str]:
    """Files that git knows or would add."""
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return [name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def broken_rules() -> Iterator[str]:
    for name in tracked():
        rules = [rule for rule in RULES if re.search(rule.paths, name)]
        if NOT_SEARCHED.search(name) or not rules:
            continue
        for number, line in enumerate((ROOT / name).read_text(errors="replace").splitlines(), 1):
            for rule in rules:
                if re.search(rule.pattern, line):
                    yield f"{name}:{number}: {line.strip()[:80]!r}: {rule.why}"


def carried_code_needs_only_the_standard_library() -> Iterator[str]:
    allowed = sys.stdlib_module_names | {"orchestrator"}
    job = ROOT / "orchestrator" / "job"
    for path in sorted(job.rglob("*.py")):
        if path.relative_to(job).parts[0] not in NEEDS_MORE:
            for line, module in imports(path):
                if module.partition(".")[0] not in allowed:
                    yield f"{path.relative_to(ROOT)}:{line}: imports {module}: standard library only"


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of every absolute import of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.lineno, node.module or ""


def no_kind_of_cluster_is_named_outside_clusters() -> Iterator[str]:
    """In a comparison, a match, or a table or list of more than one: what differs belongs into the Kind."""
    for path in sorted((ROOT / "orchestrator").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith("orchestrator/clusters/"):
            for node in ast.walk(ast.parse(path.read_text())):
                if set(compared(node)) & KINDS or len(set(listed(node)) & KINDS) > 1:
                    yield f"{name}:{node.lineno}: names a kind of cluster: ask its Kind"  # type: ignore[attr-defined] # of all that match - they are nodes of a place


def compared(node: ast.AST) -> Iterator[object]:
    """The constants that a comparison or a case of a match has."""
    if isinstance(node, ast.Compare):
        yield from constants(node.left, *node.comparators)
        yield from (value for each in node.comparators for value in listed(each))
    elif isinstance(node, ast.MatchValue):
        yield from constants(node.value)


def listed(node: ast.AST) -> Iterator[object]:
    """The constants that a tuple, list or set has, or a mapping as its keys."""
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        yield from constants(*node.elts)
    elif isinstance(node, ast.Dict):
        yield from constants(*filter(None, node.keys))


def constants(*nodes: ast.AST) -> Iterator[object]:
    yield from (node.value for node in nodes if isinstance(node, ast.Constant))


def data_has_types() -> Iterator[str]:
    found = untyped()
    if found > MOST_UNTYPED:
        yield f"orchestrator: {found:.1f} untyped mappings per 1,000 lines, at most {MOST_UNTYPED}: {UNTYPED.pattern}"


def untyped() -> float:
    """Types that say nothing of what a mapping holds, per 1,000 lines of the product that are not blank."""
    texts = [path.read_text() for path in sorted((ROOT / "orchestrator").rglob("*.py"))]
    lines = sum(1 for text in texts for line in text.splitlines() if line.strip())
    return 1000 * sum(len(UNTYPED.findall(text)) for text in texts) / lines


CHECKS: tuple[Callable[[], Iterator[str]], ...] = (
    carried_code_needs_only_the_standard_library,
    no_kind_of_cluster_is_named_outside_clusters,
    data_has_types,
)

if __name__ == "__main__":
    sys.exit(main())
