"""`iptables`: a rule, a chain or a policy of the packet filter, by its own tool."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from typing import Any

from ciflow.model import Change, Context, Outcome, Probe, Reply, Step, Steps
from ciflow.modules.execute import tool
from ciflow.modules.replies import failure, predicted, text, well

_PROGRAMS = {"ipv4": ("iptables",), "ipv6": ("ip6tables",), "both": ("iptables", "ip6tables")}
_ICMP = {"iptables": "--icmp-type", "ip6tables": "--icmpv6-type"}


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """For each version of IP: look, then change what is not so."""
    wrong = _wrong(args)
    if wrong:
        return Outcome(failed=True, msg=wrong)
    told = {name: args.get(name) for name in ("ip_version", "table", "chain", "flush", "state", "chain_management")}
    told["rule"] = " ".join(rule(args, _PROGRAMS[args["ip_version"]][0]))
    changed = False
    for program in _PROGRAMS[args["ip_version"]]:
        reply = yield from _settled(args, context, program)
        if not (well(reply) or predicted(reply)):
            said = text(reply.stderr).strip()
            return failure(reply, told) if reply.status != "done" or not said else Outcome(
                failed=True, msg=f"{program}: {said}", data={**told, "rc": reply.rc}
            )  # fmt: skip
        changed = changed or reply.changed or predicted(reply)
    return Outcome(changed=changed, data=told)


def _wrong(args: Mapping[str, Any]) -> str:
    """What makes no sense together, in Ansible's words."""
    jump = args.get("jump", "")
    if not args["flush"] and not args.get("chain"):
        return "flush is False but all of the following are missing: chain"
    if jump.lower() == "tee" and not args.get("gateway"):
        return f"jump is {jump} but all of the following are missing: gateway"
    if (args.get("log_prefix") or args.get("log_level")) and jump not in ("", "LOG"):
        return "Logging options can only be used with the LOG jump target."
    needing = next((name for name in ("set_dscp_mark", "set_dscp_mark_class") if args.get(name) and not jump), "")
    return f"missing parameter(s) required by '{needing}': jump" if needing else ""


def _settled(args: Mapping[str, Any], context: Context, program: str) -> Generator[Step, Reply, Reply]:
    """The reply to the change, or, where nothing was to do, one that changed nothing."""
    words = rule(args, program)
    if args["flush"]:
        return (yield Change(_call(args, context, program, "-F")))
    if args.get("policy"):
        return (yield from _policy(args, context, program))
    present = args["state"] == "present"
    seen = yield Probe(_call(args, context, program, "-C" if words else "-L", words or _numeric(args)))
    if seen.status != "done" or seen.rc in (126, 127):
        return seen
    if seen.ok == present:
        return Reply()
    if words:
        place = ("-I" if args["action"] == "insert" else "-A") if present else "-D"
        return (yield Change(_call(args, context, program, place, words)))
    if not args["chain_management"]:
        return Reply(changed=True)  # what Ansible says, though it does nothing then
    return (yield Change(_call(args, context, program, "-N" if present else "-X")))


def _policy(args: Mapping[str, Any], context: Context, program: str) -> Generator[Step, Reply, Reply]:
    seen = yield Probe(_call(args, context, program, "-L", _numeric(args)))
    if not well(seen):
        return seen
    found = re.search(r"\(policy ([A-Z]+)", text(seen.stdout).partition("\n")[0])
    if found is None:
        return Reply(ok=False, error=f"Can't detect current policy of {args['chain']}")
    if found[1] == args["policy"]:
        return Reply()
    return (yield Change(_call(args, context, program, "-P", (args["policy"],))))


def _numeric(args: Mapping[str, Any]) -> tuple[str, ...]:
    """Without it, listing a chain asks the resolver for each address."""
    return ("--numeric",) if args["numeric"] else ()


def _call(args: Mapping[str, Any], context: Context, program: str, verb: str, words: tuple[str, ...] = ()) -> Any:
    where = (args["chain"],) if args.get("chain") else ()
    number = (args["rule_num"],) if verb == "-I" and args.get("rule_num") else ()
    wait = ("-w", args["wait"]) if args.get("wait") else ()
    words = (program, "-t", args["table"], verb, *where, *number, *wait, *words)
    return tool(words, context)


