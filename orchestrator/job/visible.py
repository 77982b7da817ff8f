"""What a value of CUDA_VISIBLE_DEVICES leaves visible, as CUDA and torch read it."""

from __future__ import annotations

import re

MIG = "MIG-"
_BY_NAME = ("GPU-", MIG)


def visible_devices(value: str) -> tuple[str, ...]:
    """The devices that are named, up to the first that is none (-1, or a word); none at all when one stands twice."""
    named: list[str] = []
    prefix = next((each for each in _BY_NAME if value.strip().startswith(each)), None)
    for entry in (each.strip() for each in value.split(",")):
        number = re.match(r"[+]?[0-9]+", entry)
        device = (str(int(number.group())) if number else "") if prefix is None else entry
        if not device or (prefix is not None and not device.startswith(prefix)):
            break
        if device in named:
            return ()
        named.append(device)
    return tuple(named)
