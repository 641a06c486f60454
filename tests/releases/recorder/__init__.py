"""Writes state of every kind with the code of one release, and saves it as fixtures.

    cd CODE && PYTHONPATH=CODE:tests/releases python -P -m recorder DIRECTORY

`python -m tests.releases.record` starts it like that. `runner` and `tests` are then those of the release that is being
recorded. So nothing here may import `tests.releases`, and what has another name in another release is found by
`recorder.release` alone.
"""
