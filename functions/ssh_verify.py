"""`ssh_verify_run`: try a key against a repository, in one job."""

from __future__ import annotations

from functions.function import Function
from functions.http.application import application
from runner.payloads import SshVerifyRun


class SshVerify(Function):
    """POST /tasks/ssh-verify, also in two older spellings."""

    request_type = "ssh_verify_run"
    payload = SshVerifyRun
    paths = ("/tasks/ssh-verify", "/tasks/ssh_verify", "/tasks/sshverify")


app = application(SshVerify)
