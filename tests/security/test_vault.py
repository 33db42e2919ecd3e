"""What ansible-vault has encrypted is used by a run and found nowhere afterwards; a resume asks for the password."""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path

import pytest

from ciflow.lang.vault import Password, encrypt
from tests.security.tool import Tool, forms, holding

KEY = Password("dev", b"the vault password")
INLINE, IN_FILE, LOGIN, COPIED, TEMPLATED, BY_EXTRA = (
    "inl1ne <&> secret", "in-a-vars-f1le", "l0gin pa$$word", "c0pied secret line", "templ4ted secret", "3xtra-secret",
)  # fmt: skip
SECRETS = {"inline": INLINE, "vars file": IN_FILE, "login": LOGIN, "copied": COPIED, "template": TEMPLATED,
           "extra": BY_EXTRA}  # fmt: skip
PLAY = """
- hosts: web1
  vars:
    inline: INLINE
  vars_files: [secret.yml]
  tasks:
    - debug: {msg: "{{ inline }} {{ in_file }} {{ extra }} {{ ansible_password }}"}
    - debug: {var: inline}
    - command: echo {{ inline | quote }} {{ in_file | b64encode }}
      register: said
    - debug: {msg: "{{ said.stdout }}"}
    - set_fact: {kept: "{{ inline }}-{{ in_file }}"}
    - copy: {src: copied.txt, dest: HERE/copied, mode: "0600"}
    - template: {src: templated.j2, dest: HERE/templated, mode: "0600"}
    - copy: {content: "{{ lookup('unvault', 'copied.txt') }}", dest: HERE/looked, mode: "0600"}
    - fail: {msg: "{{ inline }}"}
      ignore_errors: true
    - script: scr1pt
    - command: test -e HERE/go
"""


@pytest.fixture
def site(tool: Tool) -> Tool:
    (tool.folder / "out").mkdir()
    tool.write("pw", KEY.secret + b"\n")
    tool.write("hosts", "web1 ansible_connection=local\n")
    indented = "!vault |\n" + "".join(f"      {line}\n" for line in encrypt(INLINE.encode(), KEY).decode().splitlines())
    tool.write("play.yml", PLAY.replace("INLINE\n", indented, 1).replace("HERE", str(tool.folder / "out")))
    for name, text in (
        ("secret.yml", f"in_file: {IN_FILE}\n"),
        ("host_vars/web1/vault.yml", f"ansible_password: {json.dumps(LOGIN)}\n"),
        ("copied.txt", f"a line\n{COPIED}\n"),
        ("templates/templated.j2", f"{TEMPLATED} {{{{ in_file }}}}\n"),
        ("extra.yml", f"extra: {BY_EXTRA}\n"),
        ("scr1pt", f"#!/bin/sh\necho {COPIED} > {tool.folder}/out/scripted\n"),
    ):
        tool.write(name, encrypt(text.encode(), KEY))
    return tool


def traces(folder: Path) -> list[tuple[str, Path, str]]:
    return [(name, path, form) for name, secret in SECRETS.items() for path, form in holding(secret, [folder])]


ARGS = ("play.yml", "-i", "hosts", "-e", "@extra.yml", "--vault-id", "dev@pw")


def test_vault_values_are_used_and_shown_nowhere_and_a_resume_asks_again(site: Tool) -> None:
    said, processes = site.watched("apply", *ARGS, "-vv", "-D", "--junit", "junit.xml")
    assert said.code == 4, said.text
    out = site.folder / "out"
    assert (out / "copied").read_text() == f"a line\n{COPIED}\n"
    assert (out / "looked").read_text() == f"a line\n{COPIED}\n"
    assert (out / "templated").read_text() == f"{TEMPLATED} {IN_FILE}\n"
    assert (out / "scripted").read_text() == f"{COPIED}\n"
    shown = said.out + said.err + (site.folder / "junit.xml").read_bytes()
    shown += b"".join(site.run("logs", *more).out for more in ((), ("", "debug"), ("--json",)))
    assert not [(name, form) for name, secret in SECRETS.items() for form, raw in forms(secret).items() if raw in shown]
    assert not traces(site.state), "a host keeps replies, privately, until the run is over; the controller never does"
    password = {"raw": KEY.secret, "base64": base64.b64encode(KEY.secret)}
    assert not [name for name, raw in password.items() if any(raw in one for one in processes) or raw in shown]
    assert not list(holding(KEY.secret.decode(), [site.state, site.home]))

    (out / "go").touch()
    hidden = site.folder / "pw"
    hidden.rename(site.folder / "elsewhere")
    without = site.run("resume")
    assert (without.code, "can't be read" in without.text) == (3, True)
    again = site.run("resume", "-vv", "--vault-id", "dev@elsewhere")
    assert again.code == 0, again.text
    assert not [name for name, secret in SECRETS.items() if secret.encode() in again.out + again.err]
    assert not traces(site.state) + traces(site.home)


