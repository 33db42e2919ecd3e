"""The verbs. A module does no I/O: it is a generator of operations, sent their replies, that returns an Outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.model import Context, Steps
from ciflow.modules import (
    add_host,
    artifact,
    assemble,
    assert_,
    async_status,
    authorized_key,
    blockinfile,
    cargo,
    command,
    copy,
    cron,
    debug,
    expect,
    fail,
    fetch,
    file,
    find,
    get_url,
    git,
    group_by,
    iptables,
    known_hosts,
    lineinfile,
    load,
    mount,
    nextest,
    pause,
    ping,
    process,
    raw,
    reboot,
    replace,
    sbom,
    script,
    set_fact,
    set_stats,
    setup,
    shell,
    sign,
    slurp,
    stat,
    sysctl,
    tempfile,
    template,
    unarchive,
    uri,
    wait_for,
    wait_for_connection,
)


@dataclass(frozen=True, slots=True)
class Module:
    """A verb. `own_files` promises that it touches nothing but its own host's files (or nothing at all), so that the
    linear strategy's barrier may be dropped between such tasks: no host can see the difference.
    """

    run: Callable[[Mapping[str, Any], Context], Steps]
    own_files: bool = False


MODULES: dict[str, Module] = {
    "add_host": Module(add_host.run),
    "artifact": Module(artifact.run),
    "assemble": Module(assemble.run),
    "assert": Module(assert_.run, own_files=True),
    "async_status": Module(async_status.run),
    "authorized_key": Module(authorized_key.run),
    "blockinfile": Module(blockinfile.run, own_files=True),
    "cargo": Module(cargo.run),
    "command": Module(command.run),
    "copy": Module(copy.run, own_files=True),
    "cron": Module(cron.run),
    "debug": Module(debug.run, own_files=True),
    "expect": Module(expect.run),
    "fail": Module(fail.run),
    "fetch": Module(fetch.run),
    "file": Module(file.run, own_files=True),
    "find": Module(find.run),
    "get_url": Module(get_url.run),
    "git": Module(git.run),
    "group_by": Module(group_by.run),
    "iptables": Module(iptables.run),
    "known_hosts": Module(known_hosts.run),
    "lineinfile": Module(lineinfile.run, own_files=True),
    "load": Module(load.run),
    "mount": Module(mount.run),
    "nextest": Module(nextest.run),
    "pause": Module(pause.run),
    "ping": Module(ping.run),
    "process": Module(process.run),
    "raw": Module(raw.run),
    "reboot": Module(reboot.run),
    "replace": Module(replace.run, own_files=True),
    "sbom": Module(sbom.run),
    "script": Module(script.run),
    "set_fact": Module(set_fact.run, own_files=True),
    "set_stats": Module(set_stats.run),
    "setup": Module(setup.run),
    "shell": Module(shell.run),
    "sign": Module(sign.run),
    "slurp": Module(slurp.run, own_files=True),
    "stat": Module(stat.run, own_files=True),
    "sysctl": Module(sysctl.run),
    "tempfile": Module(tempfile.run, own_files=True),
    "template": Module(template.run, own_files=True),
    "unarchive": Module(unarchive.run),
    "uri": Module(uri.run),
    "wait_for": Module(wait_for.run),
    "wait_for_connection": Module(wait_for_connection.run),
}
