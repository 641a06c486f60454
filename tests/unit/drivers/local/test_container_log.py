"""The log of a container of the local driver: bounded, and without secrets, however the output is split."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.drivers.local import container_log
from runner.drivers.local.container_log import ContainerLog, secret_patterns

SMALL = st.text("ab", min_size=4, max_size=8)


def logged(path: Path, secrets: list[str], chunks: list[bytes]) -> bytes:
    path.unlink(missing_ok=True)
    log = ContainerLog(str(path), secrets)
    for chunk in chunks:
        log.write(chunk)
    log.close()
    return path.read_bytes()


@given(secrets=st.lists(SMALL, max_size=3), output=st.text("abc\n", max_size=60), seed=st.integers())
def test_the_log_does_not_depend_on_how_the_output_is_split(
    tmp_path_factory: pytest.TempPathFactory, secrets: list[str], output: str, seed: int
) -> None:
    path, random, data, chunks = tmp_path_factory.getbasetemp() / "log", Random(seed), output.encode(), []
    while data:
        size = random.randint(1, 7)
        chunks.append(data[:size])
        data = data[size:]
    masked = re.sub(b"|".join(map(re.escape, secret_patterns(secrets))) or b"(?!)", b"***", output.encode())
    assert logged(path, secrets, chunks) == masked


def test_a_secret_that_begins_like_another_is_masked_completely(tmp_path: Path) -> None:
    chunks = [b"x pass", b"word", b"-long y"]
    assert logged(tmp_path / "log", ["password", "password-long"], chunks) == b"x *** y"


def test_output_without_secrets_is_logged_at_once(tmp_path: Path) -> None:
    log = ContainerLog(str(tmp_path / "log"), ["hunter2-hunter2"])
    log.write(b"working\nhunt")
    assert (tmp_path / "log").read_bytes() == b"working\n"
    log.write(b"ing season\n")
    assert (tmp_path / "log").read_bytes() == b"working\nhunting season\n"
    log.close()


@pytest.mark.parametrize(
    ("secret", "masked"),
    [
        ("hunter2", ["hunter2"]),
        ("hunter2\n", ["hunter2"]),
        ("abc", []),
        ("", []),
        ("first-line\nshort\nsecond-line\n", ["first-line\nshort\nsecond-line", "second-line", "first-line"]),
        (
            "https://user:p4ssw0rd-x@example.com/a.git",
            ["https://user:p4ssw0rd-x@example.com/a.git", "user:p4ssw0rd-x", "p4ssw0rd-x"],
        ),
        ("https://ghp-0123456@example.com", ["https://ghp-0123456@example.com", "ghp-0123456"]),
        ("git@example.com:a.git", ["git@example.com:a.git"]),
    ],
)
def test_a_secret_and_its_revealing_parts_are_masked(secret: str, masked: list[str]) -> None:
    assert [pattern.decode() for pattern in secret_patterns([secret])] == masked


def test_a_log_keeps_its_head_and_its_tail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in {"LOG_LIMIT": 1000, "LOG_HEAD": 100, "LOG_TAIL": 300}.items():
        monkeypatch.setattr(container_log, name, size)
    lines = [b"line %04d\n" % number for number in range(1000)]
    content = logged(tmp_path / "log", [], lines)
    assert len(content) <= 1100
    assert content.startswith(b"".join(lines[:10]))
    assert content.endswith(b"".join(lines[-30:]))
    (left_out,) = re.findall(rb"\[(\d+) bytes were left out here\]", content)
    note = len(b"\n[%s bytes were left out here]\n" % left_out)
    assert int(left_out) + len(content) - note == len(lines) * 10


@pytest.mark.parametrize("length", range(9, 40))
def test_a_log_is_cut_between_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    """Half of a secret that the container has not got from us would not be recognized in the evidence."""
    for name, size in {"LOG_LIMIT": 1000, "LOG_HEAD": 100, "LOG_TAIL": 300}.items():
        monkeypatch.setattr(container_log, name, size)
    line = b"x" * length + b"\n"
    content = logged(tmp_path / "log", [], [line] * 200)
    head, _, rest = content.partition(b"\n[")
    left_out, _, tail = rest.partition(b" bytes were left out here]\n")
    assert set(head.split(b"\n")) == {line[:-1], b""}
    assert set(tail.split(b"\n")) == {line[:-1], b""}
    assert len(head) + int(left_out) + len(tail) == 200 * len(line)


def test_a_log_without_lines_is_cut_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in {"LOG_LIMIT": 1000, "LOG_HEAD": 100, "LOG_TAIL": 300}.items():
        monkeypatch.setattr(container_log, name, size)
    content = logged(tmp_path / "log", [], [b"x" * 100] * 30)
    assert len(content) <= 1100
    assert content.startswith(b"x" * 100 + b"\n[")


def test_a_full_disk_loses_the_log_and_raises_nothing() -> None:
    log = ContainerLog("/dev/full", [])
    log.write(b"lost\n")
    log.close()
