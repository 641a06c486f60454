"""Sends mutated requests to the three protocols: `make fuzz SECONDS=60`, or `python -m tests.security.fuzz --seed 7`.

Samples and corpus are mutated by structure, as text and as bytes. After each round the servers must be alive, have
answered everything in time with no internal error and no large answer, hold no more memory than before, and have made
jobs only for requests that they accepted. The same seed makes the same inputs in the same order.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

import msgspec

from functions.http.openapi.document import EXAMPLES
from runner.request_types import REQUEST_TYPES
from tests.protocols.conftest import NotExpressible, message
from tests.security.harness import mutations
from tests.security.harness.entries import ACCEPTED, Entry, as_bytes, base, load
from tests.security.harness.sending import AmqpSender, GrpcSender, HttpSender, Outcome, Sender, works
from tests.security.harness.servers import Servers, started

ROUND = 120
"""Inputs between two checks of the servers, for each protocol."""

PATIENCE = 15.0
"""Seconds for an answer. A server has 10."""

MAX_ANSWER = 2_000_000
MAX_GROWTH = 200 * 1024 * 1024
"""Bytes: of one answer, and of all processes of a protocol together over their size after the first round."""

INTERNAL = {"internal", 500, "INTERNAL", "UNKNOWN", "http 500"}
NOT_SERVED = {502, 503, 504, "UNAVAILABLE", "DEADLINE_EXCEEDED", "unavailable", "timeout"}


class Fault(Exception):
    """A promise is broken. The message has the seed, the round and the smallest of what is known."""


class Fuzzer:
    """One run over one set of servers."""

    def __init__(self, servers: Servers, seed: int, bases: list[Entry]) -> None:
        self._servers = servers
        self._seed = seed
        self._bases = bases
        self._http, self._grpc = HttpSender(servers), GrpcSender(servers)
        self._memory: dict[str, int] = {}
        self._workers = self._families()
        self.sent: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()

    def round(self, number: int) -> None:
        """Send one round and check everything. Raises Fault."""
        random = Random(f"{self._seed}-{number}")
        first = number * ROUND
        for sender, make in ((self._http, self._for_http), (self._grpc, self._for_grpc)):
            entries = [(first + each, make(random)) for each in range(ROUND)]
            with ThreadPoolExecutor(8) as pool:
                outcomes = list(pool.map(lambda pair, sender=sender: self._send(sender, *pair), entries))
            self._judge(sender, number, entries, outcomes)
        if self._servers.stand:
            self._amqp_round(random, number, first)
        self._check_servers(number)

    def _amqp_round(self, random: Random, number: int, first: int) -> None:
        sender = AmqpSender(self._servers)
        entries = [(first + each, self._for_amqp(random)) for each in range(ROUND)]
        try:
            outcomes = sender.send_all(entries)
        except AssertionError as error:
            raise self._fault(number, str(error)) from error
        self._judge(sender, number, entries, [outcomes[each] for each, _ in entries])

    def _for_http(self, random: Random) -> Entry:
        chosen = random.choice(self._bases)
        if random.random() < 0.3 and chosen.wire is not None:
            return _raw(chosen, wire=mutations.octets(random, as_bytes(chosen.wire)))
        return self._with_text(random, chosen)

    def _for_amqp(self, random: Random) -> Entry:
        entry = self._with_text(random, random.choice(self._bases))
        if random.random() < 0.2:
            return msgspec.structs.replace(entry, properties={"content_encoding": random.choice(("gzip", "", "a\x00"))})
        return entry

    def _for_grpc(self, random: Random) -> Entry:
        chosen = random.choice(self._bases)
        sample = Entry(name="", protocols=(), code=ACCEPTED, base=chosen.base)
        if random.random() < 0.5:
            changed = mutations.document(random, base(chosen.base))
            with suppress(NotExpressible, TypeError, ValueError, AttributeError):
                return _raw(sample, body=message(sample.request_type, changed).SerializeToString())
        encoded = self._grpc.message(sample, "fuzzed")
        if random.random() < 0.2:
            prefix = len(encoded).to_bytes(5, "big")
            return _raw(sample, data=mutations.octets(random, prefix + encoded))
        return _raw(sample, body=mutations.octets(random, encoded))

    def _with_text(self, random: Random, chosen: Entry) -> Entry:
        return _raw(chosen, body=mutations.text(random, base(chosen.base)), wire=None)

    def _send(self, sender: HttpSender | GrpcSender, number: int, entry: Entry) -> Outcome:
        began = time.monotonic()
        try:
            return sender.send(entry, number, PATIENCE)
        except TimeoutError:
            return Outcome("hang", frozenset(), ("hang",))
        except (OSError, EOFError):  # the connection is closed without an answer
            late = time.monotonic() - began > PATIENCE
            return Outcome("hang" if late else "closed", frozenset(), ("hang" if late else "closed",))

    def _judge(self, sender: Sender, number: int, entries: list[tuple[int, Entry]], outcomes: list[Outcome]) -> None:
        self.sent[sender.name] += len(entries)
        for (_, entry), outcome in zip(entries, outcomes, strict=True):
            self.codes[outcome.code or str(outcome.statuses[-1:])] += 1
            seen = {outcome.code, *outcome.statuses}
            if seen & INTERNAL or seen & NOT_SERVED or "hang" in seen or outcome.size > MAX_ANSWER:
                raise self._fault(number, f"{sender.name} answered {outcome!r:.300} to {_shown(entry)}")
        refused = {
            sender.run(each) for (each, _), outcome in zip(entries, outcomes, strict=True) if outcome.code != ACCEPTED
        }
        if left := refused & self._servers.accepted():
            raise self._fault(number, f"{sender.name} refused requests whose jobs exist: {sorted(left)}")

    def _check_servers(self, number: int) -> None:
        try:
            works(self._servers)
        except (AssertionError, OSError, EOFError) as error:
            raise self._fault(number, f"the servers do not serve a good request any more: {error}") from error
        if self._families() != self._workers:
            raise self._fault(number, "a process has ended and was started again; see its log")
        for name, process in self._servers.processes().items():
            now = sum(_resident(pid) for pid in process.family())
            if now > self._memory.setdefault(name, now) + MAX_GROWTH:
                raise self._fault(number, f"{name} grew from {self._memory[name] >> 20} to {now >> 20} MiB")
            if defects := re.findall(
                r'"level":"(?:ERROR|CRITICAL)"[^\n]*(?:internal error|Traceback)[^\n]*', process.said()
            ):
                raise self._fault(number, f"{name} logged an internal error: {defects[0][:400]}")

    def _families(self) -> dict[str, list[int]]:
        return {name: process.children() for name, process in self._servers.processes().items() if name != "sidecar"}

    def _fault(self, number: int, what: str) -> Fault:
        return Fault(
            f"{what}\nrepeat it: python -m tests.security.fuzz --seed {self._seed} --first {number} --rounds 1"
        )


def _raw(entry: Entry, **fields: Any) -> Entry:
    """The entry with these bytes, sent as they are."""
    nothing: dict[str, Any] = {"set": {}, "remove": (), "raw": {}, "pointers": (), "status": 0}
    return msgspec.structs.replace(entry, **nothing, **fields)


def _shown(entry: Entry) -> str:
    data = next((each for each in (entry.wire, entry.data, entry.body) if each is not None), b"")
    return f"{entry.request_type}: {as_bytes(data)[:1500]!r}"


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    except OSError:
        return 0


def bases() -> list[Entry]:
    """What is mutated: each example, and each entry of the corpus that is small enough to be changed often."""
    named = msgspec.json.decode(EXAMPLES.read_bytes())
    samples = [
        Entry(name=f"{kind}/{name}", protocols=(), code=ACCEPTED, base=f"{kind}/{name}")
        for kind in REQUEST_TYPES
        for name in named[kind]
    ]
    wires = [entry for entry in load() if entry.wire is not None and "http" in entry.protocols]
    return samples * 10 + [entry for entry in wires if len(as_bytes(entry.wire)) < 4000 and not entry.pending]


def run(servers: Servers, seed: int, *, seconds: float, first: int = 0, rounds: int = 0) -> Fuzzer:
    """Fuzz for so many seconds, or rounds. Raises Fault."""
    fuzzer = Fuzzer(servers, seed, bases())
    until, number = time.monotonic() + seconds, first
    while number - first < rounds if rounds else time.monotonic() < until:
        fuzzer.round(number)
        number += 1
        print(
            f"seed {seed}, round {number}: {fuzzer.sent.total()} sent, {dict(fuzzer.codes.most_common(6))}", flush=True
        )
    return fuzzer


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(1 << 32))
    parser.add_argument("--first", type=int, default=0, help="the round to begin with")
    parser.add_argument("--rounds", type=int, default=0, help="in place of --seconds")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory() as directory, started(Path(directory)) as servers:
        try:
            fuzzer = run(servers, given.seed, seconds=given.seconds, first=given.first, rounds=given.rounds)
        except Fault as fault:
            print(f"FAULT: {fault}")
            return 1
    print(f"no fault in {fuzzer.sent.total()} inputs: {dict(fuzzer.sent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
