"""A simulated Kubernetes API server, at the level of the bytes that are sent to it.

Real servers' behaviour is from tests on Kubernetes 1.34: selectors, preconditions (409 and 422), pages that expire,
watches with bookmarks, DELETED with the old object when a label takes it out of a selector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from runner.drivers.http.client import HttpResponse
from tests.simulation.kubernetes.store import Key, Object, Store, merged, patched, selector
from tests.simulation.scheduler import EPOCH
from tests.simulation.seams.network import Network, Request

_KINDS = {
    ("apis/batch/v1", "jobs"): ("batch/v1", "Job"),
    ("api/v1", "pods"): ("v1", "Pod"),
    ("api/v1", "secrets"): ("v1", "Secret"),
    ("api/v1", "events"): ("v1", "Event"),
    ("apis/coordination.k8s.io/v1", "leases"): ("coordination.k8s.io/v1", "Lease"),
}
_TYPES = {plural: kind for (_, plural), kind in _KINDS.items()}
JSON_PATCH, MERGE_PATCH = "application/json-patch+json", "application/merge-patch+json"


class Refused(Exception):
    """An error status."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


class Target(msgspec.Struct, frozen=True):
    """What a request is about."""

    plural: str
    namespace: str
    name: str
    subresource: str
    query: Mapping[str, str]

    @property
    def key(self) -> Key:
        return (self.plural, self.namespace, self.name)


