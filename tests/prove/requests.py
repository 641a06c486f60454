"""Sends requests as atlas does: over HTTP, several at once, again after `busy`, `unavailable` or no answer."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import urllib3

from tests.recorder.table import Asked

SAMPLES = Path(__file__).resolve().parents[2] / "examples"
CONNECTIONS = 16
GIVE_UP_SECONDS = 180.0
SMALL = {"cpu_limit": "100", "memory_limit": "64"}


class Client:
    """Sends to one Orchestrator, and notes each request with the results that it may lead to."""

    def __init__(self, url: str, seed: int) -> None:
        self._url = url
        self._seed = f"{seed}-{random.getrandbits(24):06x}"
        self._pool = urllib3.PoolManager(CONNECTIONS, maxsize=CONNECTIONS, retries=False)
        self._sample = json.loads((SAMPLES / "analysis.json").read_text())
        self._numbers = iter(range(10**9))
        self._lock = threading.Lock()
        self.asked: list[Asked] = []
        self.cancels: dict[str, str] = {}
        """By the run id of an analysis, that of its last cancel."""
        self.answers: Counter[tuple[int, bool]] = Counter()
        """How often each status came, with Retry-After or without; status 0: no answer."""

    def run_id(self, word: str) -> str:
        """A new run id that begins with the word."""
        with self._lock:
            return f"{word}-{self._seed}-{next(self._numbers):06d}"

    def analysis(
        self,
        word: str,
        codes: tuple[int, ...],
        *,
        pool: str = "",
        optional: bool = False,
        run_id: str = "",
        **meta: str,
    ) -> Asked:
        """Ask for one analysis whose run id begins with the word. `meta` changes the analyzer's limits."""
        run_id = run_id or self.run_id(word)
        (check,) = self._sample["checks"]
        document = {
            **self._sample,
            "run_id": run_id,
            "checks": [{**check, "analyzer_meta": {**check["analyzer_meta"], **SMALL, **meta}}],
            "_meta": {"resource_pool": pool},
        }
        return self._noted("analysis", document, Asked(run_id, codes=codes, optional=optional))

    def cancel(self, run_id: str, codes: tuple[int, ...] = (5000,)) -> Asked:
        """Cancel the analysis of that run."""
        own = self.cancels[run_id] = self.run_id("cancel")
        meta = {"run_id": run_id, "run_serial": self._sample["run_serial"], "check_seq": "1"}
        document = {"run_id": own, "run_serial": "1", "analysis_meta": meta}
        return self._noted("cancel-check", document, Asked(own, codes=codes))

    def ssh_verify(self, word: str, codes: tuple[int, ...], *, pool: str = "") -> Asked:
        """Ask for a key to be tried against a repository."""
        run_id = self.run_id(word)
        ssh = {"remote_url": "ssh://git@127.0.0.1:1/none.git"}
        pair = {"private": "none", "public": "none"}
        document = {"run_id": run_id, "ssh_meta": ssh, "keys": {"ssh": pair}, "_meta": {"resource_pool": pool}}
        return self._noted("ssh-verify", document, Asked(run_id, codes=codes))

    def analyses(
        self, words: Sequence[tuple[str, tuple[int, ...]]], *, pool: str = "", seconds: float = 0.0
    ) -> list[Asked]:
        """Ask for one analysis for each word, with CONNECTIONS requests in flight, spread over so many seconds."""
        began = time.monotonic()

        def ask(item: tuple[int, tuple[str, tuple[int, ...]]]) -> Asked:
            number, (word, codes) = item
            time.sleep(max(0.0, began + seconds * number / len(words) - time.monotonic()))
            return self.analysis(word, codes, pool=pool)

        with ThreadPoolExecutor(CONNECTIONS) as threads:
            return list(threads.map(ask, enumerate(words)))

    def _noted(self, kind: str, document: dict[str, Any], asked: Asked) -> Asked:
        status, body = self._send(kind, document)
        name = body["jobs"][0]["name"] if 200 <= status < 300 else str(body)[:300]
        noted = msgspec.structs.replace(asked, status=status, name=name)
        with self._lock:
            self.asked.append(noted)
        return noted

    def _send(self, kind: str, document: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Repeat the request until its answer is final: neither 429 nor 5xx."""
        content = msgspec.json.encode(document)
        headers = {"Content-Type": "application/json"}
        until = time.monotonic() + GIVE_UP_SECONDS
        last: tuple[int, dict[str, Any]] = (0, {})
        while time.monotonic() < until:
            try:
                url = f"{self._url}/tasks/{kind}"
                answer = self._pool.request("POST", url, body=content, headers=headers, timeout=20)
            except urllib3.exceptions.HTTPError:
                self._count(0, False)
                time.sleep(0.2)
                continue
            self._count(answer.status, "Retry-After" in answer.headers)
            last = (answer.status, _decoded(answer.data))
            if answer.status not in (429, 500, 502, 503, 504):
                return last
            time.sleep(min(float(answer.headers.get("Retry-After", 0.5)), 2.0))
        return last

    def _count(self, status: int, retry_after: bool) -> None:
        with self._lock:
            self.answers[status, retry_after] += 1


def _decoded(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except ValueError:
        return {"detail": content[:300].decode(errors="replace")}
    return document if isinstance(document, dict) else {"detail": content[:300].decode(errors="replace")}
