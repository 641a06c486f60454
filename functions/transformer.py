"""`transformer_run`: format the code, in one job."""

from __future__ import annotations

from functions.function import Function
from functions.http.application import application
from runner.payloads import TransformerRun


class Transformer(Function):
    """POST /tasks/transformer, also in the spelling of atlas's own list."""

    request_type = "transformer_run"
    payload = TransformerRun
    paths = ("/tasks/transformer", "/tasks/transforer")


app = application(Transformer)
