"""The way in: a playbook, its inventory and its variables, or every fault of them at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ciflow.collecting import without_collection
from ciflow.dataclass import dataclass
from ciflow.diagnostics import Diagnostic, Findings, Invalid
from ciflow.lang.files import Files
from ciflow.lang.inventory import Inventory, read_inventory
from ciflow.lang.playbook import read_playbook
from ciflow.lang.sources import Sources
from ciflow.model import Playbook


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a run is made of. `findings` are warnings and hints; errors have been raised."""

    playbook: Playbook
    inventory: Inventory
    extra: Mapping[str, Any]
    findings: tuple[Diagnostic, ...]
    files: Files
    roles: tuple[str, ...] = ()  # folders of the roles that are used


def load(
    path: str,
    inventory_sources: tuple[str, ...] = (),
    extra_vars: Mapping[str, Any] | None = None,
    files: Files | None = None,
    *,
    roles_path: tuple[str, ...] = (),
    lints: bool = False,
) -> Loaded:
    """Everything about a run that can be known before it. Raises Invalid with all errors, by file and line.

    `lints` adds what works and will be regretted: asked for by those who look, not by those who run.
    """
    with without_collection():
        return _loaded(path, inventory_sources, dict(extra_vars or {}), files or Files.live(), roles_path, lints=lints)


def _loaded(
    path: str,
    inventory_sources: tuple[str, ...],
    extra: dict[str, Any],
    files: Files,
    roles_path: tuple[str, ...],
    *,
    lints: bool,
) -> Loaded:
    from ciflow.lang.check import check
    from ciflow.lang.lint import lint

    sources = Sources(files, path.rpartition("/")[0], roles_path)
    playbook = read_playbook(path, sources, extra)
    findings = sources.findings
    inventory = read_inventory(inventory_sources, files, findings, playbook_dir=sources.folder or ".")
    if playbook is not None:
        check(playbook, inventory, extra, sources)
        if lints:
            lint(playbook, inventory, findings)
    items = ordered(findings)
    if findings.errors or playbook is None:
        raise Invalid(items, files.sources())
    return Loaded(playbook, inventory, extra, items, files, tuple(dict.fromkeys(sources.roles)))


def ordered(findings: Findings) -> tuple[Diagnostic, ...]:
    """Findings by file and line, each once."""
    unique = {(d.code, d.message, d.span): d for d in reversed(findings.items)}
    clean = [replace(d, related=tuple((why, span) for why, span in d.related if why)) for d in unique.values()]
    return tuple(sorted(clean, key=lambda d: (d.span.file, d.span.line, d.span.column) if d.span else ("", 0, 0)))
