"""Keys and tokens have no place in what is written to a job's files: what looks like one is refused. Pure."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping

from orchestrator.errors import JobError

_KNOWN: Mapping[str, re.Pattern[str]] = {
    name: re.compile(pattern, re.ASCII)
    for name, pattern in {
        "a private key": r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY",
        "a Hugging Face token": r"\bhf_[A-Za-z0-9]{20,}",
        "an API key of the kind sk-": r"\bsk-[A-Za-z0-9_-]{20,}",
        "an AWS access key": r"\b(AKIA|ASIA)[A-Z0-9]{16}\b",
        "a GitHub token": r"\b(gh[oprsu]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})",
        "a GitLab token": r"\bglpat-[A-Za-z0-9_-]{16,}",
        "a Slack token": r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
        "a Google API key": r"\bAIza[A-Za-z0-9_-]{30,}",
        "a JSON Web Token": r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
        "the key of an Azure account": r"\b(AccountKey|SharedAccessKey)=[A-Za-z0-9+/]{32,}={0,2}",
        "a URL with a password in it": r"://[^/\s:@]*:[^/\s@]+@",
    }.items()
}
_NAME = re.compile(r"((^|_)(TOKEN|KEY|SECRET|CREDENTIALS?)|APIKEY|PASSWORD|PASSWD)$", re.ASCII | re.IGNORECASE)
_AWS = (re.compile("SECRET_ACCESS_KEY$", re.IGNORECASE), re.compile(r"[A-Za-z0-9/+]{40}", re.ASCII))
_PUBLIC = re.compile("PUBLIC", re.IGNORECASE)
_SHORTEST = 20  # of a value that its name gives away
_BITS = 3.0  # of entropy in a character: random hexadecimal has 3.6 and more, a repeated or constant text less
_ORDINARY = re.compile(r"\s|^[/~.]|^[A-Za-z]+$|^[A-Za-z][A-Za-z0-9+.-]*://")  # words, a path, a URL: none is a key


def refuse_credential(field: str, name: str, value: str, *, kubernetes: bool) -> None:
    """Raises JobError, without the value, where that looks like a key. `kubernetes`: jobs can read its Secrets."""
    found = looks_like(name, value)
    if found is None:
        return
    holds = "holds" if field.endswith(f".{name}") else f"{name} holds"
    name = name if name.isidentifier() else "NAME"
    source = "{kubernetes: NAME/KEY}" if kubernetes else f"{{env: {name}}}"
    raise JobError(
        f"{holds} what looks like {found}, and this is written to the job's files",
        hint=f"take it out; where it is kept goes to the job: secrets: {{{name}: {source}}}",
        field=field,
    )


def looks_like(name: str, value: str) -> str | None:
    """What a variable's value seems to be that nobody else should read; None when it seems harmless."""
    for what, pattern in _KNOWN.items():
        if pattern.search(value):
            return what
    if _AWS[0].search(name) and _AWS[1].fullmatch(value):
        return "a secret"
    by_name = _NAME.search(name) and not _PUBLIC.search(name)
    if by_name and len(value) >= _SHORTEST and not _ORDINARY.search(value) and _bits(value) >= _BITS:
        return "a secret"
    return None


def _bits(text: str) -> float:
    """Shannon's entropy of a character."""
    counts = Counter(text).values()
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts)
