"""Follows the jobs and the pods in one namespace: list, then watch from the list's version, session by session.

    first session ─▶ list ─▶ watch ─▶ end of the session ─▶ watch from the last version seen ─▶ ...
                      ▲                  (each 25 s)                       │
                      └── 410, an event that cannot be read, three refusals, a new view, each 600 s

The API server ends each watch itself, after a bookmark: both prove that it is alive. See "Efficient detection of
changes" in the Kubernetes API concepts, for 410 and bookmarks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from runner.drivers.driver import Source, View
from runner.drivers.kubernetes.api import ApiServerClient, ApiServerResponse, collection, raise_for_status
from runner.drivers.kubernetes.manifest import REPORTED, SET_ASIDE, pod_selector
from runner.drivers.kubernetes.namespace import JobPage, PodPage
from runner.drivers.kubernetes.objects import JobObject, Metadata, PodObject
from runner.drivers.kubernetes.store import NamespaceStore
from runner.drivers.nullable import Nullable, NullIsAbsent
from runner.errors import Unavailable
from runner.runtime.clock import Clock, Deadline

PAGE = "100"
"""Objects in one page of a list. A pod has 9 KB, and the memory for a page, thrice its size, stays with the process."""

PAGE_SECONDS = 30.0
"""The deadline for one page of a list."""

WATCH_SECONDS = 25
"""After so many seconds the API server ends a watch. A bookmark precedes the end by two seconds."""

WATCH_DEADLINE = 60.0
SILENCE_SECONDS = 30.0
"""A watch without a byte for so long is given up."""

RESYNC_SECONDS = 600.0
"""How often everything is listed again, although nothing seems to be missed."""

JOBS_SECONDS = 25.0
"""How long a session of the pods waits for the first list of jobs, which decides which pods are kept."""

JOBS_PAUSE = 0.05
SESSION_PAUSE = 0.1
"""Seconds from one session to the next."""

REFUSALS = 3
"""After so many watches in a row that the API server refused, everything is listed again: a version that it cannot read
gets a 500, as an overload does."""


def namespace_sources(api: ApiServerClient, store: NamespaceStore, clock: Clock) -> list[Source]:
    """The two sources that together show every job of the store's namespace that is not reported."""
    namespace = store.place
    jobs = _Kind(
        name="jobs",
        namespace=namespace,
        path=collection("apis/batch/v1", namespace, "jobs"),
        selector=f"manager=runner,!{REPORTED},!{SET_ASIDE}",
        read_page=msgspec.json.Decoder(JobPage).decode,
        read=msgspec.json.Decoder(JobObject).decode,
        relevant=store.relevant_jobs,
        replace=store.replace_jobs,
        update=store.update_job,
        remove=store.remove_job,
        reach=store.reach_jobs,
        ready=lambda: True,
        missed=lambda: False,
    )
    pods = _Kind(
        name="pods",
        namespace=namespace,
        path=collection("api/v1", namespace, "pods"),
        selector=pod_selector(),
        read_page=msgspec.json.Decoder(PodPage).decode,
        read=msgspec.json.Decoder(PodObject).decode,
        relevant=store.relevant_pods,
        replace=store.replace_pods,
        update=store.update_pod,
        remove=store.remove_pod,
        reach=store.reach_pods,
        ready=lambda: store.jobs_listed,
        missed=lambda: store.pods_missed,
    )
    return [ListAndWatch(kind, f"{store.driver}/{namespace} {kind.name}", store, api, clock) for kind in (jobs, pods)]


class _Kind(msgspec.Struct, frozen=True, kw_only=True):
    """What distinguishes the two sources: what they ask for, and what the store does with it."""

    name: str
    namespace: str
    path: str
    selector: str
    read_page: Callable[[bytes], Any]
    read: Callable[[msgspec.Raw], Any]
    relevant: Callable[[Iterable[Any]], list[Any]]
    replace: Callable[[Iterable[Any], str], None]
    update: Callable[[Any], None]
    remove: Callable[[Any], None]
    reach: Callable[[str], None]
    ready: Callable[[], bool]
    missed: Callable[[], bool]


