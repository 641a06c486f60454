"""follow_logs: everything that a job prints, once and in order, while it is printed, and without credentials."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from runner.errors import Rejected
from runner.jobs import JobSpec
from runner.observation import Observation
from tests.conformance.clusters import Cluster
from tests.conformance.jobs import Program, new_name
from tests.harness.processes import eventually
from tests.harness.rounds import listed
from tests.unit.security.keys_in_text import SHAPES, key, remains

KEY = key(SHAPES["RSA"], seed=7)


class Follower:
    """Keeps what a driver passes on."""

    def __init__(self) -> None:
        self.received: list[tuple[str, str]] = []
        self.ended = False

    def take(self, container: str, text: str) -> None:
        self.received.append((container, text))

    def of(self, container: str) -> str:
        return "".join(text for name, text in self.received if name == container)

    @property
    def containers(self) -> list[str]:
        """In the order in which they printed first."""
        return list(dict.fromkeys(name for name, _ in self.received))


def followed(cluster: Cluster, seen: Observation, container: str = "") -> Follower:
    """All that is passed on until the job has ended."""
    follower = Follower()
    cluster.another().follow_logs(seen, follower.take, container)
    return follower


@contextmanager
def following(cluster: Cluster, seen: Observation) -> Iterator[Follower]:
    """Follows in a thread, until the job has ended."""
    follower = Follower()

    def follow() -> None:
        cluster.another().follow_logs(seen, follower.take)
        follower.ended = True

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    yield follower
    thread.join(cluster.end_seconds)
    assert follower.ended


def submitted(cluster: Cluster, job: JobSpec) -> Observation:
    cluster.submit(job)
    return listed(cluster.driver, job.name)


@pytest.mark.needs("runs")
def test_a_job_that_waits_is_followed_through_both_containers_to_its_end(cluster: Cluster) -> None:
    job = cluster.job(
        "for each in 1 2 3 4; do echo $each; sleep 0.3; done; printf 'no line feed'", init=Program(prints="cloned\n")
    )

    follower = followed(cluster, submitted(cluster, job))

    assert follower.containers == ["coat", "marvin"]
    assert follower.of("coat") == "cloned\n"
    assert follower.of("marvin") == "1\n2\n3\n4\nno line feed\n"


@pytest.mark.needs("runs")
def test_lines_arrive_while_the_job_runs_and_a_cancel_ends_it(cluster: Cluster) -> None:
    job = cluster.job("echo first; while :; do sleep 1; done")
    with following(cluster, submitted(cluster, job)) as follower:
        eventually(lambda: follower.of("marvin") == "first\n", "the first line arrives", cluster.end_seconds)
        assert not follower.ended
        cluster.cancel(job.name)


@pytest.mark.needs("runs")
def test_no_line_of_a_key_is_passed_on(cluster: Cluster) -> None:
    """It is printed slowly, so that its lines arrive one by one, and after a prefix as well."""
    quoted = " ".join(f"'{line}'" for line in KEY.text.splitlines())
    job = cluster.job(
        "echo before; echo https://user:hunter2@host/;"
        f'for line in {quoted}; do echo "$line"; sleep 0.05; done; echo after;'
        f'for line in {quoted}; do echo "12:00 $line"; done; echo done'
    )

    text = followed(cluster, submitted(cluster, job)).of("marvin")

    assert not remains(KEY.body, text)
    assert text == "before\nhttps://***@host/\n***\nafter\n12:00 ***\ndone\n"


@pytest.mark.needs("runs")
def test_everything_is_passed_on_of_a_job_that_has_ended(cluster: Cluster) -> None:
    job = cluster.job(
        "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; echo bad >&2; exit 3",
        init=Program(prints="cloned\n"),
    )
    cluster.submit(job)
    cluster.end(job)
    seen = listed(cluster.driver, job.name)

    lines = followed(cluster, seen).of("marvin").splitlines()

    assert [each for each in lines if each != "bad"] == [f"line {number}" for number in range(3000)]
    assert lines.count("bad") == 1
    assert followed(cluster, seen, "coat").received == [("coat", "cloned\n")]


@pytest.mark.needs("runs")
def test_a_failed_clone_is_the_end(cluster: Cluster) -> None:
    job = cluster.job(Program(prints="it ran"), init=Program(exit_code=4, prints="no such branch\n"))
    assert followed(cluster, submitted(cluster, job)).received == [("coat", "no such branch\n")]


@pytest.mark.needs("ends")
def test_what_a_job_has_printed_at_its_end(cluster: Cluster) -> None:
    job = cluster.job(Program(prints="boom\n", exit_code=3))
    cluster.submit(job)
    cluster.end(job)
    assert followed(cluster, listed(cluster.driver, job.name)).of("marvin") == "boom\n"


@pytest.mark.needs("ends")
def test_there_is_nothing_to_follow_without_the_job_or_the_container(cluster: Cluster) -> None:
    job = cluster.job()
    seen = submitted(cluster, job)
    with pytest.raises(Rejected, match="no container 'nginx'"):
        cluster.driver.follow_logs(seen, Follower().take, "nginx")
    with pytest.raises(Rejected):
        cluster.driver.follow_logs(cluster.unknown(new_name()), Follower().take)


@pytest.mark.needs("runs")
def test_an_exception_of_the_receiver_ends_it(cluster: Cluster) -> None:
    class Left(OSError):
        pass

    def take(_container: str, _text: str) -> None:
        raise Left

    job = cluster.job("echo first; while :; do sleep 1; done")
    with pytest.raises(Left):
        cluster.driver.follow_logs(submitted(cluster, job), take)
    cluster.cancel(job.name)
