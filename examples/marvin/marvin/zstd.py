"""Decompressing the flag of an autofix, with the zstd that this Python or the image has."""

from __future__ import annotations

import base64
import importlib
import shutil
import subprocess

from .errors import MarvinError


def decode(text: str) -> str:
    """The TOML of an autofix: base64 of zstd. Raises MarvinError or ValueError where it is not that."""
    return _decompress(base64.b64decode(text, validate=True)).decode()


def _decompress(data: bytes) -> bytes:
    """With `compression.zstd` of Python 3.14, the same module from backports.zstd, or the zstd program."""
    for name in ("backports.zstd", "compression.zstd"):
        try:
            library = importlib.import_module(name)
        except ImportError:
            continue
        try:
            plain: bytes = library.decompress(data)
        except library.ZstdError as error:
            raise MarvinError(f"it is not zstd: {error}") from error
        return plain
    if not (program := shutil.which("zstd")):
        raise MarvinError("zstd is needed: install backports.zstd, Python 3.14 or the zstd program")
    ended = subprocess.run([program, "-dcq"], input=data, env={}, capture_output=True, check=False)
    if ended.returncode:
        raise MarvinError(f"it is not zstd: {ended.stderr.decode(errors='replace').strip()}")
    return ended.stdout
