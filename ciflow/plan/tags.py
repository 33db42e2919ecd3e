"""`--tags` and `--skip-tags`: which tasks of a play are left."""

from __future__ import annotations

from dataclasses import replace

from ciflow.diagnostics import Findings
from ciflow.lang.near import did_you_mean
from ciflow.lang.roles import flat
from ciflow.model import Block, Node, Play, Playbook, Task

WORDS = frozenset({"all", "tagged", "untagged", "always", "never"})


def selected(tags: frozenset[str], only: frozenset[str], skip: frozenset[str]) -> bool:
    """Ansible's rule. `always` runs unless it is skipped, `never` only when one of the task's tags is asked for; the
    words all, tagged and untagged stand for tasks of their kind, and what is skipped beats what is asked for."""
    own = tags or frozenset({"untagged"})
    wanted = only or frozenset({"all"})
    common = "never" not in own and ("all" in wanted or ("tagged" in wanted and bool(tags)))
    if not ("always" in own or own & wanted or common):
        return False
    if "all" in skip:
        return "always" in own and "always" not in skip
    return not own & skip and not ("tagged" in skip and tags)


def unused(playbook: Playbook, asked: frozenset[str], findings: Findings) -> None:
    """Tags of the command line that no task has; silent where tasks come from files that are read on the way."""
    nodes = [node for play in playbook.plays for node in (*play.tasks, *play.handlers, *_of_canary(play))]
    tasks = flat(tuple(nodes))
    if any(task.module in ("include_tasks", "include_role") for task in tasks):
        return
    known = frozenset().union(*(task.tags for task in tasks)) - WORDS
    for tag in sorted(asked - known - WORDS):
        there = f"there are {', '.join(sorted(known))}" if known else "none has any"
        findings.warning("CF0304", f"no task has the tag `{tag}`", None,
                         help=did_you_mean(tag, known, otherwise=there)())  # fmt: skip


def _of_canary(play: Play) -> tuple[Node, ...]:
    return play.canary.verify + play.canary.retire if play.canary is not None else ()


def prune(nodes: tuple[Node, ...], only: frozenset[str], skip: frozenset[str]) -> tuple[Node, ...]:
    """The nodes with unselected tasks left out and emptied blocks dropped."""
    kept: list[Node] = []
    for node in nodes:
        if isinstance(node, Task):
            if selected(node.tags, only, skip) or "implicit" in node.tags:
                kept.append(node)
        elif pruned := _prune_block(node, only, skip):
            kept.append(pruned)
    return tuple(kept)


def _prune_block(block: Block, only: frozenset[str], skip: frozenset[str]) -> Block | None:
    body, rescue, always = (prune(part, only, skip) for part in (block.body, block.rescue, block.always))
    if not (body or rescue or always):
        return None
    return replace(block, body=body, rescue=rescue, always=always)
