"""`affected`: which crates of a Rust workspace a change touches, and why each."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any

from ciflow.dataclass import dataclass
from ciflow.model import Context, Outcome, Reply, Step, Steps
from ciflow.modules import checkout

if TYPE_CHECKING:
    from ciflow.modules.checkout import Ask, Touched

_NAMED = 5  # crates that a message names


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """It reads only."""
    found = yield from checkout.touched(ask(args, context))
    if isinstance(found, Outcome):
        return found
    return Outcome(msg=said(found), data=data(found))


def ask(args: Mapping[str, Any], context: Context) -> Ask:
    """What the arguments of this module, and of those that narrow to affected crates, ask for."""
    env = {**context.environment, "CARGO_TERM_COLOR": "never", **{k: str(v) for k, v in args.get("env", {}).items()}}
    ignore = tuple(str(one) for one in args.get("ignore", ()))
    return checkout.Ask(
        args.get("chdir", ""), args.get("base", ""), ignore, bool(args["offline"]), env, context.timeout
    )


@dataclass(frozen=True)
class Narrowed:
    """`arguments` of cargo that choose the touched crates; what a result says of them."""

    arguments: Mapping[str, Any]
    told: Mapping[str, Any]


def narrowed(args: Mapping[str, Any], context: Context) -> Generator[Step, Reply, Narrowed | Outcome]:
    """Which packages to build, of those that `package` names or of all. An outcome where there is nothing to do."""
    found = yield from checkout.touched(ask(args, context))
    if isinstance(found, Outcome):
        return found
    told = {name: value for name, value in data(found).items() if name in ("crates", "everything", "base")}
    if found.affected.everything:
        return Narrowed({} if args.get("package") else {"workspace": True}, told)
    given = args.get("package") or ()
    wanted = {str(name) for name in (given if isinstance(given, list | tuple) else [given])}
    graph = found.graph
    chosen = [one for one in graph.members if one.id in found.affected.crates and (not wanted or one.name in wanted)]
    if not chosen:
        return Outcome(skipped=True, msg=said(found), data={"affected": told})
    return Narrowed({"package": [graph.spec(crate) for crate in chosen], "workspace": False}, told)


def data(found: Touched) -> dict[str, Any]:
    """What `register` shows."""
    graph, touched = found.graph, found.affected
    crates = [crate for crate in graph.members if crate.id in touched.crates]
    return {
        "crates": [crate.name for crate in crates],
        "packages": [graph.spec(crate) for crate in crates],
        "why": {crate.name: list(touched.crates[crate.id]) for crate in crates},
        "everything": touched.everything,
        "members": len(graph.members),
        "base": found.base,
        "commit": found.commit,
        "changes": found.changes,
    }


def said(found: Touched) -> str:
    """In one line."""
    members, crates = found.graph.members, found.affected.crates
    since = f" since {found.base}" if found.base else ""
    if found.affected.everything:
        return f"all {len(members)} crates count as touched{since}: {found.affected.everything}"
    names = [crate.name for crate in members if crate.id in crates]
    files = f"{found.changes} changed file{'s' * (found.changes != 1)}"
    more = f", and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    listed = f": {', '.join(names[:_NAMED])}{more}" if names else ""
    return f"{len(names)} of {len(members)} crates are touched by {files}{since}{listed}"
