"""The verbs. A module does no I/O: it is a generator of operations, sent their replies, that returns an Outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ciflow.model import Context, Steps
from ciflow.modules import (
    assert_,
    command,
    copy,
    debug,
    fail,
    file,
    process,
    raw,
    set_fact,
    shell,
    stat,
    template,
)


@dataclass(frozen=True, slots=True)
class Module:
    """A verb. `own_files` promises that it touches nothing but its own host's files (or nothing at all), so that the
    linear strategy's barrier may be dropped between such tasks: no host can see the difference.
    """

    run: Callable[[Mapping[str, Any], Context], Steps]
    own_files: bool = False


MODULES: dict[str, Module] = {
    "assert": Module(assert_.run, own_files=True),
    "command": Module(command.run),
    "copy": Module(copy.run, own_files=True),
    "debug": Module(debug.run, own_files=True),
    "fail": Module(fail.run),
    "file": Module(file.run, own_files=True),
    "process": Module(process.run),
    "raw": Module(raw.run),
    "set_fact": Module(set_fact.run, own_files=True),
    "shell": Module(shell.run),
    "stat": Module(stat.run, own_files=True),
    "template": Module(template.run, own_files=True),
}