class ApiServer:
    """Serves the objects of a store. `logs` gives the log of a container."""

    def __init__(self, network: Network, namespaces: tuple[str, ...]) -> None:
        self.store = Store()
        self.network = network
        self.logs: Callable[[Object, str], str] = lambda _pod, _container: ""
        self.admit: Callable[[Key, Object], None] = lambda _key, _object: None
        """Called for each create; raises Refused."""
        self.watched: Callable[[str, Object], None] = lambda _sender, _object: None
        """Called for each Job that a client is shown."""
        self._namespaces = namespaces
        self._uids = 0

    def timestamp(self) -> str:
        """Now, as Kubernetes writes it: whole seconds."""
        return datetime.fromtimestamp(int(EPOCH + self.network.scheduler.now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def create(self, key: Key, body: Object) -> Object:
        """Store a new object, with what the server adds to it."""
        self._uids += 1
        random = self.network.scheduler.random.getrandbits(32)
        uid = f"{random:08x}-0000-4000-8000-{self._uids:012d}"
        metadata = {"labels": {}, "annotations": {}, **body["metadata"], "uid": uid, "namespace": key[1]}
        metadata["creationTimestamp"] = self.timestamp()
        return self.store.put(key, {"status": {}, **body, "metadata": metadata})

    def handle(self, request: Request) -> HttpResponse:
        """See Server.handle."""
        try:
            target = self._target(request)
            body = msgspec.json.decode(request.body) if request.body else None
            return self._respond(request, target, body)
        except Refused as error:
            return _status(error)

    def open(self, request: Request, line: Any) -> HttpResponse | None:
        """See Server.open: a watch."""
        from tests.simulation.kubernetes.watch import Watch

        try:
            target = self._target(request)
            if target.query.get("watch") not in ("true", "1"):
                raise Refused(400, "BadRequest", "not a watch")
            Watch(self, target, line, request.sender).begin()
        except Refused as error:
            return _status(error)
        return None

    def _target(self, request: Request) -> Target:
        parts = urlsplit(request.path)
        segments = [unquote(part) for part in parts.path.split("/")[1:]]
        if "namespaces" not in segments:
            raise Refused(404, "NotFound", f"the server could not find {parts.path}")
        at = segments.index("namespaces")
        namespace, plural, name, subresource = (*segments[at + 1 :], "", "", "")[:4]
        if ("/".join(segments[:at]), plural) not in _KINDS:
            raise Refused(404, "NotFound", f"the server could not find {parts.path}")
        return Target(plural, namespace, name, subresource, dict(parse_qsl(parts.query)))

    def _respond(self, request: Request, target: Target, body: Any) -> HttpResponse:
        if request.method == "GET":
            return self._read(request, target)
        if request.method == "POST":
            return self._written(request, self._post(target, body), 201)
        known = self.store.get(target.key)
        if known is None:
            raise Refused(404, "NotFound", f'{target.plural} "{target.name}" not found')
        if request.method == "PATCH":
            return self._written(request, self._patch(request, target, known, body))
        if request.method == "PUT":
            self._check(known, body["metadata"], must=target.plural == "leases")
            return self._written(
                request,
                self.store.put(
                    target.key,
                    {**body, "metadata": {**known["metadata"], **body["metadata"], "uid": known["metadata"]["uid"]}},
                ),
            )
        if request.method == "DELETE":
            self._check(known, (body or {}).get("preconditions", {}))
            self.delete(target.key)
            return self._written(request, known)
        raise Refused(405, "MethodNotAllowed", request.method)

    def delete(self, key: Key) -> None:
        """Delete an object. A pod is only marked: its node and the Job controller release it."""
        known = self.store.get(key)
        if known is None:
            return
        if key[0] != "pods":
            self.store.remove(key)
        elif "deletionTimestamp" not in known["metadata"]:
            metadata = {**known["metadata"], "deletionTimestamp": self.timestamp()}
            self.store.put(key, {**known, "metadata": metadata})

    def _read(self, request: Request, target: Target) -> HttpResponse:
        if not target.name:
            return self._list(request, target)
        known = self.store.get(target.key)
        if known is None:
            raise Refused(404, "NotFound", f'{target.plural} "{target.name}" not found')
        if target.subresource == "log":
            return HttpResponse(200, self.logs(known, target.query.get("container", "")).encode())
        if target.plural == "jobs":
            self.watched(request.sender, known)
        return HttpResponse(200, msgspec.json.encode(known))

    def _post(self, target: Target, body: Object) -> Object:
        name = body["metadata"]["name"]
        key = (target.plural, target.namespace, name)
        if target.namespace not in self._namespaces:
            raise Refused(404, "NotFound", f'namespaces "{target.namespace}" not found')
        if self.store.get(key) is not None:
            raise Refused(409, "AlreadyExists", f'{target.plural} "{name}" already exists')
        self.admit(key, body)
        return self.create(key, body)

    def _patch(self, request: Request, target: Target, known: Object, body: Any) -> Object:
        media = next((each.partition(": ")[2] for each in request.headers if each.startswith("Content-Type")), "")
        if media == JSON_PATCH:
            try:
                new = patched(known, body)
            except ValueError as error:
                raise Refused(422, "Invalid", f"the server rejected our request: {error}") from error
        elif media == MERGE_PATCH:
            self._check(known, body.get("metadata", {}))
            new = merged(known, body)
        else:
            raise Refused(415, "UnsupportedMediaType", media)
        if new["metadata"]["uid"] != known["metadata"]["uid"]:
            raise Refused(422, "Invalid", "metadata.uid: field is immutable")
        return self.store.put(target.key, new)

    def _check(self, known: Object, given: Mapping[str, str], *, must: bool = False) -> None:
        """The preconditions that a write carries."""
        version, uid = given.get("resourceVersion", ""), given.get("uid", "")
        if uid and uid != known["metadata"]["uid"]:
            raise Refused(422, "Invalid", f"Precondition failed: UID in precondition: {uid}")
        if (must and not version) or (version and version != known["metadata"]["resourceVersion"]):
            raise Refused(409, "Conflict", "the object has been modified; please apply your changes to the latest")

    def _list(self, request: Request, target: Target) -> HttpResponse:
        query, store = target.query, self.store
        continued = query.get("continue", "")
        version = None
        if continued:
            text, _, after = continued.partition(":")
            version = int(text)
            if version < store.compacted or self.network.happens(self.network.weather.expired):
                raise Refused(410, "Expired", "The provided continue parameter is too old")
        elif query.get("resourceVersionMatch") == "Exact":
            version, after = int(query["resourceVersion"]), ""
        else:
            version, after = self._stale(query), ""
        items = [each for each in self.matching(target, version) if each["metadata"]["name"] > after]
        size = int(query.get("limit", "0")) or len(items)
        if self.network.happens(self.network.weather.short_pages):
            size = min(size, 2)
        page, metadata = items[:size], {"resourceVersion": str(store.version if version is None else version)}
        if len(items) > len(page) and page:
            metadata["continue"] = f"{metadata['resourceVersion']}:{page[-1]['metadata']['name']}"
        if target.plural == "jobs":
            for each in page:
                self.watched(request.sender, each)
        api, kind = _TYPES[target.plural]
        listed = {"apiVersion": api, "kind": f"{kind}List", "metadata": metadata, "items": page}
        now = datetime.fromtimestamp(EPOCH + self.network.scheduler.now, UTC)
        return msgspec.structs.replace(_json(200, listed), headers={"date": format_datetime(now, usegmt=True)})

    def _stale(self, query: Mapping[str, str]) -> int | None:
        """The version of a list: the present one, or an older one where the weather allows it.

        A list of one job's pods is always recent: it is the second read, which settles what a stale list has raised.
        """
        store, oldest = self.store, int(query.get("resourceVersion") or 0)
        if "job-name=" in query.get("labelSelector", "") or not self.network.happens(self.network.weather.stale):
            return None
        return max(store.version - self.network.scheduler.random.randrange(12), store.compacted, oldest)

    def matching(self, target: Target, version: int | None = None) -> list[Object]:
        """The objects that a request's selectors match."""
        matches = self.matcher(target.query)
        return [each for each in self.store.collection(target.plural, target.namespace, version) if matches(each)]

    def matcher(self, query: Mapping[str, str]) -> Callable[[Object], bool]:
        """Both selectors of a request."""
        try:
            labels = selector(query.get("labelSelector", ""))
        except ValueError as error:
            raise Refused(400, "BadRequest", str(error)) from error
        fields = [term.split("=", 1) for term in query.get("fieldSelector", "").split(",") if term]
        return lambda item: labels(item) and all(_field(item, path) == value for path, value in fields)

    def _written(self, request: Request, new: Object, status: int = 200) -> HttpResponse:
        accept = next((each for each in request.headers if each.startswith("Accept")), "")
        if "as=PartialObjectMetadata" not in accept:
            return _json(status, new)
        return _json(
            status, {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": new["metadata"]}
        )


def _field(item: Object, path: str) -> str:
    value: Any = item
    for part in path.replace("==", "=").split("."):
        value = value.get(part, "") if isinstance(value, dict) else ""
    return str(value)


def _status(error: Refused) -> HttpResponse:
    return _json(error.status, status_object(error))


def status_object(error: Refused) -> Object:
    """The Status that says so."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": error.message,
        "reason": error.reason,
        "code": error.status,
    }


def _json(status: int, value: Any) -> HttpResponse:
    return HttpResponse(status, msgspec.json.encode(value))
