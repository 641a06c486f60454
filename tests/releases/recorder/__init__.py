"""Creates state of every kind with the code of one release, and saves it as fixtures.

    cd CODE && PYTHONPATH=CODE:tests/releases python -P -m recorder DIRECTORY

`python -m tests.releases.record` starts it like that. `runner` and `tests` are then those of the recorded release. So
no module here may import `tests.releases`, and only `recorder.release` deals with names that differ between releases.
"""
