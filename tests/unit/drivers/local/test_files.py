"""The local driver's files: atomic writes, one creator, one lock holder; and when a waiting job has waited too long."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from runner.drivers.local import files, locks


def test_the_first_of_many_writers_wins(tmp_path: Path) -> None:
    path = str(tmp_path / "verdict.json")
    with ThreadPoolExecutor(8) as pool:
        firsts = list(pool.map(lambda number: (files.write_once(path, number), number), range(100)))
    (decided,) = [number for first, number in firsts if first]
    assert files.read(path) == decided
    assert os.listdir(tmp_path) == ["verdict.json"]


def test_one_of_many_creators_makes_the_directory_with_all_its_files(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: _make(tmp_path, b"%d" % number), range(50)))
    assert sum(made) == 1
    assert os.listdir(tmp_path) == ["job"]
    assert (tmp_path / "job" / "job.json").read_bytes() == b"%d" % made.index(True)


def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with locks.locked(path, make=True) as held:
        assert held
        assert locks.lock(path) is None
    with locks.locked(path) as held:
        assert held


def test_a_lock_file_that_does_not_exist_cannot_be_locked(tmp_path: Path) -> None:
    assert locks.lock(str(tmp_path / "gone" / "lock")) is None
    (tmp_path / "file").touch()
    assert locks.lock(str(tmp_path / "file" / "lock")) is None


def test_the_lock_of_a_directory_that_was_replaced_before_flock_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _make(tmp_path, b"old")
    before = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        """Replaces the directory between flock and the comparison of inodes."""
        monkeypatch.setattr(os, "fstat", before)
        files.remove_job(str(tmp_path), "job")
        _make(tmp_path, b"new")
        return before(descriptor)

    monkeypatch.setattr(os, "fstat", fstat)
    assert locks.lock(str(tmp_path / "job" / "lock")) is None


def test_slots_are_taken_up_to_their_number(tmp_path: Path) -> None:
    files.prepare(str(tmp_path))
    held = [files.take_slot(str(tmp_path), 2) for _ in range(3)]
    assert [slot is not None for slot in held] == [True, True, False]
    for slot in held[:2]:
        assert slot is not None
        os.close(slot)


def test_the_queue_is_sorted_by_age_and_not_by_name(tmp_path: Path) -> None:
    files.prepare(str(tmp_path))
    for name, created in {"a.b": 1e9 + 0.2, "b": 1e9 + 0.1, "c": 999.0}.items():
        files.enqueue(str(tmp_path), name, created)
    assert [files.name_of(entry) for entry in files.queued(str(tmp_path))] == ["c", "b", "a.b"]


@pytest.mark.parametrize(
    ("change", "expired"),
    [
        ({}, False),
        ({"created": -1000}, False),  # the clock was set forward
        ({"created": +1000}, False),  # or back
        ({"monotonic": -11}, True),
        ({"monotonic": -11, "created": +1000}, True),
        ({"boot": "another", "monotonic": -11}, False),  # the monotonic clock restarts at a reboot
        ({"boot": "another", "created": -11}, True),
    ],
)
def test_setting_the_clock_does_not_change_how_long_a_job_has_waited(change: dict[str, Any], expired: bool) -> None:
    job = {"queue_seconds": 10, **files.timestamps(time.time())}
    for key, value in change.items():
        job[key] = value if isinstance(value, str) else job[key] + value
    assert files.waited_too_long(job) == expired


def test_removing_a_tree_follows_no_links(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / "kept").mkdir(parents=True)
    tree = tmp_path / "tree" / "a"
    tree.mkdir(parents=True)
    (tree / "link").symlink_to(target)
    (tree / "dangling").symlink_to("/nowhere")
    os.mkfifo(tree / "fifo")
    tree.chmod(0)
    files.remove(str(tmp_path / "tree"))
    assert os.listdir(tmp_path) == ["target"]
    assert (target / "kept").exists()


def test_removing_a_link_keeps_its_target(tmp_path: Path) -> None:
    """A program can replace its tree by a link."""
    (tmp_path / "target" / "kept").mkdir(parents=True)
    (tmp_path / "root").symlink_to(tmp_path / "target")
    files.remove(str(tmp_path / "root"))
    assert os.listdir(tmp_path) == ["target"]
    assert (tmp_path / "target" / "kept").exists()


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.touch()])
def test_removing_a_file_or_a_missing_path_is_no_error(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "file")
    files.remove(str(tmp_path / "file"))
    assert os.listdir(tmp_path) == []


def _make(directory: Path, content: bytes) -> bool:
    return files.make(str(directory), "job", {"job.json": content})
