# ruff: noqa: E501
"""Secrets leave no trace outside: not in lists of processes, the journal, a host's records, reports or logs."""

from __future__ import annotations

import json
import stat

import pytest

from tests.conftest import Start
from tests.parts import http as http_part
from tests.parts.accounts import Accounts
from tests.parts.sshd import sshd as sshd_part
from tests.security.tool import Tool, forms, holding

BECOME = 'Bec0me/pa"ss é+wörd'
OTHER = "0ther-host's pa$$word"
HIDDEN = "hidden by no_log <&> 'x'"
STDOUT = "printed-0nly-by-a-no_log-task"
URL = "url pass/w0rd=&?"
PHRASE = "the passphrase: of \\ the key"
EXTRA = "given-with-e-0n-the-command-line"

PLAY = """
- hosts: web1
  vars:
    hidden: HIDDEN
  tasks:
    - {name: Another host's password, debug: {msg: "{{ hostvars.web2.ansible_password }} {{ [hostvars.web2.ansible_password] | to_json }} {{ hostvars.web2.ansible_password | b64encode }}"}}
    - {name: By its name, debug: {msg: "{{ lookup('vars', 'hostvars').web2.ansible_password }}"}}
    - {name: Own password, debug: {msg: "{{ ansible_become_password }}"}}
    - {name: Own password in an argument, copy: {dest: HERE/own, content: "pw={{ ansible_become_password }}\\n", mode: "0600"}}
    - {name: Given, debug: {msg: "{{ ansible_sudo_pass | default('') }}"}}
    - {name: Content, copy: {dest: HERE/secret.txt, content: "{{ hidden }}\\n", mode: "0600"}, no_log: true}
    - {name: Content again, copy: {dest: HERE/secret.txt, content: "{{ hidden }}!\\n", mode: "0600"}, no_log: true}
    - {name: Facts of it, set_fact: {kept: "{{ hidden }}"}, no_log: true}
    - {name: Said by a command, shell: {cmd: "tr a-z b-za", stdin: "{{ hidden }}"}, no_log: true, register: said}
    - {name: Printed, shell: {cmd: "echo SPLIT1; echo SPLIT2 >&2"}, no_log: true, register: printed}
    - {name: In a loop, shell: {cmd: "cat; exit 1", stdin: "{{ item }}"}, loop: ["{{ hidden }}", x], no_log: true, ignore_errors: true}
    - {name: Failing, fail: {msg: "{{ hidden }}"}, no_log: true, ignore_errors: true}
    - {name: Wrong, assert: {that: "hidden == 'x'", fail_msg: "{{ hidden }}"}, no_log: true, ignore_errors: true}
    - {name: Until, shell: {cmd: "cat", stdin: "{{ hidden }}"}, register: tried, until: false, retries: 1, delay: 0, no_log: true, ignore_errors: true}
    - {name: Line, lineinfile: {path: HERE/secret.txt, line: "{{ hidden }}?"}, no_log: true}
    - {name: Ask, uri: {url: "http://127.0.0.1:PORT/", url_username: me, url_password: "{{ from_inventory }}", force_basic_auth: true, return_content: true}}
    - {name: Get, get_url: {url: "http://127.0.0.1:PORT/f", dest: HERE/got, url_username: me, url_password: "{{ from_inventory }}", force_basic_auth: true}}
    - {name: Sign, sign: {path: HERE/secret.txt, key: HERE/key.pem, passphrase: "{{ phrase }}", create_key: true, dest: HERE}}
    - name: Long enough to be looked at, each another argument list
      command: sleep {{ item }}
      loop: [0.11, 0.12, 0.13, 0.14, 0.15, 0.16, 0.17, 0.18]
"""
RESCUE = """
- hosts: web1
  gather_facts: false
  vars: {hidden: HIDDEN}
  tasks:
    - block:
        - {name: Failing in a block, fail: {msg: "{{ hidden }}"}, no_log: true}
      rescue:
        - {name: Saved, debug: {msg: saved}}
"""


