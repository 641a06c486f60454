"""Temporary files: gunicorn's workers show by one that they are alive, and a kubeconfig's keys are written to some."""

from __future__ import annotations

import tempfile


def problem() -> str:
    """Why there can be none, in a sentence; empty if there can."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        return (
            "no directory for temporary files is writable ($TMPDIR, /tmp, /var/tmp, the working directory): with a"
            " read-only root file system, mount an empty directory at /tmp"
        )
    return ""
