"""`systemd`: a unit of systemd: running or not, started at boot or not, masked or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.model import Context, Exec, Outcome, Probe, Reply, Steps
from ciflow.modules.program import broken, questions, run_all, sections, tool
from ciflow.modules.replies import well

# $1 the unit, the rest options of systemctl. The exit codes say too little across versions: the words are read.
_LOOK = r"""
unit=$1; shift
command -v systemctl >/dev/null || exit 127
section show; systemctl "$@" show -- "$unit" 2>&1
section enabled; systemctl "$@" is-enabled -l -- "$unit" 2>/dev/null
section script; [ -x "/etc/init.d/${unit%.service}" ] && echo there
ls /etc/rc[S2345].d/S[0-9][0-9]"${unit%.service}" 2>/dev/null
section manager
if [ "${SYSTEMD_OFFLINE:-0}" = 1 ] || ! { [ -d /run/systemd/system ] || [ "$1" = --user ]; }; then echo offline; fi
true
"""
_RUNNING = ("active", "activating")
# Words of is-enabled that call for `enable` all the same: what is only so until the next boot, or by another's name.
_NOT_REALLY = ("enabled-runtime", "indirect", "alias")
_KNOWN = (
    "enabled", "enabled-runtime", "linked", "linked-runtime", "masked", "masked-runtime", "static", "indirect",
    "disabled", "generated", "transient", "alias",
)  # fmt: skip
_ENABLED = ("enabled", "enabled-runtime", "static", "alias", "indirect", "generated", "transient")


@dataclass(frozen=True, slots=True)
class Unit:
    """What systemd said of a unit. `enablement` is the first word of is-enabled, "" where it knows nothing."""

    status: Mapping[str, str]
    enablement: str
    script: bool  # there is an init script of that name
    script_enabled: bool
    offline: bool  # nothing runs here: a chroot, an image

    @property
    def known(self) -> bool:
        load = self.status.get("LoadState", "not-found")
        return load != "not-found" or self.enablement in _KNOWN or self.script

    @property
    def masked(self) -> bool:
        return self.enablement == "masked" or self.status.get("LoadState") == "masked"

    @property
    def enabled(self) -> bool:
        if self.enablement in _NOT_REALLY:
            return False
        at_boot = self.script and self.script_enabled and not self.enablement.endswith("disabled")
        return self.enablement in _ENABLED or at_boot


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """Reload systemd where asked, look once, then change only what differs."""
    unit = args.get("name")
    wanted = [name for name in ("state", "enabled", "masked") if args.get(name) is not None]
    if wanted and not unit:
        return Outcome(failed=True, msg=f"missing parameter(s) required by '{wanted[0]}': name")
    glob = next((mark for mark in "*?[" if mark in (unit or "")), "")
    if glob:
        return Outcome(failed=True, msg=f"a pattern ('{glob}') is no name of a unit: {unit}; loop over names instead")
    data: dict[str, Any] = {"name": unit, "status": {}}
    options = _options(args)
    daemon = [verb for verb in ("daemon_reload", "daemon_reexec") if args[verb]]
    ran = yield from run_all([_call([*options, verb.replace("_", "-")], context) for verb in daemon], data)
    if ran.outcome is not None and not (yield from _nothing_runs(context)):
        return ran.outcome
    if not unit:
        return Outcome(data=data)
    seen = yield Probe(questions(_LOOK, (unit, *options), context))
    if not well(seen):
        missing = Outcome(failed=True, msg="systemctl is not on the host: it has no systemd", data=data)
        return missing if seen.rc == 127 else broken(seen, f"can't ask for {unit}", data)
    return (yield from _changed(args, context, _unit(seen), data))


def _nothing_runs(context: Context) -> Any:
    """Whether there is no systemd to reload, as in an image that is being built: then that is no fault."""
    reply = yield Probe(tool(["test", "-d", "/run/systemd/system"], context))
    return reply.status == "done" and reply.rc == 1


def _options(args: Mapping[str, Any]) -> list[str]:
    scope = [] if args["scope"] == "system" else [f"--{args['scope']}"]
    return [*scope, *(["--no-block"] if args["no_block"] else []), *(["--force"] if args.get("force") else [])]


def _call(words: list[str], context: Context) -> tuple[str, Exec]:
    return f"systemctl {' '.join(words)}", tool(["systemctl", *words], context)


def _unit(seen: Reply) -> Unit:
    said = sections(seen.stdout)
    words = said["enabled"].split()
    script = said["script"].splitlines()
    return Unit(
        properties(said["show"]), words[0] if words else "", "there" in script, len(script) > 1, bool(said["manager"])
    )


def properties(said: str) -> dict[str, str]:
    """`systemctl show`: one property a line; only those that begin with Exec may go over several, in braces."""
    found: dict[str, str] = {}
    name, parts = "", list[str]()
    for line in said.split("\n"):
        if parts:
            parts.append(line)
            if line.rstrip().endswith("}"):
                found[name], parts = "\n".join(parts).strip(), []
            continue
        name, mark, value = line.partition("=")
        if mark and name.startswith("Exec") and value.lstrip().startswith("{") and not value.rstrip().endswith("}"):
            parts = [value]
        elif mark:
            found[name] = value.strip()
    return found


def _changed(args: Mapping[str, Any], context: Context, unit: Unit, data: dict[str, Any]) -> Steps:
    name, options = args["name"], _options(args)
    data["status"] = dict(unit.status)
    calls = list[tuple[str, Exec]]()
    if args.get("masked") is not None and args["masked"] != unit.masked:
        calls.append(_call([*options, "mask" if args["masked"] else "unmask", name], context))
    missing = not unit.known and (args.get("enabled") is not None or args.get("state") is not None)
    if missing and not calls:
        return Outcome(failed=True, msg=f"Could not find the requested service {name}: host", data=data)
    if unit.status.get("LoadError") and unit.status.get("LoadState") in ("error", "bad-setting"):
        msg = f"Error loading unit file '{name}': {unit.status['LoadError']}"
        return Outcome(failed=True, msg=msg, data=data)
    if args.get("enabled") is not None:
        data["enabled"] = args["enabled"]
        if args["enabled"] != unit.enabled:
            calls.append(_call([*options, "enable" if args["enabled"] else "disable", name], context))
    if args.get("state") is not None:
        data["state"] = "started" if args["state"] in ("restarted", "reloaded") else args["state"]
        action = _action(args["state"], unit)
        if action is None and not unit.offline:
            return Outcome(failed=True, msg="Service is in unknown state", data=data)
        calls += [_call([*options, action, name], context)] if action else []
    ran = yield from run_all(calls, data)
    return ran.outcome or Outcome(changed=bool(calls), data=data)


def _action(wanted: str, unit: Unit) -> str | None:
    """What to tell systemctl: "" for nothing, None where nobody knows whether it runs."""
    active = unit.status.get("ActiveState")
    if active is None:
        return None
    if wanted == "started":
        return "" if active in _RUNNING else "start"
    if wanted == "stopped":
        return "stop" if active in (*_RUNNING, "deactivating") else ""
    return wanted[:-2] if active in _RUNNING else "start"
