"""Names of files and roles that are imported: known before the run, as far as variables are known by then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ciflow.diagnostics import Invalid
from ciflow.lang.inherit import Inherited
from ciflow.lang.scope import Layer, Level, Need, NeedFacts, Scope
from ciflow.lang.sources import Sources
from ciflow.lang.template import render
from ciflow.model import Template


def early(value: Any, inside: Inherited, sources: Sources) -> Any:
    """`value` rendered with what stands in files: variables of the play, of roles, blocks and the task, and `-e`.

    As in Ansible, what hosts have (their inventory, facts, registers) is not known when tasks are imported. A template
    that needs such comes back as it is.
    """
    if not isinstance(value, Template):
        return value
    magic: dict[str, Any] = {"playbook_dir": str(Path(inside.folder or ".").absolute())}
    if inside.role:
        magic |= {"role_name": inside.role, "role_path": str(Path(inside.role_path).absolute())}
    shared = sources.scope.layers if sources.scope is not None else ()
    layers = (
        Layer(Level.MAGIC, magic, data=True),
        *(layer for layer in shared if layer.level is Level.EXTRA_VARS),
        *(Layer(Level.ROLE_PARAMS, values) for values in reversed(inside.params)),
        *(Layer(Level.TASK_VARS, values) for values in reversed(inside.vars)),
        *(layer for layer in shared if layer.level is not Level.EXTRA_VARS),
        *(Layer(Level.ROLE_DEFAULTS, values) for values in reversed(inside.defaults)),
    )
    try:
        return sources.known(value, Scope(layers, render))
    except (Invalid, Need, NeedFacts):
        return value
