"""The mutants: one line of the product each, what it breaks, and the seeds that find it."""

from __future__ import annotations

from dataclasses import dataclass

K8S, NOMAD = "runner/drivers/kubernetes", "runner/drivers/nomad"
TRACKER, LEDGER = "runner/tracker", "runner/tracker/ledger"


@dataclass(frozen=True)
class Mutant:
    """One line of one file, and what to put there instead.

    `seeds` are tried in turn until one breaks a promise. A range begins shortly before a seed that does, and goes on
    for hundreds: a change of the product moves the steps that a seed draws, and another seed finds the mutant then.
    """

    name: str
    file: str
    old: str
    new: str
    engine: str = "kubernetes"
    seeds: range = range(100)


MUTANTS: dict[str, Mutant] = {
    mutant.name: mutant
    for mutant in (
        Mutant(
            "a cancel writes no tombstone",
            f"{K8S}/driver.py",
            "if (known is None or known.tombstone or known.claim in (NEW, YIELDED)) and not tombstone:",
            "if known is None or known.tombstone:",
        ),
        Mutant(
            "a cancel does not stop the Job",
            f"{K8S}/patches.py",
            '    return {"suspend": False, "activeDeadlineSeconds": 1}',
            '    return {"suspend": False}',
        ),
        Mutant(
            "a cancel keeps the mark of the end",
            f"{K8S}/patches.py",
            '"labels": {REPORTED: None, SET_ASIDE: None},',
            '"labels": {},',
        ),
        Mutant(
            "a mark does not see a cancel in between",
            f"{K8S}/patches.py",
            "*([] if seen.cancelled else [_absent(CANCELLED)])]",
            "]",
            seeds=range(300),
        ),
        Mutant(
            "a cancel does not see that the run had ended",
            f"{K8S}/driver.py",
            "ended = None if known.yielded else known.ended_as or classify(self._observed(namespace, known, deadline))",
            "ended = known.ended_as",
        ),
        Mutant(
            "a watch that has expired is never listed again",
            f"{K8S}/source.py",
            "if response.status == 410 or self._refusals >= REFUSALS:",
            "if self._refusals > 10**9:",
        ),
        Mutant(
            "an end by a limit is not written to the Job",
            f"{LEDGER}/planning.py",
            '("end", (end or seen.lingers or unsettled) and seen.ended_as is None and not gone),',
            '("end", False),',
            seeds=range(195, 495),
        ),
        Mutant(
            "a cancel after the outcome is ignored",
            f"{LEDGER}/record.py",
            "is_cancelled, is_resent = seen.cancelled and not last.cancelled,",
            "is_cancelled, is_resent = False,",
        ),
        Mutant(
            "a failed step is never tried again",
            f"{LEDGER}/ledger.py",
            "            record.due = self._clock.monotonic() + pause\n",
            "            record.due = None\n",
        ),
        Mutant(
            "a success is reported as well",
            f"{TRACKER}/results.py",
            "return bool(report.path) and not published_by_job",
            "return bool(report.path)",
        ),
        Mutant(
            "the id of a result has the time in it",
            f"{TRACKER}/results.py",
            "seen.place, seen.identity, report.run_id)",
            "seen.place, seen.identity, report.run_id, str(seen.main_exit), str(seen.ended))",
        ),
        Mutant(
            "a waiting tracker never takes over",
            f"{TRACKER}/leadership/election.py",
            "return now >= self._free_at",
            "return at_once if version != self._seen else False",
        ),
        Mutant(
            "a result counts as accepted before atlas has it",
            f"{TRACKER}/steps.py",
            "            self._publisher.publish(seen.name, result)\n",
            "            self._accepted.add(result.id)\n            self._publisher.publish(seen.name, result)\n",
            seeds=range(300),
        ),
        Mutant(
            "a result that was stored as accepted is not sent again when asked for",
            f"{TRACKER}/steps.py",
            "if result.id in self._accepted and not seen.resent:",
            "if result.id in self._accepted:",
            seeds=range(300),
        ),
        Mutant(
            "a Variable is written without check-and-set",
            f"{NOMAD}/namespace.py",
            '"variables write", body, cas=str(index))',
            '"variables write", body)',
            "nomad",
        ),
        Mutant(
            "a Nomad cancel keeps the Variable open",
            f"{NOMAD}/closing.py",
            "if not namespace.write(name, closed_items(closed), index, deadline):",
            "if False:",
            "nomad",
        ),
        Mutant(
            "a submit ignores a closed Variable",
            f"{NOMAD}/submission.py",
            "        if variable.cancelled:\n            return self._cancelled(variable)\n",
            "",
            "nomad",
        ),
        Mutant(
            "a job that left the view is deleted",
            f"{LEDGER}/ledger.py",
            '            self._plan(record, ["find"])\n        elif record.outcome',
            "            record.gone = True\n        elif record.outcome",
            "kubernetes",
            range(300),
        ),
        Mutant(
            "a queue limit is measured by the host's clock",
            f"{K8S}/observation.py",
            "since + later - clock_ahead",
            "since + later",
            "kubernetes",
            range(300),
        ),
        Mutant(
            "a job is published only once atlas is well",
            f"{TRACKER}/steps.py",
            "            self._breaker.failed(record.seen.name, error.retry_after)\n",
            "            record.forgotten = True\n",
            "kubernetes",
            range(200),
        ),
        Mutant(
            "a confirmed cancel leaves the job running",
            "runner/drivers/nomad/reconciler.py",
            "        if variable and not variable.open and not job.stop:\n            self._namespace.stop",
            "        if False:\n            self._namespace.stop",
            "nomad",
            range(200),
        ),
        Mutant(
            "a request of another engine completes nothing",
            "runner/drivers/claiming.py",
            "return engine.complete(rerouted(job, standing), deadline) or state",
            "return state",
            "both",
            range(45, 345),
        ),
        Mutant(
            "a claim whose request may still run is settled",
            "runner/drivers/claiming.py",
            "mine.unfinished or (not mine.published and any(each.unfinished for each in found))",
            "False",
            "both",
            range(300),
        ),
        Mutant(
            "an assumed claim is never settled",
            f"{K8S}/driver.py",
            "if self._engines and self._clock.monotonic() >= self._settle_at:",
            "if False:",
            "both",
            range(6500, 6800),
        ),
        Mutant(
            "a job is identified by its Variable",
            "runner/drivers/nomad/observation.py",
            "identity=job.nonce or variable.nonce,",
            "identity=variable.nonce or job.nonce,",
            "nomad",
            range(155, 455),
        ),
        Mutant(
            "a repeat that takes over a Variable drops its claim",
            "runner/drivers/nomad/submission.py",
            'variable.claim if variable.open else "")',
            '"")',
            "both",
            range(300),
        ),
        Mutant(
            "a name without a job is reported before the other places are read",
            "runner/drivers/nomad/driver.py",
            "if mine is None or mine.identity != seen.identity or mine.over or not mine.claim:",
            "if True:",
            "both",
            range(60, 360),
        ),
        Mutant(
            "a resend forgets how the job ended",
            "runner/drivers/nomad/closing.py",
            "stored = kept(now, variable.reported) if now and now.identity == seen.identity else None",
            "stored = None",
            "nomad",
            range(300),
        ),
        Mutant(
            "a resend on Nomad keeps the mark",
            "runner/drivers/nomad/variable.py",
            'again = msgspec.structs.replace(variable, reported="", published="", set_aside=False, answer="")',
            'again = msgspec.structs.replace(variable, published="", set_aside=False, answer="")',
            "nomad",
        ),
        Mutant(
            "a resend does not send the end of a cancelled job",
            f"{K8S}/patches.py",
            "annotations: dict[str, str | None] = {REPORTED: None, PUBLISHED: None, RESENT",
            "annotations: dict[str, str | None] = {REPORTED: None, RESENT",
            "kubernetes",
            range(300),
        ),
        Mutant(
            "a queue's time counts as waiting for a node",
            f"{K8S}/observation.py",
            "changed = suspension.last_transition_time if suspension else None",
            "changed = None",
            "kubernetes",
            range(430, 730),
        ),
        Mutant(
            "a refused pod is not explained",
            f"{K8S}/driver.py",
            "facts = events.refusal(namespace.events(seen.identity, deadline))",
            "facts = {}",
            "kubernetes",
        ),
        Mutant(
            "a queue may hold a job for ever",
            f"{LEDGER}/judge.py",
            "limit, since = limits.admission_seconds or None,",
            "limit, since = None,",
            "kubernetes",
        ),
        Mutant(
            "a result that atlas refused is dropped",
            f"{TRACKER}/steps.py",
            "        pause = self._ledger.postpone(record, at_least)\n        verb",
            "        pause = self._ledger.did(record, step) or 0.0\n        verb",
            "kubernetes",
            range(200),
        ),
    )
}
