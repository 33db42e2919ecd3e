"""`service`: a service of the host, whatever runs its services."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ciflow.model import Context, Exec, Hold, Outcome, Probe, Reply, Steps
from ciflow.modules import systemd
from ciflow.modules.program import broken, questions, run_all, sections, tool
from ciflow.modules.replies import well

# $1 the service, $2 a pattern to find among the processes instead of asking for its status, the rest arguments of
# the script. Which manager: as the fact `service_mgr` has it.
_LOOK = r"""
name=$1 pattern=$2; shift 2
section manager
if [ -d /run/systemd/system ]; then echo systemd
elif case $(readlink /sbin/init 2>/dev/null) in *systemd) true ;; *) false ;; esac; then echo systemd
elif command -v rc-service >/dev/null; then echo openrc
elif [ -d /etc/init.d ]; then echo sysvinit
fi
section script; [ -x "/etc/init.d/$name" ] && echo there
section links; ls -d /etc/rc[2345].d/S[0-9][0-9]"$name" 2>/dev/null; ls -d /etc/rc?.d/[SK][0-9][0-9]"$name" 2>/dev/null
section status
if [ -n "$pattern" ]; then ps -eo args= | grep -F -- "$pattern" | grep -v -e 'grep -F' -e '^/bin/sh -c' >/dev/null
elif [ "$asked" = sysvinit ] || [ ! -d /run/systemd/system ]; then service "$name" status "$@" >/dev/null 2>&1
fi
echo $?
"""
_SYSTEMD = {"daemon_reload": False, "daemon_reexec": False, "scope": "system", "no_block": False}


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """systemd's where that runs the host, else the init script's; other managers are refused by name."""
    use = args["use"]
    if use == "systemd":
        return (yield from systemd.run({**_SYSTEMD, **args}, context))
    words = (args["name"], args.get("pattern") or "", *args["arguments"].split())
    seen = yield Probe(questions(_LOOK, words, context, {"asked": use}))
    if not well(seen):
        return broken(seen, f"can't ask for {args['name']}", _named(args))
    said = sections(seen.stdout)
    manager = said["manager"].strip() if use in ("auto", "service") else use
    if manager == "systemd":
        return (yield from systemd.run({**_SYSTEMD, **args}, context))
    if manager != "sysvinit":
        msg = f"the services of this host are run by {manager or 'nothing that is known here'}; "
        return Outcome(failed=True, msg=msg + "systemd and init scripts can be used", data=_named(args))
    return (yield from _script(args, context, said))


def _named(args: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": args["name"]}


def _script(args: Mapping[str, Any], context: Context, said: Mapping[str, str]) -> Steps:
    name, data = args["name"], _named(args)
    if not said["script"].strip():
        return Outcome(failed=True, msg=f"Could not find the requested service {name}: host", data=data)
    links = said["links"].split()
    calls = list[tuple[str, Exec]]()
    if args.get("enabled") is not None:
        data["enabled"] = args["enabled"]
        if args["enabled"] != any("/S" in link for link in links):
            calls += [_call(["update-rc.d", name, "defaults"], context)] if not links else []
            calls.append(_call(["update-rc.d", name, "enable" if args["enabled"] else "disable"], context))
    for action in _actions(args, said["status"].strip() == "0"):
        if action == "sleep":
            ran = yield from run_all(calls, data)
            if ran.outcome is not None:
                return ran.outcome
            yield from _pause(args, context)
            calls, data["slept"] = [], True
        else:
            calls.append(_call(["service", name, action, *args["arguments"].split()], context))
    ran = yield from run_all(calls, data)
    slept = data.pop("slept", False)
    if args.get("state") is not None:
        data["state"] = "stopped" if args["state"] == "stopped" else "started"
    return ran.outcome or Outcome(changed=bool(calls) or slept, data=data)


def _actions(args: Mapping[str, Any], running: bool) -> list[str]:
    match args.get("state"):
        case "started":
            return [] if running else ["start"]
        case "stopped":
            return ["stop"] if running else []
        case "reloaded":
            return ["reload"] if running else ["start"]
        case "restarted" if args.get("sleep") and running:
            return ["stop", "sleep", "start"]
        case "restarted":
            return ["restart"] if running else ["start"]
    return []


def _pause(args: Mapping[str, Any], context: Context) -> Any:
    """What `sleep` asks for between stop and start; check mode waits for nothing."""
    if not context.check:
        reply: Reply = yield Hold(float(args["sleep"]), why=f"{args['name']} is to be left alone for a while")
        return reply
    return None


def _call(argv: list[str], context: Context) -> tuple[str, Exec]:
    return " ".join(argv), tool(argv, context)
