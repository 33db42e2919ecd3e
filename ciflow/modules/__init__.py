"""The verbs. A module does no I/O: it is a generator of operations, sent their replies, that returns an Outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.model import Context, Steps
from ciflow.modules import (
    artifact,
    assert_,
    blockinfile,
    cargo,
    command,
    copy,
    debug,
    fail,
    fetch,
    file,
    get_url,
    git,
    lineinfile,
    load,
    nextest,
    pause,
    ping,
    process,
    raw,
    replace,
    sbom,
    script,
    set_fact,
    setup,
    shell,
    sign,
    slurp,
    stat,
    tempfile,
    template,
    unarchive,
    uri,
    wait_for,
)


@dataclass(frozen=True, slots=True)
class Module:
    """A verb. `own_files` promises that it touches nothing but its own host's files (or nothing at all), so that the
    linear strategy's barrier may be dropped between such tasks: no host can see the difference.
    """

    run: Callable[[Mapping[str, Any], Context], Steps]
    own_files: bool = False


MODULES: dict[str, Module] = {
    "artifact": Module(artifact.run),
    "assert": Module(assert_.run, own_files=True),
    "blockinfile": Module(blockinfile.run, own_files=True),
    "cargo": Module(cargo.run),
    "command": Module(command.run),
    "copy": Module(copy.run, own_files=True),
    "debug": Module(debug.run, own_files=True),
    "fail": Module(fail.run),
    "fetch": Module(fetch.run),
    "file": Module(file.run, own_files=True),
    "get_url": Module(get_url.run),
    "git": Module(git.run),
    "lineinfile": Module(lineinfile.run, own_files=True),
    "load": Module(load.run),
    "nextest": Module(nextest.run),
    "pause": Module(pause.run),
    "ping": Module(ping.run),
    "process": Module(process.run),
    "raw": Module(raw.run),
    "replace": Module(replace.run, own_files=True),
    "sbom": Module(sbom.run),
    "script": Module(script.run),
    "set_fact": Module(set_fact.run, own_files=True),
    "setup": Module(setup.run),
    "shell": Module(shell.run),
    "sign": Module(sign.run),
    "slurp": Module(slurp.run, own_files=True),
    "stat": Module(stat.run, own_files=True),
    "tempfile": Module(tempfile.run, own_files=True),
    "template": Module(template.run, own_files=True),
    "unarchive": Module(unarchive.run),
    "uri": Module(uri.run),
    "wait_for": Module(wait_for.run),
}
