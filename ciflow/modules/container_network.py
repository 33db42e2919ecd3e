"""`container_network`: a network of Docker's, and which containers are in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ciflow.model import Context, Outcome, Steps
from ciflow.modules.container_values import pairs
from ciflow.modules.dockerd import answer, do, look, missing, part, status
from ciflow.modules.replies import failure, well

_RANGES = {"subnet": "Subnet", "iprange": "IPRange", "gateway": "Gateway"}


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """What a network is can't be changed: one that differs is made anew, and its containers join it again."""
    name, path = str(args["name"]), f"/networks/{part(args['name'])}"
    reply = yield look(args, path)
    if not well(reply) and not missing(reply):
        return failure(reply, {}, f"could not look at the network {name}")
    found = answer(reply) if well(reply) else None
    inside = sorted(one["Name"] for one in ((found or {}).get("Containers") or {}).values())
    what = _differences(args, found) if found else {}
    wanted = _members(args, inside)
    steps = _plan(args, found, inside, wanted, remake=bool(what) or args["force"])
    for method, where, body in steps:
        reply = yield do(args, method, where, **({"body": body} if body else {}))
        if not context.check and not well(reply) and status(reply) not in _fine(method, where):
            return failure(reply, {}, f"could not change the network {name}")
    data: dict[str, Any] = {"name": name, "differences": sorted(what)}
    if args["state"] == "present" and not context.check:
        data["network"] = answer((yield look(args, path)))
    diff = _shown(found, inside, what, args, wanted) if context.diff and steps else None
    return Outcome(changed=bool(steps), msg=_words(what, steps), data=data, diff=diff)


def _fine(method: str, where: str) -> tuple[int, ...]:
    """Statuses of a request that was made before and whose answer was lost: it is so already."""
    if method == "DELETE":
        return (404,)
    return (409,) if where == "/networks/create" else (403, 404) if where.endswith("disconnect") else (403,)


def _members(args: Mapping[str, Any], inside: list[str]) -> list[str]:
    """The containers that are to be in it: those of `connected`, and with `appends` all that are."""
    said = args.get("connected")
    if said is None or args["appends"]:
        return list(dict.fromkeys([*inside, *(said or [])]))
    return list(said)


def _plan(
    args: Mapping[str, Any], found: Any, inside: list[str], wanted: list[str], *, remake: bool
) -> list[tuple[str, str, dict[str, Any]]]:
    """The requests, in order: method, path, body."""
    path = f"/networks/{part(args['name'])}"

    def each(word: str, names: list[str]) -> list[tuple[str, str, dict[str, Any]]]:
        return [("POST", f"{path}/{word}", {"Container": name}) for name in names]

    away: list[tuple[str, str, dict[str, Any]]] = [*each("disconnect", inside), ("DELETE", path, {})]
    if args["state"] == "absent":
        return away if found else []
    fresh = found is None or remake
    steps = away if found and remake else []
    if fresh:
        return [*steps, ("POST", "/networks/create", _body(args)), *each("connect", wanted)]
    joining = [name for name in wanted if name not in inside]
    return [*each("connect", joining), *each("disconnect", [name for name in inside if name not in wanted])]


def _body(args: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"Name": args["name"], "CheckDuplicate": True, "Driver": args.get("driver") or "bridge"}
    made |= {key: value for key, value in _wished(args).items() if key != "Driver"}
    if "IPAM" in made:
        made["IPAM"] = {"Config": made["IPAM"]}
    return made


def _wished(args: Mapping[str, Any]) -> dict[str, Any]:
    """What the task asks for, in the API's form; what it doesn't say is not there."""
    made: dict[str, Any] = {}
    plain = {"driver": "Driver", "internal": "Internal", "attachable": "Attachable", "enable_ipv6": "EnableIPv6"}
    made |= {key: args[name] for name, key in plain.items() if args.get(name) is not None}
    made |= {"Options": pairs(args["driver_options"])} if args.get("driver_options") is not None else {}
    made |= {"Labels": pairs(args["labels"])} if args.get("labels") is not None else {}
    if args.get("ipam_config"):
        made["IPAM"] = [
            {key: str(one[name]) for name, key in _RANGES.items() if one.get(name)} for one in args["ipam_config"]
        ]
    return made


def _differences(args: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What is not as wished, before and after; more options, labels and addresses than asked for may be there."""
    what = {}
    for key, wish in _wished(args).items():
        have: Any = (found["IPAM"].get("Config") or []) if key == "IPAM" else found.get(key)
        if key == "IPAM":
            same = len(wish) == len(have) and all(w.items() <= h.items() for w, h in zip(wish, have, strict=True))
        else:
            same = wish.items() <= (have or {}).items() if isinstance(wish, dict) else wish == have
        if not same:
            what[key] = (have, wish)
    return what


def _shown(
    found: Any, inside: list[str], what: Mapping[str, tuple[Any, Any]], args: Mapping[str, Any], wanted: list[str]
) -> tuple[str, str]:
    present = args["state"] == "present"
    after_all = wanted if present else []
    sides = [{"exists": found is not None, "connected": inside}, {"exists": present, "connected": after_all}]
    for number, side in enumerate(sides):
        side |= {key: pair[number] for key, pair in what.items()}
    before, after = (json.dumps(side, indent=1, sort_keys=True) + "\n" for side in sides)
    return before, after


def _words(what: Mapping[str, Any], steps: list[tuple[str, str, dict[str, Any]]]) -> str:
    if not steps:
        return "nothing to do"
    return f"made anew, since {', '.join(sorted(what))} differed" if what else ""
