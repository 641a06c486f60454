"""Proofs on the real servers: `python -m tests.prove [SCENARIO ...] --ends N --seed S --code DIR`.

Everything is built against processes and HTTP: the Orchestrator is started by `python -m runner` in the directory CODE,
requests come over HTTP, and what counts is what `tests.recorder` finds on the cluster and at atlas. Nothing here
imports `runner` or `functions`, so that the same proofs run against any version of the code.
"""
