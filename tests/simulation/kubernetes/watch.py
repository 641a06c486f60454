"""One watch of the simulated API server."""

from __future__ import annotations

import msgspec

from tests.simulation.kubernetes.api_server import ApiServer, Refused, Target, status_object
from tests.simulation.kubernetes.store import Change, Object
from tests.simulation.seams.network import Line

_BOOKMARK_BEFORE_END = 2.0
"""Seconds; a real server sends one so long before the end of a watch with `timeoutSeconds`."""


class Watch:
    """Sends each change after a version, until its time is over."""

    def __init__(self, server: ApiServer, target: Target, line: Line, sender: str) -> None:
        self._server = server
        self._target = target
        self._line = line
        self._sender = sender
        self._matches = server.matcher(target.query)
        self._since = int(target.query.get("resourceVersion") or 0)

    def begin(self) -> None:
        """Send what the client has missed, then follow."""
        store, scheduler = self._server.store, self._server.network.scheduler
        if self._since and self._since < store.compacted:
            self._gone()
            return
        if self._since:
            for change in store.since(self._since, self._target.plural, self._target.namespace):
                self._changed(change)
        else:
            for each in self._server.matching(self._target):
                self._send("ADDED", each)
        store.listeners.append(self._changed)
        seconds = float(self._target.query.get("timeoutSeconds") or 1800.0 + 1800 * scheduler.random.random())
        scheduler.after(max(seconds - _BOOKMARK_BEFORE_END, 0), "a bookmark is due", self._bookmark)
        scheduler.after(seconds, "a watch ends", self._end)

    def _changed(self, change: Change) -> None:
        if change.key[:2] != (self._target.plural, self._target.namespace):
            return
        if self._line.closed:
            self._forget()
            return
        before = change.old is not None and self._matches(change.old)
        now = change.new is not None and self._matches(change.new)
        if now and change.new is not None:
            self._send("MODIFIED" if before else "ADDED", change.new)
        elif before and change.old is not None:  # with the old object and the new version
            metadata = {**change.old["metadata"], "resourceVersion": str(change.version)}
            self._send("DELETED", {**change.old, "metadata": metadata})

    def _send(self, kind: str, item: Object) -> None:
        if self._target.plural == "jobs":
            self._server.watched(self._sender, item)
        self._line.send(msgspec.json.encode({"type": kind, "object": item}))

    def _bookmark(self) -> None:
        if self._target.query.get("allowWatchBookmarks") in ("true", "1") and not self._line.closed:
            version = {"resourceVersion": str(self._server.store.version), "creationTimestamp": None}
            kind = "Job" if self._target.plural == "jobs" else "Pod"
            self._send_bookmark({"kind": kind, "metadata": version, "spec": {}, "status": {}})

    def _send_bookmark(self, item: Object) -> None:
        self._line.send(msgspec.json.encode({"type": "BOOKMARK", "object": item}))

    def _gone(self) -> None:
        error = Refused(410, "Expired", f"too old resource version: {self._since} ({self._server.store.compacted})")
        self._line.send(msgspec.json.encode({"type": "ERROR", "object": status_object(error)}))
        self._line.end()

    def _end(self) -> None:
        self._forget()
        if not self._line.closed:
            self._line.end()

    def _forget(self) -> None:
        if self._changed in self._server.store.listeners:
            self._server.store.listeners.remove(self._changed)