class ListAndWatch:
    """One kind of object in one namespace. See Source."""

    pause = SESSION_PAUSE

    def __init__(self, kind: _Kind, name: str, store: NamespaceStore, api: ApiServerClient, clock: Clock) -> None:
        self.name = name
        self._kind = kind
        self._store = store
        self._api = api
        self._clock = clock
        self._view: View | None = None
        self._version = ""  # up to which everything was seen; empty if a list is needed
        self._list_at = 0.0
        self._refusals = 0

    def __repr__(self) -> str:
        return f"ListAndWatch({self.name}, version={self._version or 'none'})"

    def follow(self, view: View) -> None:
        """See Source.follow."""
        if view is not self._view:
            self._view, self._version = view, ""
        self._store.attach(view)
        self._wait_for_jobs()
        if not self._version or self._clock.monotonic() >= self._list_at or self._kind.missed():
            self._list()
        self._watch()
        self._refusals = 0
        view.alive()

    def _wait_for_jobs(self) -> None:
        deadline = Deadline.after(JOBS_SECONDS, self._clock)
        while not self._kind.ready():
            if deadline.left <= 0:
                raise Unavailable(f"{self.name}: the jobs have not been listed yet; see the errors of that source")
            self._clock.sleep(JOBS_PAUSE)

    def _list(self) -> None:
        """List all pages. If that fails while the last version is still good, the next session continues the watch."""
        self._list_at = self._clock.monotonic() + RESYNC_SECONDS
        kept: list[Any] = []
        page = self._page("")
        version = page.metadata.resource_version
        kept += self._kind.relevant(page.items or ())
        while next_page := page.metadata.next_page:
            page = self._page(next_page)
            kept += self._kind.relevant(page.items or ())
        self._kind.replace(kept, version)
        self._version = version

    def _page(self, next_page: str) -> Any:
        query = {"labelSelector": self._kind.selector, "limit": PAGE, **({"continue": next_page} if next_page else {})}
        response = self._api.call("GET", self._kind.path, Deadline.after(PAGE_SECONDS, self._clock), query=query)
        self._check(response, "list")
        try:
            return self._kind.read_page(response.body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Unavailable(f"{self.name}: a list cannot be read ({error}); it is listed again") from error

    def _watch(self) -> None:
        query = {
            "labelSelector": self._kind.selector,
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        deadline = Deadline.after(WATCH_DEADLINE, self._clock)
        self._check(self._api.watch(self._kind.path, query, deadline, self._receive, SILENCE_SECONDS), "watch")

    def _receive(self, line: bytes) -> None:
        """One event. The version advances once the event has been applied."""
        try:
            event = _EVENT.decode(line)
            if event.type == "ERROR":
                self._fail(_STATUS.decode(event.object))
            if event.type == "BOOKMARK":
                self._bookmark(_BOOKMARK.decode(event.object).metadata.resource_version)
                return
            changed = self._kind.read(event.object)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self._version = ""
            raise Unavailable(f"{self.name}: an event cannot be read ({error}); everything is listed again") from error
        (self._kind.remove if event.type == "DELETED" else self._kind.update)(changed)
        self._version = changed.metadata.resource_version

    def _bookmark(self, version: str) -> None:
        self._kind.reach(version)
        self._version = version
        if self._view is not None:
            self._view.alive()

    def _fail(self, status: _WatchStatus) -> None:
        """An error in the stream ends the watch. It has the same codes as an HTTP status."""
        self._check(ApiServerResponse(status.code, msgspec.json.encode(status)), "watch")
        raise Unavailable(f"{self.name}: the API server ended the watch: {status.message}; it is watched again")

    def _check(self, response: ApiServerResponse, action: str) -> None:
        """Raises the error that a status other than 2xx means."""
        if 200 <= response.status < 300:
            return
        if action == "watch" and response.status != 429:
            self._refusals += 1
            if response.status == 410 or self._refusals >= REFUSALS:
                self._version = ""
        if response.status == 410:
            raise Unavailable(f"{self.name}: {response.message}; everything is listed again")
        raise_for_status(response, f"{action} {self._kind.name} in namespace {self._kind.namespace}")
        raise Unavailable(f"{self.name}: {response.message}; check the address in the kubeconfig")


class _WatchEvent(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


class _Bookmark(msgspec.Struct, frozen=True):
    """The object of a bookmark has a version and nothing else."""

    metadata: Metadata


class _WatchStatus(NullIsAbsent, frozen=True):
    """The object of an error."""

    code: Nullable[int] = 0
    message: Nullable[str] = ""
    reason: Nullable[str] = ""


_EVENT = msgspec.json.Decoder(_WatchEvent)
_BOOKMARK = msgspec.json.Decoder(_Bookmark)
_STATUS = msgspec.json.Decoder(_WatchStatus)
