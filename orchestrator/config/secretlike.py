"""Values that look like secrets, which belong into `secrets` and not into `env`. Pure."""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"hf_[A-Za-z0-9]{20,}|sk-[-_A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[-\w]{16,}"
    r"|AKIA[0-9A-Z]{16}|AIza[-\w]{30,}|xox[abprs]-[-0-9A-Za-z]{10,}|eyJ[-\w]{10,}\.[-\w]{10,}\.[-\w]+"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*",
    re.DOTALL,
)
_NAME = re.compile(
    r"(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIALS?)$", re.IGNORECASE
)
_SHORTEST = 12  # characters of a value that its name alone makes a secret


def looks_secret(name: str, value: str) -> bool:
    """Whether the value has the form of a well-known kind of token, or its name says that it is one."""
    if _TOKEN.fullmatch(value.strip()):
        return True
    # No path, no sentence and no variable; and both letters and digits, or so long that nobody types it.
    random = re.fullmatch(r"[^\s/$]+", value) is not None
    mixed = re.search(r"[A-Za-z]", value) is not None and re.search(r"\d", value) is not None
    return bool(_NAME.search(name)) and random and len(value) >= _SHORTEST and (mixed or len(value) >= 2 * _SHORTEST)