@pytest.fixture
def site(tool: Tool, upstreams: tuple[http_part.Upstream, http_part.Upstream]) -> Tool:
    """Two hosts with passwords, a folder to write to, a server to ask; the secrets stand in the inventory."""
    inventory = {
        "all": {
            "hosts": {
                "web1": {"ansible_connection": "local", "ansible_become_password": BECOME},
                "web2": {"ansible_host": "127.0.0.9", "ansible_password": OTHER},
            },
            "vars": {"from_inventory": URL, "phrase": PHRASE},
        }
    }
    tool.write("hosts.yml", _yaml(inventory))
    for name, play in (("play.yml", PLAY), ("rescue.yml", RESCUE)):
        text = play.replace("HIDDEN", json.dumps(HIDDEN)).replace("HERE", str(tool.folder / "out"))
        text = text.replace("SPLIT1", STDOUT).replace("SPLIT2", STDOUT[::-1])
        tool.write(name, text.replace("PORT", str(upstreams[0].port)))
    (tool.folder / "out").mkdir()
    return tool


def _yaml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def traces(secrets: dict[str, str], where: bytes, what: str) -> list[str]:
    """Which secrets stand in a text, and in which form."""
    return [f"{what}: {name} as {form}" for name, secret in secrets.items()
            for form, found in forms(secret).items() if found in where]  # fmt: skip


SECRETS = {"become": BECOME, "no_log": HIDDEN, "no_log output": STDOUT, "url_password": URL, "passphrase": PHRASE}
OF_ARGUMENTS = ("url_password", "passphrase")


def test_secrets_are_in_no_list_of_processes_and_in_no_report(site: Tool) -> None:
    said, processes = site.watched("apply", "play.yml", "-i", "hosts.yml", "-vv", "-D", "--junit", "junit.xml")
    assert said.code == 0, said.text

    found = traces(SECRETS, said.out + said.err, "console -vv")
    found += traces(SECRETS, (site.folder / "junit.xml").read_bytes(), "JUnit")
    found += [trace for entry in processes for trace in traces(SECRETS, entry, f"process {entry[:60]!r}")]
    found += traces(SECRETS, _logs(site), "ciflow logs")
    print(f"{len(processes)} argument lists and environments, {len(SECRETS)} secrets in 7 forms")
    assert not found, "\n".join(found)
    assert any(b"-m\0ciflow\0apply" in entry for entry in processes)
    assert len(processes) > 10


def test_secrets_are_not_in_json(site: Tool) -> None:
    said = site.run("apply", "play.yml", "-i", "hosts.yml", "--json")
    assert said.code == 0, said.text
    assert not traces(SECRETS, said.out + said.err, "--json")


def test_secrets_are_not_in_the_journals(site: Tool) -> None:
    """Of the controller, with the sources that it copied there for a resume, and of the host."""
    assert site.run("apply", "play.yml", "-i", "hosts.yml").code == 0
    assert not _kept(site, {name: secret for name, secret in SECRETS.items() if name not in OF_ARGUMENTS})
    assert not list((site.state / "keys").iterdir()), "a key outlived its run"


def test_secret_arguments_are_not_in_the_journals(site: Tool) -> None:
    assert site.run("apply", "play.yml", "-i", "hosts.yml").code == 0
    assert not _kept(site, {name: SECRETS[name] for name in OF_ARGUMENTS})


def _kept(tool: Tool, secrets: dict[str, str]) -> list[str]:
    return [f"{path.relative_to(tool.folder)}: {name} as {form}" for name, secret in secrets.items()
            for path, form in holding(secret, [tool.state, tool.home])]  # fmt: skip


def _logs(tool: Tool) -> bytes:
    names = [event["data"]["name"] for line in tool.run("logs", "--json").out.splitlines()
             if (event := json.loads(line))["kind"] == "task_ended"]  # fmt: skip
    assert len(names) > 10
    parts = [tool.run("logs").text, tool.run("logs", "--json").text, tool.run("history", "--json").text]
    last = [name for name in names if "R-" not in name][-3:]
    newest = json.loads(tool.run("history", "--json").out.splitlines()[0])["run"]
    parts += [tool.run("logs", newest, name).text for name in last]
    return "".join(parts).encode()


