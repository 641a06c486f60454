"""Every input of the corpus gets its right answer on all protocols, and leaves servers that work and no job behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.security.harness.entries import ACCEPTED, Entry, load
from tests.security.harness.sending import AmqpSender, GrpcSender, HttpSender, Outcome, Sender, works
from tests.security.harness.servers import Servers, started

ENTRIES = load()
AT_LEAST = 600
MAX_ANSWER = 100_000
"""Bytes. No input of the corpus needs more to be answered."""


def test_the_corpus_has_its_size_and_each_name_once(capsys: pytest.CaptureFixture[str]) -> None:
    sent = Counter(protocol for entry in ENTRIES for protocol in entry.protocols)
    pending = sum(entry.pending for entry in ENTRIES)
    with capsys.disabled():
        print(f"\ncorpus: {len(ENTRIES)} inputs, {pending} of them pending; sent: {dict(sorted(sent.items()))}")
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES) >= AT_LEAST


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with started(tmp_path_factory.mktemp("s")) as running:
        yield running


def of(protocol: str) -> list[tuple[int, Entry]]:
    return [(number, entry) for number, entry in enumerate(ENTRIES) if protocol in entry.protocols]


@pytest.mark.parametrize("kind", [HttpSender, GrpcSender])
def test_every_input_gets_its_right_answer(servers: Servers, kind: type[HttpSender | GrpcSender]) -> None:
    sender = kind(servers)

    def send(numbered: tuple[int, Entry]) -> Outcome:
        number, entry = numbered
        try:
            return sender.send(entry, number, patience=2.0 if entry.pending else 15.0)
        except (OSError, EOFError, AssertionError) as error:  # judged as any other answer
            return Outcome(f"{type(error).__name__}: {error}")

    entries = of(sender.name)
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(send, entries))
    judge(sender, [entry for _, entry in entries], outcomes, sender.expects)
    works(servers)


def test_every_message_gets_its_right_answer(servers: Servers) -> None:
    if servers.stand is None:
        pytest.skip("this host has no RabbitMQ")
    sender = AmqpSender(servers)
    entries = of("amqp")
    outcomes = sender.send_all(entries)
    judge(sender, [entry for _, entry in entries], [outcomes[number] for number, _ in entries], sender.expects)
    works(servers)


def test_no_refused_input_has_left_a_job(servers: Servers) -> None:
    """Runs last, on the servers that have answered everything."""
    senders = (HttpSender, GrpcSender, AmqpSender)
    refused = {
        f"{sender.name}-{number}": entry
        for sender in senders
        for number, entry in of(sender.name)
        if entry.code != ACCEPTED and not (isinstance(entry.status, tuple) and 200 in entry.status)
    }
    left = [refused[run].name for run in servers.accepted_runs() & refused.keys() if not refused[run].pending]
    assert left == []
    assert servers.accepted_runs() - refused.keys(), "the check has found no accepted run at all"


def judge(
    sender: Sender, entries: list[Entry], outcomes: list[Outcome], expects: Callable[[Entry, Outcome], bool]
) -> None:
    """Assert that all outcomes are right, but for those of pending entries, which are printed."""
    wrong, done = [], []
    for entry, outcome in zip(entries, outcomes, strict=True):
        right = expects(entry, outcome)
        if right and entry.pending:
            done.append(entry.name)
        if not right:
            (print if entry.pending else wrong.append)(f"{sender.name}: {entry.name}: {entry.code} expected, {outcome}")
        assert outcome.size <= MAX_ANSWER or entry.pending, entry.name
        serious = [each for each in outcome.statuses if str(each).startswith("5") and each != 501]
        assert not serious or entry.pending, (entry.name, outcome)
    print(f"{sender.name}: no longer pending: {done}")
    assert not wrong, "\n".join(wrong)
