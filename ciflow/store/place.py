"""Where the journal of this machine lies; apart from the journal, for who only keeps something beside it."""

from __future__ import annotations

import os
from pathlib import Path


def default_state() -> Path:
    """$CIFLOW_STATE, else ~/.local/state/ciflow/store (XDG base directories)."""
    chosen = os.environ.get("CIFLOW_STATE", "")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "state") / "ciflow" / "store"
