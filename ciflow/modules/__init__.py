"""The verbs. A module does no I/O: it is a generator of operations, sent their replies, that returns an Outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from ciflow.dataclass import dataclass
from ciflow.model import Context, Steps


@dataclass(frozen=True, slots=True)
class Module:
    """A verb: the `run` of a file of this package, which is imported when the verb is first used. A run uses a few of
    them, and all together cost more than the rest of a start.

    `own_files` promises that it touches nothing but its own host's files (or nothing at all), so that the linear
    strategy's barrier may be dropped between such tasks: no host can see the difference.
    """

    file: str
    own_files: bool = False

    @property
    def run(self) -> Callable[[Mapping[str, Any], Context], Steps]:
        """The generator function. A test holds each to this signature."""
        found: Callable[[Mapping[str, Any], Context], Steps] = import_module(f"ciflow.modules.{self.file}").run
        return found


MODULES: dict[str, Module] = {
    "add_host": Module("add_host"),
    "affected": Module("affected"),
    "apt": Module("apt"),
    "apt_repository": Module("apt_repository"),
    "artifact": Module("artifact"),
    "assemble": Module("assemble"),
    "assert": Module("assert_", own_files=True),
    "async_status": Module("async_status"),
    "attest": Module("attest"),
    "authorized_key": Module("authorized_key"),
    "blockinfile": Module("blockinfile", own_files=True),
    "cache": Module("cache"),
    "cargo": Module("cargo"),
    "command": Module("command"),
    "compile_settings": Module("compile_settings"),
    "container": Module("container"),
    "container_network": Module("container_network"),
    "copy": Module("copy", own_files=True),
    "cron": Module("cron"),
    "deb822_repository": Module("deb822_repository"),
    "debug": Module("debug", own_files=True),
    "distribute": Module("distribute"),
    "dpkg_selections": Module("dpkg_selections"),
    "expect": Module("expect"),
    "fail": Module("fail"),
    "fetch": Module("fetch"),
    "file": Module("file", own_files=True),
    "find": Module("find"),
    "get_url": Module("get_url"),
    "getent": Module("getent"),
    "git": Module("git"),
    "group": Module("group"),
    "group_by": Module("group_by"),
    "hostname": Module("hostname"),
    "image": Module("image"),
    "iptables": Module("iptables"),
    "k8s": Module("k8s"),
    "k8s_exec": Module("k8s_exec"),
    "k8s_info": Module("k8s_info"),
    "known_hosts": Module("known_hosts"),
    "licenses": Module("licenses"),
    "lineinfile": Module("lineinfile", own_files=True),
    "load": Module("load"),
    "mount": Module("mount"),
    "nextest": Module("nextest"),
    "package": Module("package"),
    "package_facts": Module("package_facts"),
    "pause": Module("pause"),
    "ping": Module("ping"),
    "pip": Module("pip"),
    "process": Module("process"),
    "raw": Module("raw"),
    "reboot": Module("reboot"),
    "remote_exec": Module("remote_exec"),
    "replace": Module("replace", own_files=True),
    "reproduce": Module("reproduce"),
    "sbom": Module("sbom"),
    "scan": Module("scan"),
    "script": Module("script"),
    "service": Module("service"),
    "service_facts": Module("service_facts"),
    "set_fact": Module("set_fact", own_files=True),
    "set_stats": Module("set_stats"),
    "setup": Module("setup"),
    "shell": Module("shell"),
    "sign": Module("sign"),
    "slurp": Module("slurp", own_files=True),
    "stat": Module("stat", own_files=True),
    "sysctl": Module("sysctl"),
    "systemd": Module("systemd"),
    "tempfile": Module("tempfile", own_files=True),
    "template": Module("template", own_files=True),
    "test_report": Module("test_report"),
    "unarchive": Module("unarchive"),
    "uri": Module("uri"),
    "user": Module("user"),
    "validate_argument_spec": Module("validate_argument_spec", own_files=True),
    "verify": Module("verify"),
    "wait_for": Module("wait_for"),
    "wait_for_connection": Module("wait_for_connection"),
}
