"""The guards of the protocol, each with the function of the product that has it, and what the model assumes."""

from __future__ import annotations

from collections.abc import Mapping

from tests.model import kubernetes, nomad
from tests.model.explorer import Build

_LEDGER, _RECORD = "runner.tracker.ledger.ledger:Ledger", "runner.tracker.ledger.record"
_PLANNING, _RESULTS = "runner.tracker.ledger.planning:remaining", "runner.tracker.results:results"
_DRIVER, _PATCHES = "runner.drivers.kubernetes.driver:KubernetesDriver", "runner.drivers.kubernetes.patches"
_CLOSING, _RECONCILER = "runner.drivers.nomad.closing", "runner.drivers.nomad.reconciler:NamespaceReconciler.run"

TRACKER: Mapping[str, str] = {
    "cancel-drops-unstored": f"{_RECORD}:Record.observe",
    "cancel-keeps-outcome": f"{_RECORD}:Record.observe",
    "cancel-restarts": f"{_RECORD}:Record.observe",
    "cancelled-keeps-end": f"{_RECORD}:merged",
    "end-before-publish": _PLANNING,
    "id-without-reason": _RESULTS,
    "publish-before-mark": _PLANNING,
    "refused-end-decides-anew": f"{_LEDGER}.find_again",
    "refused-end-finds": f"{_LEDGER}.find_again",
    "refused-mark-finds": f"{_LEDGER}.find_again",
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
        "end-sees-pod": f"{_DRIVER}.end",
        "end-stores-outcome": f"{_PATCHES}:end_patch",
        "find-before-deleted": f"{_LEDGER}.left",
        "find-drops-unstored": f"{_LEDGER}.left",
        "id-of-identity": _RESULTS,
        "mark-identity": f"{_PATCHES}:reported_patch",
        "mark-not-cancelled": f"{_PATCHES}:reported_patch",
        "no-ttl-before-mark": "runner.drivers.kubernetes.manifest:job_manifest",
        "stop-makes-no-pod": f"{_PATCHES}:end_patch",
        "stop-resumes": f"{_PATCHES}:end_patch",
        "submit-finds-cancel": f"{_DRIVER}.submit",
    },
    "nomad": {
        **TRACKER,
        "cancel-cas": f"{_CLOSING}:cancel",
        "cancel-clears-mark": f"{_CLOSING}:cancel",
        "cancel-closes": f"{_CLOSING}:cancel",
        "cancel-keeps-published": f"{_CLOSING}:cancel",
        "cancel-stores-end": f"{_CLOSING}:cancel",
        "end-not-cancelled": f"{_CLOSING}:end",
        "end-sees-run": "runner.drivers.nomad.driver:NomadDriver.end",
        "end-stores-outcome": f"{_CLOSING}:end",
        "left-seconds": "runner.drivers.nomad.listing:NamespaceReader.one",
        "mark-not-cancelled": f"{_CLOSING}:mark",
        "open-template": "runner.drivers.nomad.specification:specification",
        "reconcile-stops": _RECONCILER,
        "retention-after-report": _RECONCILER,
        "submit-finds-cancel": "runner.drivers.nomad.driver:NomadDriver.submit",
        "variable-lock": "runner.drivers.nomad.namespace:Namespace.write",
    },
}

ASSUMPTIONS: Mapping[str, Mapping[str, str]] = {
    "kubernetes": {
        "no-success-in-grace": "a program that is ended does not publish a success in its grace period",
        "one-memory-of-end": "a cancel in the seconds before the condition of the Job is not raced by a second leader",
        "retention-outlasts-records": "no tracker remembers a job for longer than the retention",
        "success-seen-first": "nobody deletes a job between its success and the watch event that shows it",
    },
    "nomad": {
        "collection-after-report": "Nomad removes no ended job before its end is reported",
        "one-memory-of-end": "a cancel that has not seen the end is not raced by a second leader",
        "retention-outlasts-records": "no tracker remembers a job for longer than the retention",
    },
}

WORLDS: Mapping[str, Build] = {"kubernetes": kubernetes.worlds, "nomad": nomad.worlds}
