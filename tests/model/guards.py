"""The guards of the protocol, each with the function of the product that has it, and what the model assumes."""

from __future__ import annotations

from collections.abc import Mapping

from tests.model import claims, kubernetes, nomad, settlement
from tests.model.explorer import Build

_LEDGER, _RECORD = "runner.tracker.ledger.ledger:Ledger", "runner.tracker.ledger.record"
_PLANNING, _RESULTS = "runner.tracker.ledger.planning:remaining", "runner.tracker.results:results"
_DRIVER, _PATCHES = "runner.drivers.kubernetes.driver:KubernetesDriver", "runner.drivers.kubernetes.patches"
_CLAIMS, _CLAIMING = "runner.drivers.claims", "runner.drivers.claiming"
_CONTRADICTS, _MISSED = "runner.outcomes:contradicts", "runner.outcomes:missed_end"
_CLOSING, _RECONCILER = "runner.drivers.nomad.closing", "runner.drivers.nomad.reconciler:NamespaceReconciler.run"

TRACKER: Mapping[str, str] = {
    "cancel-drops-unstored": f"{_RECORD}:Record.observe",
    "cancel-keeps-outcome": f"{_RECORD}:Record.observe",
    "cancel-restarts": f"{_RECORD}:Record.observe",
    "cancelled-keeps-end": f"{_RECORD}:merged",
    "end-before-publish": _PLANNING,
    "end-sees-end": _CONTRADICTS,
    "end-sees-start": _CONTRADICTS,
    "find-before-deleted": f"{_LEDGER}.left",
    "find-drops-unstored": f"{_LEDGER}.left",
    "id-of-identity": _RESULTS,
    "id-without-reason": _RESULTS,
    "publish-before-mark": _PLANNING,
    "refused-end-decides-anew": f"{_LEDGER}.find_again",
    "refused-end-finds": f"{_LEDGER}.find_again",
    "refused-mark-finds": f"{_LEDGER}.find_again",
    "refuted-drops-unstored": f"{_RECORD}:Record.observe",
    "resend-restarts": f"{_RECORD}:Record.observe",
}

