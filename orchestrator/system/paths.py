"""Where orch keeps things on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

CONTROLLER_LOCK = "controller.lock"  # in the state directory, held by the controller of this machine
WATCHED = "watched"  # in a run's directory on this machine: touched every few seconds while a user follows the run


def orch_home(env: Mapping[str, str]) -> Path:
    """The state directory, absolute: $ORCH_HOME, else `orch` in the XDG state directory."""
    if env.get("ORCH_HOME"):
        return Path(env["ORCH_HOME"]).expanduser().absolute()
    return _xdg(env, "XDG_STATE_HOME", ".local/state") / "orch"


def config_path(env: Mapping[str, str]) -> Path:
    """The configuration file, absolute: $ORCH_CONFIG, else `orch/config.yaml` in the XDG configuration directory."""
    if env.get("ORCH_CONFIG"):
        return Path(env["ORCH_CONFIG"]).expanduser().absolute()
    return _xdg(env, "XDG_CONFIG_HOME", ".config") / "orch" / "config.yaml"


def _xdg(env: Mapping[str, str], variable: str, below_home: str) -> Path:
    value = env.get(variable, "")
    if value.startswith("/"):  # the standard: a relative path counts as unset
        return Path(value)
    return Path(env.get("HOME") or Path.home()) / below_home
