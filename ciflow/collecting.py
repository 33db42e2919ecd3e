"""Python's search for cycles of values, put off while values are only made."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """Reading makes many values and throws few away: looking for cycles among them takes a quarter of the time. What
    was read lives as long as the process, so nobody looks at it later, either."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.freeze()
            gc.enable()
