"""What a fault looks like, and the same without it: the usual fix of each diagnostic that a playbook alone can show."""

from __future__ import annotations

_HEAD = "- name: Site\n  hosts: localhost\n"


def _tasks(wrong: str, right: str, *, handlers: str = "") -> tuple[str, str]:
    def playbook(tasks: str) -> str:
        return _HEAD + "  tasks:\n" + "".join(f"    {line}\n" for line in tasks.splitlines()) + handlers

    return playbook(wrong), playbook(right)


def _play(wrong: str, right: str) -> tuple[str, str]:
    return f"{_HEAD}{wrong}\n", f"{_HEAD}{right}\n"


_RESTART = "  handlers:\n    - name: Restart\n      ping:\n"
_HEARD = "- name: Write it\n  copy: {content: a, dest: /tmp/a}\n  notify: Restart"
_SAY = "- name: Say it\n  debug: {msg: hello}"
_CANARY = """\
  canary:
    service: shop
    version: "1.4.0"
    router: {envoy: {port: 8080}}
    slots: {a: {port: 8081}, b: {port: 8082}}
    steps: [5%]
  tasks:
    - name: Start it
      process: {name: "shop-{{ slot.name }}", argv: [/opt/shop/server]}"""
# By code: a playbook with the fault, and one without.
FIXES: dict[str, tuple[str, str]] = {
    "CF0010": _play("  vars: {a: [1, 2}", "  vars: {a: [1, 2]}"),
    "CF0011": _play("  vars:\n\t  a: 1", "  vars:\n    a: 1"),
    "CF0012": _play("  vars: {a: 1, a: 2}", "  vars: {a: 1, b: 2}"),
    "CF0015": _play("  vars: {a: !!python/name:os.system x}", "  vars: {a: plain text}"),
    "CF0016": _play(
        "  vars: {b: 1}\n  tasks:\n    - name: Say it\n      debug:\n        msg: {{ b }}",
        '  vars: {b: 1}\n  tasks:\n    - name: Say it\n      debug:\n        msg: "{{ b }}"',
    ),
    "CF0019": _play("  tasks: []\n---\nmore: 1", "  tasks: []"),
    "CF0020": _play("  vars: {answer: yes}", "  vars: {answer: true}"),
    "CF0021": _play("  vars: {port: 22:22}", '  vars: {port: "22:22"}'),
    "CF0101": _tasks("- name: Say it\n  debug: [hello]", _SAY),
    "CF0102": _play("  taks: []", "  tasks: []"),
    "CF0103": _tasks(
        "- name: Write it\n  copy: {content: hello}", "- name: Write it\n  copy: {content: hello, dest: /tmp/hello}"
    ),
    "CF0104": _tasks(
        "- name: A folder\n  file: {path: /tmp/a, state: folder}",
        "- name: A folder\n  file: {path: /tmp/a, state: directory}",
    ),
    "CF0105": _tasks(
        "- name: Write it\n  copy: {content: hello, dest: /tmp/hello, mode: 644}",
        '- name: Write it\n  copy: {content: hello, dest: /tmp/hello, mode: "0644"}',
    ),
    "CF0106": _tasks("- name: Say it\n  degub: {msg: hello}", _SAY),
    "CF0107": _tasks("- name: Say it", _SAY),
    "CF0108": _tasks("- name: Say it\n  debug: {msg: hello}\n  ping:", _SAY + "\n- name: Ask it\n  ping:"),
    "CF0109": _tasks("- name: Say it\n  debug: {message: hello}", _SAY),
    "CF0110": _tasks(
        "- name: Write it\n  copy: {dest: /tmp/hello}", "- name: Write it\n  copy: {dest: /tmp/hello, content: hello}"
    ),
    "CF0111": _tasks(
        "- name: Write it\n  copy: {dest: /tmp/hello, content: hello, src: hello.txt}",
        "- name: Write it\n  copy: {dest: /tmp/hello, content: hello}",
    ),
    "CF0113": ("# nothing yet\n", _HEAD),
    "CF0122": (
        "- {name: A, id: one, hosts: localhost}\n- {name: B, id: one, hosts: localhost}\n",
        "- {name: A, id: one, hosts: localhost}\n- {name: B, id: two, hosts: localhost}\n",
    ),
    "CF0201": _tasks('- name: Say it\n  debug: {msg: "{{ 1 + }}"}', '- name: Say it\n  debug: {msg: "{{ 1 + 1 }}"}'),
    "CF0210": _play(
        '  vars: {version: 1}\n  tasks:\n    - name: Say it\n      debug: {msg: "{{ verison }}"}',
        '  vars: {version: 1}\n  tasks:\n    - name: Say it\n      debug: {msg: "{{ version }}"}',
    ),
    "CF0211": _tasks(
        "- name: Say it\n  debug: {msg: \"{{ 'a' | uper }}\"}", "- name: Say it\n  debug: {msg: \"{{ 'a' | upper }}\"}"
    ),
    "CF0301": (
        "- {name: Test, hosts: localhost}\n- {name: Build, hosts: localhost, needs: [Tset]}\n",
        "- {name: Test, hosts: localhost}\n- {name: Build, hosts: localhost, needs: [Test]}\n",
    ),
    "CF0302": (
        "- {name: A, hosts: localhost, needs: [B]}\n- {name: B, hosts: localhost, needs: [A]}\n",
        "- {name: A, hosts: localhost, needs: []}\n- {name: B, hosts: localhost, needs: [A]}\n",
    ),
    "CF0401": _play("  roles: [slto]", "  roles: []"),
    "CF0402": _tasks("- import_tasks: nowhere.yml", _SAY),
    "CF0403": _tasks(
        "- name: Send it\n  copy: {src: nowhere.txt, dest: /tmp/hello}",
        "- name: Write it\n  copy: {content: hello, dest: /tmp/hello}",
    ),
    "CF0501": _tasks(
        "- name: Write it\n  copy: {content: a, dest: /tmp/a}\n  notify: Restrat", _HEARD, handlers=_RESTART
    ),
    "CF0502": _tasks("- name: Write it\n  copy: {content: a, dest: /tmp/a}", _HEARD, handlers=_RESTART),
    "CF0503": _tasks(
        "- {name: One, ping: , register: found, when: 1 == 1}\n- {name: Two, ping: , register: found, when: 1 == 2}",
        "- {name: One, ping: , register: one, when: 1 == 1}\n- {name: Two, ping: , register: two, when: 1 == 2}",
    ),
    "CF0510": _play("  when: false", "  when: inventory_hostname == 'localhost'"),
    "CF0511": _tasks("- name: End\n  meta: end_play\n" + _SAY, _SAY + "\n- name: End\n  meta: end_play"),
    "CF0602": ("- {name: Site, hosts: lcalhost}\n", "- {name: Site, hosts: localhost}\n"),
    "CF0701": _tasks("- debug: {msg: hello}", _SAY),
    "CF0702": _tasks(
        "- name: A folder\n  command: mkdir /tmp/a\n  changed_when: true",
        "- name: A folder\n  file: {path: /tmp/a, state: directory}",
    ),
    "CF0703": _tasks(
        "- name: Ask for the time\n  command: date", "- name: Ask for the time\n  command: date\n  changed_when: false"
    ),
    "CF0704": _play('  vars: {web_image: "nginx:latest"}', '  vars: {web_image: "nginx:1.27.3"}'),
    "CF0705": _play(_CANARY, _CANARY.replace("    steps", "    gates: [errors]\n    steps")),
}
