"""Modules that are loaded when something of them is first used, for the sake of those who never do.

Among them what others take along at import: paramiko loads `invoke` for `Match exec` in ~/.ssh/config, and the reader
of installed packages' metadata for its own version. That is half of the time of its import, which whoever connects to
a host pays before the first of them is reached.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Late(types.ModuleType):
    """Stands for a module until something of it is asked for; then that comes from the module itself."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # the import system looks at a module, which is no use of it
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        found = getattr(importlib.import_module(self.__name__), name)
        setattr(self, name, found)
        return found


@contextmanager
def lean_import(package: str, *unused: str) -> Iterator[None]:
    """While `package` is imported, the modules `unused` are Late, and its own version comes from a folder's name."""
    late = [Late(name) for name in unused if name not in sys.modules and importlib.util.find_spec(name)]
    sys.modules.update({one.__name__: one for one in late})
    metadata = Late("importlib.metadata")
    if known := _version(package):
        metadata.__dict__["version"] = lambda name: known if name == package else metadata.__getattr__("version")(name)
    put_off = "importlib.metadata" not in sys.modules
    if put_off:
        importlib.metadata = metadata
    try:
        yield
    finally:
        for one in late:
            if sys.modules.get(one.__name__) is one:
                del sys.modules[one.__name__]
        if put_off and importlib.__dict__.get("metadata") is metadata:
            del importlib.metadata


def _version(package: str) -> str:
    """As `importlib.metadata` has it, where a wheel was installed; else ""."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return ""
    found = list(Path(spec.origin).parent.parent.glob(f"{package}-*.dist-info"))
    return found[0].name.removeprefix(f"{package}-").removesuffix(".dist-info") if len(found) == 1 else ""
