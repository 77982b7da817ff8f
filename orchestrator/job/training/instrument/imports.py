"""Does something with a module right after a script has imported it."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, Optional

Patch = Callable[[ModuleType], None]


class Finder(importlib.abc.MetaPathFinder):
    """Finds the modules named in `patches` as all others are found, and has each patched once it is executed."""

    def __init__(self, patches: Mapping[str, Patch]) -> None:
        self._patches = dict(patches)
        self._finding: set[str] = set()

    def install(self) -> None:
        """From here on; what is imported already is patched at once."""
        sys.meta_path.insert(0, self)
        for name in list(self._patches):
            if name in sys.modules:
                self._patches.pop(name)(sys.modules[name])

    def find_spec(
        self, fullname: str, path: Optional[Sequence[str]], target: Optional[ModuleType] = None
    ) -> Optional[importlib.machinery.ModuleSpec]:
        """The specification of a module to patch, with a loader that does; None for all others."""
        if fullname not in self._patches or fullname in self._finding:
            return None
        self._finding.add(fullname)
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._finding.discard(fullname)
        # Many libraries only look whether another one is there: nothing is patched before the module is executed.
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self._patches[fullname])
        return spec


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader, patch: Patch) -> None:
        self._loader, self._patch = loader, patch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)  # what else this loader can: source, resources, file names

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> Optional[ModuleType]:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader  # inspect and pickle ask the real one
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._patch(module)