GUARDS: Mapping[str, Mapping[str, str]] = {
    "kubernetes": {
        **TRACKER,
        "cancel-clears-mark": f"{_PATCHES}:cancel_patch",
        "cancel-clears-ttl": f"{_PATCHES}:cancel_patch",
        "cancel-keeps-published": f"{_PATCHES}:cancel_patch",
        "cancel-stores-end": f"{_DRIVER}.cancel",
        "cancel-version": f"{_PATCHES}:cancel_patch",
        "create-only": "runner.drivers.kubernetes.namespace:KubernetesNamespace.create",
        "end-identity": f"{_DRIVER}.end",
        "end-not-cancelled": f"{_DRIVER}.end",
        "end-same-reason": f"{_DRIVER}.end",
        "end-stores-outcome": f"{_PATCHES}:end_patch",
        "end-version": f"{_PATCHES}:end_patch",
        "mark-identity": f"{_PATCHES}:reported_patch",
        "mark-not-cancelled": f"{_PATCHES}:reported_patch",
        "mark-not-resent": f"{_PATCHES}:reported_patch",
        "mark-stores-missed-end": _MISSED,
        "no-ttl-before-mark": "runner.drivers.kubernetes.manifest:job_manifest",
        "resend-clears-mark": f"{_PATCHES}:resend_patch",
        "resend-clears-published": f"{_PATCHES}:resend_patch",
        "resend-clears-ttl": f"{_PATCHES}:resend_patch",
        "resend-stores-end": f"{_PATCHES}:resend_patch",
        "stop-makes-no-pod": f"{_PATCHES}:end_patch",
        "stop-resumes": f"{_PATCHES}:end_patch",
        "submit-finds-cancel": f"{_DRIVER}.submit",
        "tombstone": f"{_DRIVER}.cancel",
    },
    "nomad": {
        **TRACKER,
        "cancel-cas": f"{_CLOSING}:cancel",
        "cancel-clears-mark": f"{_CLOSING}:cancel",
        "cancel-closes": f"{_CLOSING}:cancel",
        "cancel-keeps-published": f"{_CLOSING}:cancel",
        "cancel-stores-end": f"{_CLOSING}:cancel",
        "end-identity": f"{_CLOSING}:end",
        "end-index": f"{_CLOSING}:end",
        "end-not-cancelled": f"{_CLOSING}:end",
        "end-same-reason": f"{_CLOSING}:end",
        "end-sees-job": _CONTRADICTS,
        "end-stores-outcome": f"{_CLOSING}:end",
        "left-seconds": "runner.drivers.nomad.listing:NamespaceReader.one",
        "mark-cas": f"{_CLOSING}:mark",
        "mark-identity": f"{_CLOSING}:mark",
        "mark-not-cancelled": f"{_CLOSING}:mark",
        "mark-not-resent": f"{_CLOSING}:mark",
        "mark-stores-missed-end": _MISSED,
        "nonce-corrected": "runner.drivers.nomad.submission:Submission.step",
        "open-template": "runner.drivers.nomad.specification:specification",
        "reconcile-stops": _RECONCILER,
        "resend-clears-mark": "runner.drivers.nomad.variable:with_resend",
        "resend-clears-published": "runner.drivers.nomad.variable:with_resend",
        "resend-stores-end": f"{_CLOSING}:resend",
        "retention-after-report": _RECONCILER,
        "submit-finds-cancel": "runner.drivers.nomad.driver:NomadDriver.submit",
        "tombstone": f"{_CLOSING}:cancel",
        "unsettled-ends-first": _PLANNING,
        "variable-lock": "runner.drivers.nomad.namespace:Namespace.write",
    },
    "claims": {
        "cancelled-settles": f"{_CLAIMS}:decide",
        "claim-is-no-job": f"{_DRIVER}.cancel",
        "claim-tests-claim": f"{_PATCHES}:claim_patch",
        "claim-tests-identity": f"{_PATCHES}:claim_patch",
        "end-reads-elsewhere": f"{_CLAIMING}:yield_if_taken",
        "end-tests-claim": f"{_PATCHES}:end_patch",
        "lesser-wins": f"{_CLAIMS}:decide",
        "read-after-take": f"{_CLAIMING}:claimed",
        "mark-first": f"{_CLAIMS}:decide",
        "secret-after-admit": "runner.drivers.kubernetes.submission:JobSubmission.claim",
        "tombstone-everywhere": f"{_DRIVER}.cancel",
    },
    "settlement": {
        "published-stays": f"{_CLAIMS}:settlement",
        "settle-before-publish": _PLANNING,
        "settle-mark-first": f"{_CLAIMS}:settlement",
        "store-before-publish": f"{_DRIVER}.end",
        "success-stays": "runner.drivers.kubernetes.claims:NamespacePlace.move",
        "yield-version": f"{_PATCHES}:yield_patch",
    },
}

ASSUMPTIONS: Mapping[str, Mapping[str, str]] = {
    "kubernetes": {
        "no-success-in-grace": "a job that is ended for a limit does not publish a success in its grace period",
        "one-memory-of-end": "the tracker that has published an end lives until its mark, if a cancel missed that end",
        "retention-outlasts-records": "no tracker remembers a job for longer than the retention",
        "start-is-noted": "no end of a waiting job comes between a run's start and the Job controller's note of it",
        "success-seen-first": "nobody deletes a job between its success and the watch event that shows it",
    },
    "nomad": {
        "collection-after-report": "Nomad removes no job before its Variable says how it ended, nor during a request",
        "correction-unseen": "no tracker reads a Variable that replaces a deleted one before it has the job's nonce",
        "end-is-short": "no run starts between the reading of a waiting job and the write that ends it",
        "no-success-in-grace": "a job that is ended for a limit does not publish a success in its grace period",
        "one-memory-of-end": "the tracker that has published an end lives until its mark, if a cancel missed that end",
        "register-is-short": "no run starts while another register is between its check and its write",
        "retention-outlasts-records": "no tracker or request remembers a job for longer than the retention",
        "success-seen-first": "nobody purges a successful job before it is marked",
    },
    "claims": {
        "abandoned-outlasts-requests": "no request lives that began before an abandoned claim was taken",
    },
    "settlement": {
        "both-silent": "of two assumed jobs, at most one ends while the other's engine is silent",
    },
}
"""What the model takes for granted and no guard ensures. Without it a promise is broken, as the trace shows."""

WORLDS: Mapping[str, Build] = {
    "kubernetes": kubernetes.worlds,
    "nomad": nomad.worlds,
    "claims": claims.worlds,
    "settlement": settlement.worlds,
}
