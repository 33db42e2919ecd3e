"""`service_facts`: every service of the host, its state and whether it is started at boot."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ciflow.model import Context, Outcome, Probe, Steps
from ciflow.modules.program import broken, questions, sections
from ciflow.modules.replies import well

# Units that were never loaded are asked for their state in one call; a template (name@.service) has none.
_LOOK = r"""
section scripts; command -v service >/dev/null && service --status-all 2>/dev/null
systemctl=$(command -v systemctl) && { [ -d /run/systemd/system ] || exit 0; }
[ -n "$systemctl" ] || exit 0
section units; systemctl list-units --no-pager --no-legend --type service --all --plain
section files; systemctl list-unit-files --no-pager --no-legend --type service --all
section states; systemctl list-unit-files --no-legend --no-pager --type service --all | cut -d ' ' -f 1 |
grep -v '@\.service$' | xargs -r systemctl show -p Names -p ActiveState --
true
"""
_SCRIPT = r"(?m)^\s*\[ ([+-]) \]\s+(.+)$"
_BAD = ("not-found", "masked", "failed")


def run(_args: Mapping[str, Any], context: Context) -> Steps:
    """One question; init scripts first, then what systemd says of its units, which counts more."""
    reply = yield Probe(questions(_LOOK, (), context), last=True)
    if not well(reply):
        return broken(reply, "can't ask for services")
    said = sections(reply.stdout)
    services = {
        name: {"name": name, "state": "running" if mark == "+" else "stopped", "source": "sysv"}
        for mark, name in re.findall(_SCRIPT, said.get("scripts", ""))
    }
    services |= _loaded(said.get("units", ""))
    _with_files(services, said.get("files", ""), _states(said.get("states", "")))
    if not services:
        return Outcome(skipped=True, msg="Failed to find any services: neither init scripts nor systemd are here.")
    facts = {"services": services}
    return Outcome(facts=facts, data={"ansible_facts": facts})


def _loaded(said: str) -> dict[str, dict[str, str]]:
    """Columns UNIT LOAD ACTIVE SUB DESCRIPTION; a bad word in any of them is the status."""
    found: dict[str, dict[str, str]] = {}
    for fields in (line.split() for line in said.splitlines()):
        if len(fields) > 3 and fields[0].endswith(".service"):
            status = next((bad for bad in _BAD if bad in fields[:-1]), fields[2])
            state = "running" if fields[3] == "running" else "stopped"
            found[fields[0]] = {"name": fields[0], "state": state, "status": status, "source": "systemd"}
    return found


def _with_files(services: dict[str, dict[str, str]], said: str, states: Mapping[str, str]) -> None:
    """Columns UNIT STATE PRESET of what lies on disk."""
    for fields in (line.split() for line in said.splitlines()):
        if len(fields) < 2 or not fields[0].endswith(".service"):
            continue
        name, status = fields[:2]
        if name not in services:
            state = states.get(name, "unknown")
            services[name] = {"name": name, "state": state, "status": status, "source": "systemd"}
        elif services[name].get("status") not in _BAD:
            services[name]["status"] = status


def _states(said: str) -> dict[str, str]:
    """By each of a unit's names."""
    pairs = (dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in said.split("\n\n"))
    return {name: pair.get("ActiveState", "unknown") for pair in pairs for name in pair.get("Names", "").split()}
