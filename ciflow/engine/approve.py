"""Waiting for somebody's yes, from any terminal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection

from ciflow.engine.context import RunContext
from ciflow.engine.people import POLL, People
from ciflow.model import Approval


async def await_approval(run: RunContext, people: People, play: str, approval: Approval, prompt: str) -> bool:
    """Whether the play may start. The answer is an event of the store, so it outlives this process."""
    if run.options.check:
        return True
    asked = run.recorder.rendered(f"{play}|asked", time.time)
    until = asked + approval.timeout if approval.timeout else 0.0
    data = {"prompt": prompt, "until": until, "approvers": list(approval.approvers)}
    run.recorder.emit("approval_wanted", data, play=play)
    run.wire.schedule()
    while True:
        for answer in people.approvals(play):
            if may_answer(str(answer.data.get("by", "")), approval.approvers):
                return bool(answer.data.get("yes"))
        if until and time.time() > until:
            run.wire.warn(f"nobody answered within {approval.timeout:g} s: {prompt}")
            return False
        await asyncio.sleep(POLL)


def may_answer(who: str, approvers: Collection[str]) -> bool:
    """Approvers are named by account, on whichever machine they are, or by account and machine."""
    return not approvers or bool({who, who.partition("@")[0]} & set(approvers))
