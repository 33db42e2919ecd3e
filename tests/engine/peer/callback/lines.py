"""An Ansible callback plugin: each task's end on each host as a line of JSON, for a comparison with ciflow."""

import json

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "lines"

    def _say(self, result, status):
        print(json.dumps([result._host.get_name(), result._task.get_name(), status, result._task.action]))

    def v2_runner_on_ok(self, result):
        self._say(result, "changed" if result._result.get("changed") else "ok")

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._say(result, "ignored" if ignore_errors else "failed")

    def v2_runner_on_skipped(self, result):
        self._say(result, "skipped")

    def v2_runner_on_unreachable(self, result):
        self._say(result, "unreachable")
