"""Importing a library without what it loads only to tell its own version, and without what it may never use."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_NAME = "importlib.metadata"


@contextmanager
def without_metadata() -> Iterator[None]:
    """A library imported herein finds no version of itself; importlib.metadata is not loaded for that.

    It would load the e-mail package: 18 ms, a tenth of all that a command imports.
    """
    if _NAME in sys.modules:
        yield
        return
    nothing = ModuleType(_NAME)
    nothing.__dict__.update(version=lambda _: "unknown", PackageNotFoundError=LookupError)
    sys.modules[_NAME] = nothing
    try:
        yield
    finally:
        del sys.modules[_NAME]


class _Pattern:
    """A regular expression that is compiled when it is first used."""

    def __init__(self, pattern: Any, flags: Any = 0) -> None:
        self._given = (pattern, flags)

    def __getattr__(self, name: str) -> Any:
        found = getattr(re.compile(*self._given), name)
        setattr(self, name, found)
        return found


@contextmanager
def without_patterns() -> Iterator[None]:
    """What a library compiles while it is imported herein waits for its use.

    PyYAML's reader and resolver take 6 ms for theirs, which nobody needs who reads by libyaml.
    """
    compile = re.compile
    re.compile = _Pattern  # type: ignore[assignment]
    try:
        yield
    finally:
        re.compile = compile
