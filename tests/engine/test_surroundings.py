"""What surrounds a task and its files: the environment in which facts are read, where variables are looked for.
Values are those of ansible-core 2.19."""

from tests.engine.playing import Bench


def test_facts_are_read_in_the_environment_of_the_play(bench: Bench) -> None:
    """A variable that is made of a fact has none to be made of yet, and takes no other with it."""
    played = bench.play(
        """
        - hosts: localhost
          gather_facts: true
          vars: {more: {second: two}}
          environment:
            - PATH: "{{ ansible_env.PATH + ':/nowhere' }}"
              first: one
            - "{{ more }}"
          tasks:
            - {name: facts, debug: {msg: "{{ [ansible_env.first, ansible_env.second, ansible_env.PATH[-8:]] }}"}}
            - {name: task, shell: echo $PATH}
        """
    )
    assert played.exit == 0
    first, second, path = played.msg("facts")
    assert (first, second) == ("one", "two")
    assert path != ":/nowhere"
    assert played.outcome("task")["stdout"].endswith(":/nowhere")


def test_facts_are_read_as_the_user_of_the_play_not_of_its_first_task(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          gather_facts: true
          tasks:
            - {name: first, command: "true", become: true, become_user: not.there, ignore_unreachable: true}
            - {name: it, debug: {msg: "{{ ansible_user_id }}"}}
        """
    )
    assert played.status("it") == "ok"


def test_files_of_variables_are_looked_for_in_vars_first(bench: Bench) -> None:
    """`vars_files` and `include_vars`, of the playbook and of a role."""
    for path, where in (("which.yml", "beside"), ("vars/which.yml", "vars"), ("roles/web/which.yml", "role"),
                        ("roles/web/vars/which.yml", "vars of the role")):  # fmt: skip
        bench.file(path, f"found: {where}\n")
    bench.file("roles/web/tasks/main.yml", "- include_vars: which.yml\n- {name: role, debug: {msg: '{{ found }}'}}\n")
    played = bench.play(
        """
        - hosts: localhost
          vars_files: [which.yml]
          tasks: [{name: play, debug: {msg: "{{ found }}"}}]
        - hosts: localhost
          tasks:
            - include_vars: which.yml
            - {name: task, debug: {msg: "{{ found }}"}}
            - include_role: {name: web}
        """
    )
    assert [played.msg(name) for name in ("play", "task", "role")] == ["vars", "vars", "vars of the role"]


def test_arguments_of_an_action_may_stand_below_args(bench: Bench) -> None:
    played = bench.play(
        """
        - hosts: localhost
          tasks: [{name: it, action: {module: debug, args: {msg: below}}}]
        """
    )
    assert played.msg("it") == "below"


def test_what_is_in_the_arguments_of_an_included_role_is_checked_too(bench: Bench) -> None:
    """Words and places of ansible-core 2.19, but for why a value can't be converted."""
    bench.file("roles/web/tasks/main.yml", "- {name: served, debug: {msg: ran}}\n")
    bench.file(
        "roles/web/meta/argument_specs.yml",
        """
        argument_specs:
          main:
            options:
              site:
                type: dict
                options:
                  name: {required: true}
                  kind: {choices: [a, b]}
                  users: {type: list, elements: dict, options: {login: {required: true}, uid: {type: int}}}
              ports: {type: list, elements: int}
              tones: {type: list, elements: str, choices: [low, high]}
        """,
    )
    played = bench.play("""
        - hosts: localhost
          vars: {word: zz}
          tasks:
            - block:
                - include_role: {name: web}
                  vars:
                    site: {kind: "{{ word }}", users: [{uid: 1}, {login: u, uid: "{{ word }}"}], more: 1}
                    ports: [1, "{{ word }}"]
                    tones: [low, "{{ word }}"]
              rescue:
                - {name: why, debug: {msg: "{{ ansible_failed_result.argument_errors }}"}}
            - {include_role: {name: web}, vars: {site: {name: n, users: [{login: u, uid: "7"}]}, ports: [1, "2"]}}
        """)
    cannot = "and we were unable to convert to int: "
    assert sorted(one.partition(cannot)[0] for one in played.msg("why")) == [
        "Elements value for option 'ports' is of type str ",
        "argument 'uid' is of type str found in 'site -> users'. ",
        "missing required arguments: login found in site -> users",
        "missing required arguments: name found in site",
        "site.more. Supported parameters include: kind, name, users.",
        "value of kind must be one of: a, b, got: zz found in site",
        "value of tones must be one or more of: low, high. Got no match for: zz",
    ]
    assert played.names()[-1] == "served"


def test_hostvars_are_whole_for_whoever_asks_for_all_of_them(bench: Bench) -> None:
    """Each is made when it is asked for, and what a host learns meanwhile is seen by all."""
    bench.hosts("one ansible_connection=local n=1\ntwo ansible_connection=local n=2\n")
    played = bench.play(
        """
        - hosts: one
          tasks:
            - {name: items, debug: {msg: "{{ hostvars | dict2items | map(attribute='key') | list }}"}}
            - {name: values, debug: {msg: "{{ hostvars.values() | map(attribute='n') | list }}"}}
            - {name: copied, debug: {msg: "{{ dict(hostvars).two.n }} {{ hostvars | combine({'two': 3}) | length }}"}}
            - {name: json, debug: {msg: "{{ (hostvars | to_json | from_json).two.n }}"}}
            - {name: others, debug: {msg: "{{ ['two' in hostvars, 'no' in hostvars, hostvars.get('no', 0)] }}"}}
            - {name: before, debug: {msg: "{{ hostvars.two.later | default('none') }}"}}
            - {set_fact: {later: known}, delegate_to: two, delegate_facts: true}
            - {name: after, debug: {msg: "{{ hostvars.two.later }} {{ hostvars.localhost.inventory_hostname }}"}}
        """
    )
    names = ("items", "values", "copied", "json", "others", "before", "after")
    assert [played.msg(name) for name in names] == [
        ["one", "two"], [1, 2], "2 2", "2", [True, False, 0], "none", "known localhost",
    ]  # fmt: skip


def test_a_result_may_have_the_name_of_a_function_of_templates(bench: Bench) -> None:
    """And the task that reads it waits for it."""
    played = bench.play(
        """
        - hosts: localhost
          tasks:
            - {command: echo one, register: q}
            - {name: it, command: "echo {{ q.stdout }} {{ lookup('items', [2]) }}"}
            - {name: other, debug: {msg: "{{ range(3) | list }}"}}
        """
    )
    assert (played.outcome("it")["stdout"], played.msg("other")) == ("one 2", [0, 1, 2])


def test_facts_that_a_template_asks_for_are_read_as_the_first_task_runs(bench: Bench) -> None:
    """The user of the play may be one that its tasks make."""
    played = bench.play(
        """
        - hosts: localhost
          become: true
          become_user: not.there
          tasks: [{name: it, debug: {msg: "{{ ansible_system }}"}, become: false}]
        """
    )
    assert played.msg("it") == "Linux"
