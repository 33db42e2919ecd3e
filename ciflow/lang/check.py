"""Checks over a whole playbook, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.lang.inventory import Inventory
from ciflow.lang.sources import Sources
from ciflow.model import Playbook


def check(playbook: Playbook, inventory: Inventory, extra: Mapping[str, Any], sources: Sources) -> None:
    """Faults that show only over the whole; they go to `sources.findings`."""
