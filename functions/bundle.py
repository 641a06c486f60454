"""All functions in one application."""

from __future__ import annotations

from functions.analysis import Analysis
from functions.autofix import Autofix
from functions.cancel_check import CancelCheck
from functions.commit import Commit
from functions.http.application import application
from functions.ssh_verify import SshVerify
from functions.transformer import Transformer

FUNCTIONS = (Analysis, Autofix, Transformer, SshVerify, CancelCheck, Commit)

app = application(*FUNCTIONS)