def test_what_a_run_keeps_of_its_sources_is_for_its_owner_only(site: Tool) -> None:
    """Sealed where it holds known passwords, as it is otherwise; in a folder that nobody else can enter."""
    assert site.run("apply", "play.yml", "-i", "hosts.yml").code == 0
    for folder in (site.state, site.state / "keys", site.state / "blobs", *(site.state / "blobs").iterdir()):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder
    for path in (p for p in site.state.rglob("*") if p.is_file()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_a_rescued_no_log_task_keeps_its_message(site: Tool) -> None:
    said = site.run("apply", "rescue.yml", "-i", "hosts.yml", "--json")
    assert said.code == 0, said.text
    assert not traces(SECRETS, said.out, "--json")


def test_another_host_s_password_is_masked_before_anybody_connects_to_it(site: Tool) -> None:
    said = site.run("apply", "play.yml", "-i", "hosts.yml", "--json")
    assert not traces({"other": OTHER}, said.out, "--json")
    assert not [p for p, _ in holding(OTHER, [site.state, site.home])]


def test_a_password_given_on_the_command_line_is_not_kept_in_plain(site: Tool) -> None:
    said = site.run("apply", "play.yml", "-i", "hosts.yml", "-e", f"ansible_sudo_pass={EXTRA}", "--json")
    assert not traces({"extra": EXTRA}, said.out, "--json")
    assert not list(holding(EXTRA, [site.state, site.home]))


def test_a_run_with_secret_extra_variables_can_be_resumed(tool: Tool) -> None:
    """They are sealed with the run's key, not forgotten."""
    flag = tool.folder / "flag"
    tool.write("play.yml", f"- hosts: localhost\n  tasks:\n    - shell: test -f {flag}\n    - shell: cat > {flag}.2\n"
               "      args: {stdin: \"{{ ansible_sudo_pass }}\", stdin_add_newline: false}\n")  # fmt: skip
    assert tool.run("apply", "play.yml", "-e", f"ansible_sudo_pass={EXTRA}").code == 4
    flag.touch()
    assert tool.run("resume").code == 0
    assert (tool.folder / "flag.2").read_text() == EXTRA


def test_the_passwords_of_a_login_leave_no_trace(tool: Tool, start: Start, people: Accounts) -> None:
    """A password for the login and one for sudo, on a real server; argument lists are those of both sides."""
    user, taken = people.clerk, {"PasswordAuthentication": "yes"}
    assert user.password is not None
    server = start(sshd_part(tool.folder / "sshd", user=user, settings=taken, inside=people.inside()))
    host = {**server.variables, "ansible_password": user.password, "ansible_become_password": BECOME}
    del host["ansible_ssh_private_key_file"]
    tool.write("hosts.yml", _yaml({"all": {"hosts": {"h": host}}}))
    tool.write("play.yml", "- hosts: h\n  tasks:\n    - command: sleep 0.5\n    - debug: {msg: \"{{ ansible_password }}\"}\n"
               "    - {shell: 'id', become: true, become_user: root, ignore_errors: true, ignore_unreachable: true}\n")  # fmt: skip

    said, processes = tool.watched("apply", "play.yml", "-i", "hosts.yml", "-vv")

    secrets = {"login": user.password, "become": BECOME}
    found = traces(secrets, said.out + said.err, "console")
    found += [trace for entry in processes for trace in traces(secrets, entry, f"process {entry[:60]!r}")]
    homes = [tool.state, tool.home, people.home / user.name]
    found += [f"{path}: {form}" for secret in secrets.values() for path, form in holding(secret, homes)]
    assert "changed" in said.text, said.text
    assert not found, "\n".join(found)


@pytest.mark.fault(28)
def test_a_secret_cut_in_two_by_the_pipe_is_masked(tool: Tool) -> None:
    """Written in two parts with a pause between, on both streams, and across the chunks of long output."""
    tool.write(
        "hosts.yml",
        _yaml({"all": {"hosts": {"h": {"ansible_connection": "local", "ansible_become_password": BECOME}}}}),
    )
    tool.write("secret", BECOME)
    first, rest = BECOME[:7], BECOME[7:]
    tool.write("cut.py", f"import sys, time\nfor stream in (sys.stdout, sys.stderr):\n    stream.write('x' * 65530 + {first!r})\n"
               f"    stream.flush()\n    time.sleep(0.2)\n    stream.write({rest!r} + 'y\\n')\n    stream.flush()\n")  # fmt: skip
    tool.write(
        "play.yml",
        f"- hosts: h\n  tasks:\n    - command: python3 -X utf8 {tool.folder}/cut.py\n    - command: cat {tool.folder}/secret\n",
    )
    for how in (("-vv",), ("--json",)):
        said = tool.run("apply", "play.yml", "-i", "hosts.yml", *how)
        assert said.code == 0, said.text
        assert not traces({"become": BECOME}, said.out + said.err, " ".join(how))
