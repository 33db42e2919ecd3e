"""Templates as ansible-core renders them. Runs under Ansible's Python: JSON {"vars", "templates"} in, answers out.

Each answer is {"value": ..} or {"error": text}. Tuples and other sequences arrive as lists, as a playbook sees them.
"""

import json
import sys
import warnings
from pathlib import Path

from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template


def trusted(value):
    if isinstance(value, str):
        return trust_as_template(value)
    if isinstance(value, dict):
        return {key: trusted(below) for key, below in value.items()}
    return [trusted(below) for below in value] if isinstance(value, list) else value


def plain(value):
    if isinstance(value, dict):
        return {str(key): plain(below) for key, below in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(below) for below in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value)


def main():
    warnings.simplefilter("ignore")
    asked = json.load(sys.stdin)
    init_plugin_loader([])
    loader = DataLoader()
    loader.set_basedir(str(Path.cwd()))
    answers = {}
    for text in asked["templates"]:
        templar = Templar(loader, variables=trusted(asked["vars"]))
        try:
            answers[text] = {"value": plain(templar.template(trust_as_template(text)))}
        except Exception as error:
            answers[text] = {"error": str(error).splitlines()[-1][:200]}
    json.dump(answers, sys.stdout)


main()
