"""`--tags` and `--skip-tags`: which tasks of a play are left."""

from __future__ import annotations

from dataclasses import replace

from ciflow.model import Block, Node, Task


def selected(tags: frozenset[str], only: frozenset[str], skip: frozenset[str]) -> bool:
    """Ansible's rule: `always` runs unless skipped, `never` only when named; all, tagged, untagged are words."""
    named = tags - {"always", "never"}
    if skip & tags or ("tagged" in skip and named) or ("untagged" in skip and not tags) or "all" in skip:
        return "all" in skip and "always" in tags and "always" not in skip
    if "always" in tags and not only & {"never"}:
        return True
    if "never" in tags and not only & tags:
        return False
    return (
        not only
        or "all" in only
        or bool(only & tags)
        or ("tagged" in only and bool(named))
        or ("untagged" in only and not tags)
    )


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
