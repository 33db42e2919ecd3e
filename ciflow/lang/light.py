"""Importing a library without what it loads only to tell its own version."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

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