def test_a_wrong_password_is_said_before_anything_runs(site: Tool) -> None:
    site.write("wrong", "no\n")
    said = site.run("apply", "play.yml", "-i", "hosts", "--vault-id", "dev@wrong", "-e", "extra=1")
    assert said.code == 3
    assert "CF0017" in said.text
    assert "play.yml" in said.text or "secret.yml:1:1" in said.text
    assert not site.run("history").out


def test_a_vault_of_hosts_that_the_run_leaves_alone_may_stay_shut(site: Tool) -> None:
    site.write("hosts", "web1 ansible_connection=local\n[prod]\np1 ansible_connection=local\n")
    site.write("group_vars/prod.yml", encrypt(b"x: 1\n", Password("prod", b"other")))
    site.write("all.yml", "- hosts: all\n  tasks: [{debug: {msg: hi}}]\n")
    ids = ("-i", "hosts", "--vault-id", "dev@pw")
    assert site.run("apply", "all.yml", *ids, "-l", "web1").code == 0
    said = site.run("apply", "all.yml", *ids)
    assert (said.code, "group_vars/prod.yml:1:1" in said.text, "vault id `prod`" in said.text) == (3, True, True)


def test_a_saved_plan_asks_for_the_password_again_and_keeps_no_secret(site: Tool) -> None:
    site.write(
        "small.yml", "- hosts: web1\n  vars_files: [secret.yml]\n  tasks: [{assert: {that: in_file is defined}}]\n"
    )
    assert site.run("plan", "small.yml", "-i", "hosts", "--vault-id", "dev@pw", "--out", "plan").code == 0
    assert not traces(site.folder / "state") + [one for one in traces(site.folder) if one[1].name == "plan"]
    (site.folder / "pw").rename(site.folder / "elsewhere")
    assert "can't be read" in site.run("apply", "plan").text
    applied = site.run("apply", "plan", "--vault-id", "dev@elsewhere")
    assert applied.code == 0, applied.text


def test_faults_do_not_show_what_was_decrypted(site: Tool) -> None:
    site.write(
        "bad.yml",
        "- hosts: web1\n  vars_files: [secret.yml]\n  tasks:\n    - file: {path: /x, mode: '{{ in_file }}'}\n",
    )
    said = site.run("apply", "bad.yml", "-i", "hosts", "--vault-id", "dev@pw")
    assert said.code != 0
    assert IN_FILE.encode() not in said.out + said.err


def test_a_program_gives_the_password_and_the_environment_names_it(site: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    program = site.write("ask-client", f'#!/bin/sh\n[ "$2" = dev ] && echo "{KEY.secret.decode()}"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    play = site.write(
        "one.yml", "- hosts: web1\n  vars_files: [secret.yml]\n  tasks: [{assert: {that: in_file is defined}}]\n"
    )
    assert site.run("apply", play.name, "-i", "hosts", "--vault-id", "dev@ask-client").code == 0
    clean = Tool.env.fget  # type: ignore[attr-defined]
    for name, given in (("ANSIBLE_VAULT_PASSWORD_FILE", "pw"), ("ANSIBLE_VAULT_IDENTITY_LIST", "x@pw, dev@pw")):
        monkeypatch.setattr(Tool, "env", property(lambda self, n=name, g=given: {**clean(self), n: g}))
        assert site.run("apply", play.name, "-i", "hosts").code == 0
    assert Path(os.devnull).exists()


def test_numbers_of_an_encrypted_file_and_names_made_of_it_are_found_nowhere(tool: Tool) -> None:
    """A number stays one for the playbook; in results, `set_stats` and names of files it is starred out."""
    tool.write("pw", KEY.secret + b"\n")
    tool.write("secret.yml", encrypt(b"pin: 99887766\nratio: 31415.92653\nport: -5544332\n", KEY))
    tool.write(
        "play.yml",
        f"""
- hosts: localhost
  vars_files: [secret.yml]
  tasks:
    - debug: {{var: pin}}
    - debug: {{msg: "{{{{ [pin, ratio, {{'below': port}}] }}}}"}}
    - set_fact: {{fact: "{{{{ pin }}}}"}}
    - debug: {{msg: "{{{{ item }}}}"}}
      loop: ["{{{{ ratio }}}}"]
    - set_stats: {{data: {{pin: "{{{{ pin }}}}"}}}}
    - copy: {{dest: "{tool.folder}/{{{{ pin }}}}", content: x}}
    - assert: {{that: pin + 1 == 99887767}}
""",
    )
    said = tool.run("apply", "play.yml", "--vault-id", "dev@pw", "-vv", "-D", "--json")
    assert said.code == 0, said.text
    shown = said.out + said.err + tool.run("logs", "--json").out + tool.run("logs").out
    numbers = (b"99887766", b"31415.92653", b"5544332")
    kept = [path for path in tool.state.rglob("*") if path.is_file() and any(n in path.read_bytes() for n in numbers)]
    assert not [number for number in numbers if number in shown]
    assert not kept
