"""`reboot`: start the host anew and wait until it is back."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from ciflow.diagnostics import TargetError
from ciflow.model import At, Change, Context, Exec, Hold, Outcome, Probe, Read, Reply, Step, Steps
from ciflow.modules.patience import Waited, until
from ciflow.modules.replies import failure, well

_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_SLEEP = 2.0  # seconds between two looks whether it is back


def run(args: Mapping[str, Any], context: Context) -> Steps:
    """It is back when it says another boot id than before, and the test command goes well."""
    if (yield from _is_the_controller()):
        return Outcome(failed=True, msg="this host is the machine that ciflow runs on: it can't be rebooted from here")
    look = Probe(_shell(args, args["boot_time_command"], context))
    before = yield look
    if not well(before):
        return failure(before, {"rebooted": False}, f"{args['boot_time_command']} tells no boot time")
    if context.check:
        return Outcome(changed=True, data={"elapsed": 0, "rebooted": True})
    refused = yield from _go_down(args, context)
    if refused is not None:
        return failure(refused, {"rebooted": False}, "Reboot command failed")
    delay = float(args["post_reboot_delay"])
    if delay:
        yield Hold(delay, why="reboot: post_reboot_delay")
    limits = {"sleep": _SLEEP, "timeout": float(args["reboot_timeout"])}

    def anew(reply: Reply) -> bool:
        return well(reply) and reply.stdout.strip() != before.stdout.strip()

    back = yield from until(look, anew, context, elapsed=delay, **limits)
    if back.reply is None:
        return _late(back, "Timed out waiting for last boot time check", rebooted=False)
    test = Probe(_shell(args, args["test_command"], context))
    usable = yield from until(test, well, context, elapsed=back.elapsed, **limits)
    if usable.reply is None:
        return _late(usable, "Timed out waiting for post-reboot test command", rebooted=True)
    return Outcome(changed=True, data={"elapsed": int(usable.elapsed), "rebooted": True})


def _is_the_controller() -> Generator[Step, Reply, bool]:
    """Also by SSH to itself, and from a container of it. Where neither tells a boot id, it may be."""
    there = yield Probe(Read(path=_BOOT_ID))
    here = yield At("controller", Probe(Read(path=_BOOT_ID)))
    return (well(there), there.stdout) == (well(here), here.stdout)


def _go_down(args: Mapping[str, Any], context: Context) -> Generator[Step, Reply, Reply | None]:
    """The reply of a command that was refused; a connection that is lost over it is what was wanted."""
    minutes = int(args["pre_reboot_delay"]) // 60
    command = args.get("reboot_command") or f'exec shutdown -r +{minutes} "$0"'
    try:
        reply = yield Change(_shell(args, command, context, args["msg"]))
    except TargetError:
        return None
    lost = reply.status == "unknown" or reply.signal
    return None if well(reply) or lost else reply


def _shell(args: Mapping[str, Any], command: str, context: Context, zero: str = "sh") -> Exec:
    paths = ":".join(map(str, args["search_paths"]))
    return Exec(argv=("/bin/sh", "-c", f"PATH=$PATH:{paths}\n{command}", zero), env=context.environment)


def _late(waited: Waited, what: str, *, rebooted: bool) -> Outcome:
    data = {"elapsed": int(waited.elapsed), "rebooted": rebooted}
    return Outcome(failed=True, changed=rebooted, msg=f"{what}: {waited.last}", data=data)
