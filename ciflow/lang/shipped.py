"""Where the folders that ciflow ships (schemas, roles, playbooks, inventory) lie: in a checkout or in a wheel."""

from __future__ import annotations

from pathlib import Path


def shipped(name: str) -> Path:
    """The folder `name`: `ciflow/shipped/<name>` in a wheel, beside the package in a checkout."""
    package = Path(__file__).resolve().parent.parent
    packed = package / "shipped" / name
    return packed if packed.is_dir() else package.parent / name
