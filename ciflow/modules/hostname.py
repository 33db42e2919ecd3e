"""`hostname`: what the host is called, now and after a boot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.model import Change, Context, Outcome, Probe, Steps, Write
from ciflow.modules.program import broken, questions, run_all, sections, tool
from ciflow.modules.replies import failure, predicted, well

_LOOK = r"""
section now; uname -n
section file; cat /etc/hostname 2>/dev/null
section manager; [ -d /run/systemd/system ] && command -v hostnamectl
section domain; hostname -f 2>/dev/null
true
"""
_LIMIT = 64  # of a host's name in Linux, in bytes (HOST_NAME_MAX)


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """By hostnamectl where systemd runs, otherwise /etc/hostname and the kernel's own name."""
    name = args["name"]
    if not name or len(name.encode()) > _LIMIT:
        return Outcome(failed=True, msg=f"a host's name has 1 to {_LIMIT} bytes", data={"name": name})
    seen = yield Probe(questions(_LOOK, (), context))
    if not well(seen):
        return broken(seen, "can't ask for the host's name", {"name": name})
    said = {key: value.strip() for key, value in sections(seen.stdout).items()}
    by_systemd = args["use"] == "systemd" if args.get("use") else bool(said["manager"])
    calls = []
    if said["file"] != name:
        if by_systemd:
            calls.append(("hostnamectl", tool(["hostnamectl", "--pretty", "--static", "set-hostname", name], context)))
        else:
            reply = yield Change(Write(path="/etc/hostname", content=f"{name}\n".encode()))
            if not well(reply) and not predicted(reply):
                return failure(reply, {"name": name})
    if said["now"] != name:
        argv = ["hostnamectl", "--transient", "set-hostname", name] if by_systemd else ["hostname", name]
        calls.append((argv[0], tool(argv, context)))
    ran = yield from run_all(calls, {"name": name})
    return ran.outcome or _outcome(name, said)


def _outcome(name: str, said: Mapping[str, str]) -> Outcome:
    before = said["now"] if said["now"] != name else said["file"]
    short, _, own = name.partition(".")
    fqdn = name if own else (said["domain"] or name)
    facts = {
        "ansible_hostname": short,
        "ansible_nodename": name,
        "ansible_fqdn": fqdn,
        "ansible_domain": fqdn.partition(".")[2],
    }
    changed = said["now"] != name or said["file"] != name
    diff = (f"hostname = {before}\n", f"hostname = {name}\n") if changed else None
    return Outcome(changed=changed, data={"name": name, "ansible_facts": facts}, facts=facts, diff=diff)