def rule(args: Mapping[str, Any], program: str) -> tuple[str, ...]:
    """The words of the rule, in the order in which Ansible gives them; of a chain, none."""
    words = [*_addressed(args), *_target(args), *_matched(args), *_limited(args)]
    if not _jump(args) and args.get("reject_with"):
        words += ["-j", "REJECT"]
    words += _word(args, "reject_with", "--reject-with") + _word(args, "icmp_type", _ICMP[program])
    return tuple(words + (["-m", "comment"] if args.get("comment") else []) + _word(args, "comment", "--comment"))


def _addressed(args: Mapping[str, Any]) -> list[str]:
    words = [*_word(args, "protocol", "-p"), *_word(args, "source", "-s"), *_word(args, "destination", "-d")]
    words += [word for match in args["match"] for word in _negatable("-m", str(match))]
    flags = args.get("tcp_flags") or {}
    if flags.get("flags") and flags.get("flags_set"):
        words += ["--tcp-flags", _joined(flags["flags"]), _joined(flags["flags_set"])]
    return words


def _jump(args: Mapping[str, Any]) -> str:
    return str(args.get("jump") or ("LOG" if args.get("log_prefix") or args.get("log_level") else ""))


def _target(args: Mapping[str, Any]) -> list[str]:
    jump = _jump(args)
    words = ["-j", jump] if jump else []
    words += _word(args, "gateway", "--gateway") if jump.lower() == "tee" else []
    words += _word(args, "log_prefix", "--log-prefix") + _word(args, "log_level", "--log-level")
    words += _word(args, "to_destination", "--to-destination")
    if args["destination_ports"]:
        words += ["-m", "multiport", "--dports", _joined(args["destination_ports"])]
    for name, flag in _FLAGS.items():
        words += _word(args, name, flag)
    for name, flag in (("set_dscp_mark", "--set-dscp"), ("set_dscp_mark_class", "--set-dscp-class")):
        words += _word(args, name, flag)
        words += ["-j", "DSCP"] if args.get(name) and jump.lower() != "dscp" else []
    return words + {"match": ["--syn"], "negate": ["!", "--syn"]}.get(args["syn"], [])


_FLAGS = {
    "to_source": "--to-source", "goto": "-g", "in_interface": "-i", "out_interface": "-o", "fragment": "-f",
    "set_counters": "-c", "source_port": "--source-port", "destination_port": "--destination-port",
    "to_ports": "--to-ports",
}  # fmt: skip


def _matched(args: Mapping[str, Any]) -> list[str]:
    """Matches that need their module, which the task may have named itself."""
    words: list[str] = []
    if args["ctstate"]:
        state = "state" in args["match"] and "conntrack" not in args["match"]
        words += [] if state else _module(args, "conntrack")
        words += ["--state" if state else "--ctstate", _joined(args["ctstate"])]
    if args.get("src_range") or args.get("dst_range"):
        words += _module(args, "iprange")
        words += _word(args, "src_range", "--src-range") + _word(args, "dst_range", "--dst-range")
    if args.get("match_set"):
        words += [*_module(args, "set"), *_word(args, "match_set", "--match-set")]
        words += [args["match_set_flags"]] if args.get("match_set_flags") else []
    return words


def _limited(args: Mapping[str, Any]) -> list[str]:
    words = ["-m", "limit"] if args.get("limit") or args.get("limit_burst") else []
    words += _word(args, "limit", "--limit") + _word(args, "limit_burst", "--limit-burst")
    for name, flag in (("uid_owner", "--uid-owner"), ("gid_owner", "--gid-owner")):
        words += ["-m", "owner", *_word(args, name, flag)] if args.get(name) else []
    return words


def _module(args: Mapping[str, Any], name: str) -> list[str]:
    return [] if name in args["match"] else ["-m", name]


def _word(args: Mapping[str, Any], name: str, flag: str) -> list[str]:
    return _negatable(flag, str(args[name])) if args.get(name) else []


def _negatable(flag: str, value: str) -> list[str]:
    """`!` before a value is one before its flag."""
    return ["!", flag, value[1:].strip()] if value.startswith("!") else [flag, value]


def _joined(values: Any) -> str:
    return ",".join(map(str, values))
