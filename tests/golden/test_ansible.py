"""Verbs of Ansible take its arguments and give its results, as ansible-core's own documentation lists them.

`ansible.yml` was taken from the DOCUMENTATION and RETURN of ansible-core 2.19.14's modules.
"""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.golden.replay import CASES, ROOT, schema

ANSIBLE: dict[str, Any] = yaml.safe_load((ROOT / "tests" / "golden" / "ansible.yml").read_text())

# What is refused (as an unknown argument, with its place), and why.
SELINUX = {"selevel", "serole", "setype", "seuser", "attributes"}  # no such operation on the wire
ATOMIC = {"unsafe_writes"}  # writes are atomic, always
VAULT = {"decrypt"}  # encrypted sources are always opened
HTTP = {
    "ciphers", "decompress", "unredirected_headers", "use_gssapi", "use_netrc", "unix_socket",
}  # fmt: skip
REFUSED = {
    "replace": {"encoding"},
    "wait_for": {"active_connection_states", "exclude_hosts"},
    "uri": HTTP | {"mode", "owner", "group"},
    "get_url": HTTP,
    "unarchive": {"io_buffer_size"},
    "git": {
        "gpg_allowlist", "reference", "separate_git_dir",
    },
}  # fmt: skip
NOT_TOLD = {"md5sum", "secontext", "git_dir_before", "git_dir_now"}
STAT_NOT_TOLD = {"attributes", "attr_flags", "charset", "mimetype", "version", "disk_usage", "block_size", "blocks"}
COMMON = {"msg", "start", "end", "delta", "stdout", "stderr", "rc", "cmd", "stdout_lines", "stderr_lines"}


@pytest.mark.parametrize("verb", sorted(ANSIBLE))
def test_every_argument_of_ansible_is_taken_or_refused_on_purpose(verb: str) -> None:
    ours = schema(verb)["arguments"]
    refused = {name for name in ANSIBLE[verb]["arguments"] if name not in ours}
    assert refused <= SELINUX | ATOMIC | VAULT | REFUSED.get(verb, set())
    for name in set(ANSIBLE[verb]["arguments"]) & set(ours):
        aliases = set(ours[name]["meta"].get("aliases", []))
        assert set(ANSIBLE[verb]["arguments"][name]) <= aliases, f"aliases of {name}"


@pytest.mark.parametrize("verb", sorted(verb for verb in ANSIBLE if "returns" in ANSIBLE[verb]))
def test_every_documented_result_is_given_by_some_golden(verb: str) -> None:
    known = [yaml.safe_load(path.read_text())["outcome"] for path in (CASES / verb).glob("*.yml")]
    given = {key for outcome in known for key in outcome.get("data", {})} | {key for o in known for key in o}
    assert set(ANSIBLE[verb]["returns"]) - NOT_TOLD - COMMON <= given


def test_stat_tells_what_ansible_documents() -> None:
    told: set[str] = set()
    for name in ("a_file", "a_link"):
        told |= set(yaml.safe_load((CASES / "stat" / f"{name}.yml").read_text())["outcome"]["data"]["stat"])
    assert set(ANSIBLE["stat"]["stat"]) - STAT_NOT_TOLD <= told
