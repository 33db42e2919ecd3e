"""Every diagnostic's code, title, and what to do. `docs/diagnostics.md` is this table; a test keeps them equal."""

from __future__ import annotations

_TABLE: tuple[tuple[str, str, str], ...] = (
    ("CF0001", "A file can't be read", "It is missing, a folder, or not readable by this account."),
    ("CF0002", "A file is not UTF-8 text", "Save it as UTF-8; the place is the first byte that is not."),
    ("CF0010", "YAML can't be parsed", "The place is where the parser gave up; the fault is there or just before it, "
     "most often a missing quote, colon or bracket, or an indent that fits no line above."),
    ("CF0011", "A tab where YAML wants spaces", "YAML indents by spaces only."),
    ("CF0012", "A key stands twice in one mapping", "Other readers silently take the last one. Remove one of the two."),
    ("CF0013", "An alias contains itself", "An anchor's value holds an alias to that anchor. No value can be that."),
    ("CF0014", "Aliases expand to too many nodes", "Aliases of aliases multiply; this file would fill the memory."),
    ("CF0015", "A tag that makes objects, or is unknown", "Only `!vault`, `!unsafe` and YAML's plain tags are taken."),
    ("CF0016", "A template that must be quoted", "`k: {{ x }}` is a mapping to YAML. Write `k: \"{{ x }}\"`."),
    ("CF0017", "A vault value that can't be opened", "No password that was given opens it, "
     "or it is damaged. Name where its password comes from: `--vault-id label@file`, `--vault-password-file` or "
     "`--ask-vault-pass`."),
    ("CF0018", "Values nested too deep", "More than 100 levels; a playbook needs a dozen."),
    ("CF0019", "More than one YAML document in a file", "Split the file where the `---` stands."),
    ("CF0020", "yes, no, on or off in a variable", "Unquoted, these are booleans, as in Ansible. Write true or false, "
     "or quote the word if text is meant."),
    ("CF0021", "A value that YAML 1.1 reads otherwise", "ciflow reads YAML 1.2: `22:22` and dates are text, `012` is "
     "twelve. Other tools may see a number of seconds, a date, or ten. Quote it."),
    ("CF0101", "A value of the wrong type", "The message says what is wanted and what stands there."),
    ("CF0102", "An unknown keyword", "No play, task or block has this keyword; the nearest one is named."),
    ("CF0103", "A keyword or argument is missing", "It has no default."),
    ("CF0104", "A value that is not allowed here", "The message lists those that are."),
    ("CF0105", "A file mode that is not octal", "`0644` and `\"0644\"` are octal. `644` is the decimal number, whose "
     "bits mean something else."),
    ("CF0106", "An unknown module", "`ciflow doc` lists all of them."),
    ("CF0107", "A task without a module", "A task does one thing: name it beside the keywords."),
    ("CF0108", "A task with two modules", "Make two tasks of it, or a block."),
    ("CF0109", "An unknown argument of a module", "`ciflow doc MODULE` lists what it takes."),
    ("CF0110", "One of several arguments is needed", "Any of those named will do."),
    ("CF0111", "Arguments that exclude each other", "Keep one of the two."),
    ("CF0113", "An empty playbook", "A playbook has at least one play."),
    ("CF0122", "Two plays with one id", "Ids name plays in `needs` and `plays.<id>.outputs`; they must differ."),
    ("CF0123", "A keyword that is not built yet", "It is known, and refused rather than silently not done."),
    ("CF0130", "A fault in `canary`", "See docs on canary rollouts for its keywords."),
    ("CF0140", "A file that imports itself", "The chain of imports is told; break it somewhere."),
    ("CF0201", "A template that can't be parsed", "The place is in the template, after YAML has read it."),
    ("CF0202", "A template that failed", "An expression in it could not be worked out; the message says why."),
    ("CF0203", "A condition that is not a boolean", "The text \"false\" counts as true elsewhere. Compare the value, "
     "or write `| bool`."),
    ("CF0204", "A variable that contains itself", "Its template reads, through the variables named, itself."),
    ("CF0205", "A template that reaches out of its sandbox", "Templates change nothing and see only values."),
    ("CF0206", "A question that nobody can answer", "There is no terminal to ask for a variable of `vars_prompt` at. "
     "Give it with `-e NAME=VALUE`, or the question a `default`."),
    ("CF0207", "A template that asks for too much", "A regular expression that would take seconds, a text or a list "
     "that would fill the memory. What a host said may be what makes it so."),
    ("CF0210", "A name that is not defined", "Nothing that runs before can define it. Where it may be absent, write "
     "`| default(..)` or test `is defined`."),
    ("CF0211", "An unknown filter, test or lookup", "The nearest one is named."),
    ("CF0212", "A filter, test or lookup that is called wrongly", "It has too few or too many arguments, or one by a "
     "name it doesn't know; docs/templates.md lists them."),
    ("CF0301", "`needs` names no play", "It takes names or ids of plays of this playbook."),
    ("CF0302", "Plays that need each other", "None of them could ever start."),
    ("CF0303", "No task or play has that name", "`--start-at-task` takes a task's whole name, `--play` that of a "
     "play, or its id."),
    ("CF0304", "No task has that tag", "`--tags` and `--skip-tags` take tags of this playbook; "
     "`--list-tags` lists them."),
    ("CF0310", "An artifact that is not there", "The play ended without making the file that "
     "`artifacts` names, or the store has none with that key or digest."),
    ("CF0311", "A canary that can't be started", "Its settings, rendered, make no rollout."),
    ("CF0312", "An artifact that can't be kept or fetched", "The store of artifacts doesn't answer, refuses it, or "
     "gave other bytes than were asked for. What has arrived is kept: `ciflow resume` goes on from there."),
    ("CF0313", "What `affected` asks for isn't there", "It wants a Rust workspace in `folder`, with these crates."),
    ("CF0320", "Something has changed since it was planned", "`apply PLANFILE` runs exactly what was planned, or "
     "nothing. What is named here differs from what the plan was made of: plan again and look at it, or take the "
     "change back."),
    ("CF0401", "A role that is not found", "Roles lie in `roles/` beside the playbook, in the configured path, or come "
     "with ciflow."),
    ("CF0402", "A file that is not found", "The message says where it was looked for."),
    ("CF0403", "A source file that is not found", "`copy`, `template` and `script` read it on the controller."),
    ("CF0404", "A role argument that is missing or wrong", "The role's argument_specs say what it takes."),
    ("CF0501", "`notify` names no handler", "The change would be made, and nothing would follow it."),
    ("CF0502", "A handler that nobody notifies", "It never runs."),
    ("CF0503", "Two tasks that share a register", "A skipped task sets its register too, so the later one hides what "
     "the earlier one found. Give them names of their own."),
    ("CF0510", "A play that never runs", "Its condition, its matrix or its hosts, as written, let it run nowhere."),
    ("CF0511", "A task that never runs", "Its condition is false as written, or a task before it ends the play in any "
     "case. Remove it, or give the condition that was meant."),
    ("CF0520", "A module that its target can't run", "The hosts of the play are reached in a way that lacks what the "
     "module needs. `delegate_to` another host, or give the task a play of its own."),
    ("CF0521", "A task that needs Python, on a host without it", "Its interpreter is `none` in the inventory, and "
     "a shell can't do what the task asks for: HTTP, detached work, Python's own tools."),
    ("CF0530", "A task that workers can't share", "With `--workers`, each process knows its own hosts, and of the "
     "others only who has failed. Run the playbook without, or do this in a play on one host, which stays whole."),
    ("CF0601", "An inventory that can't be read", "The place is the line that was not understood."),
    ("CF0602", "A pattern that names no host or group", "The play runs nowhere."),
    ("CF0701", "A task without a name", "Its name is what people see while it runs and when it fails. Say what it is "
     "for, not what it does: `name: Open the firewall for the site`."),
    ("CF0702", "A command that a module does better", "A module looks first and changes only what differs, so it says "
     "truly whether it changed anything, and check mode can predict it. `ciflow doc MODULE` says what it takes."),
    ("CF0703", "A command that counts as changed every time", "Handlers follow it, and no second run is ever without "
     "changes. Write `changed_when: false` where it only asks, a condition where its output tells, or `creates` and "
     "`removes` where a file does."),
    ("CF0704", "An image whose tag moves", "What is pulled tomorrow is another program under the same name. Name a "
     "version that is never moved, or the digest: `name@sha256:..`."),
    ("CF0705", "A canary that nothing judges", "Its steps end by the clock alone, so that a release in which every "
     "request fails is promoted. Give it `gates`, or write `gates: []` where that is meant."),
)  # fmt: skip

CODES: dict[str, str] = {code: title for code, title, _ in _TABLE}
EXPLAINED: dict[str, str] = {code: why for code, _, why in _TABLE}


def section(code: str) -> str:
    """What a code means, and where a playbook alone can show it, one with the fault and one without."""
    from ciflow.lang.fixes import FIXES

    text = f"## {code} {CODES[code]}\n\n{EXPLAINED[code]}\n"
    if code in FIXES:
        wrong, right = FIXES[code]
        text += f"\n```yaml\n{wrong}```\n\nWithout the fault:\n\n```yaml\n{right}```\n"
    return text


def page() -> str:
    """`docs/diagnostics.md`."""
    head = "# Diagnostics\n\nEvery finding has a code. `ciflow explain CODE` shows the same.\n"
    return head + "".join("\n" + section(code) for code in CODES)
