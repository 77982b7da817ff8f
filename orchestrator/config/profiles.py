"""Profiles of several kinds: the type of each, and one record that has the keys of all of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, make_dataclass, replace
from functools import cached_property
from itertools import chain
from types import GenericAlias
from typing import Any, Literal

from orchestrator.config.messages import hints_of
from orchestrator.config.yamlfile import Node
from orchestrator.model.cluster import Config, Profile
from orchestrator.model.key import key_of


@dataclass(frozen=True, kw_only=True)
class ProfileTypes:
    """The type of a profile by its kind. `built_in` kinds have a bare cluster of their own name each.

    `find` gives None for an unknown kind; `names` may have to search installed packages for kinds.
    """

    built_in: tuple[str, ...]
    find: Callable[[str], type[Profile] | None]
    names: Callable[[], Iterable[str]]

    def clusters(self, given: Mapping[str, Profile]) -> Mapping[str, Profile]:
        """The clusters that a configuration has, and those that always exist."""
        return _Clusters(self, given)

    def type_of(self, node: Node) -> type[Any]:
        """The type that a cluster of a configuration has; a record of all keys where it is of none, or has others'."""
        kind = node.child("kind")
        if isinstance(node.value, dict) and kind is not None and isinstance(kind.value, str):
            profile = self.find(kind.value)
            if profile is not None and node.value.keys() <= {of.name for of in fields(profile)}:
                return profile
        return self.profile

    @cached_property
    def profile(self) -> type[Any]:
        """A record with the keys of all kinds: the common ones, then each with the kinds that read it."""
        found: dict[str, Any] = {kind: profile for kind in self.names() if (profile := self.find(kind)) is not None}
        common = {of.name: of for of in fields(Profile)}
        own = {kind: [of for of in fields(profile) if of.name not in common] for kind, profile in found.items()}
        hints = {of.name: hints_of(found[kind])[of.name] for kind, keys in own.items() for of in keys}
        made = [(of.name, hints_of(Profile)[of.name], _same(of)) for of in common.values()]
        made[0] = ("kind", Literal[tuple(found)], made[0][2])
        made += [(of.name, hints[of.name], _same(of, kinds)) for of, kinds in _merged(own)]
        rules = [profile.problems for profile in found.values()]
        namespace = {
            "__doc__": Profile.__doc__,
            "at_most_one": tuple(group for profile in found.values() for group in profile.at_most_one),
            "problems": lambda self: chain.from_iterable(rule(self) for rule in rules),
        }
        return make_dataclass("Profile", made, namespace=namespace, kw_only=True)

    @cached_property
    def config(self) -> type[Any]:
        """Config, whose clusters are such records."""
        hints = {**hints_of(Config), "clusters": GenericAlias(Mapping, (str, self.profile))}
        made = [(of.name, hints[of.name], _same(of)) for of in fields(Config)]
        return make_dataclass(
            "Config", made, namespace={"__doc__": Config.__doc__, "built_in": self.built_in}, kw_only=True
        )


class _Clusters(Mapping[str, Profile]):
    """Makes the profile of a bare cluster when it is asked for: most commands need one kind of all."""

    def __init__(self, types: ProfileTypes, given: Mapping[str, Profile]) -> None:
        self._types = types
        self._given = given

    def __getitem__(self, name: str) -> Profile:
        profile = self._types.find(name) if name in self._types.built_in and name not in self._given else None
        return profile(kind=name) if profile is not None else self._given[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._types.built_in, *self._given]))

    def __len__(self) -> int:
        return len({*self._types.built_in, *self._given})


def _same(of: Field[Any], kinds: tuple[str, ...] = ()) -> Any:
    metadata = {"key": replace(key_of(of), kinds=kinds)}
    if callable(of.default_factory):
        return field(default_factory=of.default_factory, metadata=metadata)
    return field(default=of.default, metadata=metadata)


def _merged(own: Mapping[str, Iterable[Field[Any]]]) -> list[tuple[Field[Any], tuple[str, ...]]]:
    """The keys of all kinds with the kinds that read each, in an order that is every kind's own one."""
    waiting = deque((kind, list(keys)) for kind, keys in own.items())
    found: list[tuple[Field[Any], tuple[str, ...]]] = []
    behind = 0  # kinds in a row whose next key comes later in another's order
    while waiting:
        keys = waiting[0][1]
        if not keys:
            waiting.popleft()
        elif behind < len(waiting) and any(keys[0].name in _names(others[1:]) for _, others in waiting):
            waiting.rotate(-1)
            behind += 1
        else:
            first, behind = keys[0], 0
            found.append((first, tuple(kind for kind, others in waiting if first.name in _names(others))))
            for _, others in waiting:
                others[:] = [of for of in others if of.name != first.name]
    return found


def _names(keys: Iterable[Field[Any]]) -> set[str]:
    return {of.name for of in keys}
