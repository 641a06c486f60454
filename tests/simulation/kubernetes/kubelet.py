"""The scheduler, the nodes and the node controller of a simulated Kubernetes: each pod meets its fate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.simulation.fates import Fate, drawn
from tests.simulation.history import History
from tests.simulation.kubernetes.api_server import ApiServer
from tests.simulation.kubernetes.store import Change, Key, Object

NODE_LOST_SECONDS = 40.0
"""After so long without its node, a pod is marked and deleted."""


class Kubelet:
    """Starts a machine for each new pod."""

    def __init__(self, server: ApiServer, history: History, allowed: frozenset[str] | None = None) -> None:
        self._server = server
        self._history = history
        self._allowed = allowed
        server.store.listeners.append(self._changed)
        server.logs = lambda pod, container: f"the log of {container} in {pod['metadata']['name']}\n"

    def _changed(self, change: Change) -> None:
        if change.key[0] == "pods" and change.old is None and change.new is not None:
            fate = drawn(self._server.network.scheduler.random, self._allowed)
            PodMachine(self._server, self._history, change.key, change.new, fate).begin()


class PodMachine:
    """One pod, from its creation to its end. Each step of it is a callback, and checks that the pod is still there."""

    def __init__(self, server: ApiServer, history: History, key: Key, pod: Object, fate: Fate) -> None:
        self._server = server
        self._store = server.store
        self._scheduler = server.network.scheduler
        self._history = history
        self._key = key
        self._uid = pod["metadata"]["uid"]
        owner = pod["metadata"]["ownerReferences"][0]
        self._job, self._job_uid = owner["name"], owner["uid"]
        self._fate = fate
        self._states: dict[str, dict[str, Any]] = {}
        self._init = [each["name"] for each in pod["spec"].get("initContainers", ())]
        self._main = [each["name"] for each in pod["spec"]["containers"]]
        self._silent = False
        self._killed = False
        self._ended = False

    def begin(self) -> None:
        self._store.listeners.append(self._watch)
        self._step(self._fate.schedule, "is scheduled", self._schedule)

    def _pod(self) -> Object | None:
        pod = self._store.get(self._key)
        return pod if pod is not None and pod["metadata"]["uid"] == self._uid else None

    def _step(self, seconds: float, what: str, step: Callable[[], object], *, dying: bool = False) -> None:
        def checked() -> None:
            if self._pod() is not None and not self._silent and not self._ended and (dying or not self._killed):
                step()

        self._scheduler.after(seconds, f"{self._key[2]} {what}", checked)

    def _record(self, what: str, detail: str) -> None:
        self._history.record("kubernetes", self._key[1], self._job, self._job_uid, what, detail)

    def _watch(self, change: Change) -> None:
        """The kubelet sees that its pod was deleted."""
        if change.key != self._key:
            return
        if change.new is None:
            self._ended = True
            self._store.listeners.remove(self._watch)
        elif "deletionTimestamp" in change.new["metadata"] and not self._killed:
            self._killed = True
            self._step(0.05 + self._scheduler.random.random() * 2, "is killed", self._kill, dying=True)

    def _put(self, change: Object) -> None:
        pod = self._pod()
        assert pod is not None
        statuses = {
            "initContainerStatuses": [
                {"name": each, "state": self._states[each]} for each in self._init if each in self._states
            ],
            "containerStatuses": [
                {"name": each, "state": self._states[each]} for each in self._main if each in self._states
            ],
        }
        self._store.put(self._key, {**pod, "status": {**pod["status"], **statuses, **change}})

    def _conditions(self, added: Object) -> Object:
        pod = self._pod()
        known = pod["status"].get("conditions", ()) if pod else ()
        return {"conditions": [*(each for each in known if each["type"] != added["type"]), added]}

    def _schedule(self) -> None:
        if self._fate.kind in ("never fits", "fits later"):
            text = "0/3 nodes are available: 3 Insufficient cpu."
            self._record(*self._fate.shortage)
            self._put(
                self._conditions(
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": text}
                )
            )
            if self._fate.kind == "fits later":
                self._step(self._fate.recover, "fits at last", self._bound)
        else:
            self._bound()

    def _bound(self) -> None:
        for each in self._init + self._main:
            self._states[each] = {"waiting": {"reason": "PodInitializing" if self._init else "ContainerCreating"}}
        self._put(self._conditions({"type": "PodScheduled", "status": "True"}))
        self._step(self._fate.prepare, "is prepared", self._prepare)

    def _prepare(self) -> None:
        first = (self._init + self._main)[0]
        missing = self._missing_secret()
        if missing:
            self._states[first] = {
                "waiting": {"reason": "CreateContainerConfigError", "message": f'secret "{missing}" not found'}
            }
            self._put({})
            self._step(1 + self._scheduler.random.random() * 2, "looks for its Secret", self._prepare)
        elif self._fate.kind == "image missing":
            self._record("happened", "image missing")
            self._pull(first, "manifest for coat:latest not found: manifest unknown")
        elif self._fate.kind == "registry recovers":
            self._record("delayed", "registry")
            self._pull(first, "received unexpected HTTP status: 503 Service Unavailable")
            self._step(self._fate.recover, "has its image at last", self._run_init)
        else:
            self._run_init()

    def _missing_secret(self) -> str:
        pod = self._pod()
        containers = [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]] if pod else []
        for each in (variable for container in containers for variable in container.get("env", ())):
            name = each.get("valueFrom", {}).get("secretKeyRef", {}).get("name")
            if name and self._store.get(("secrets", self._key[1], name)) is None:
                return str(name)
        return ""

    def _pull(self, container: str, message: str) -> None:
        reason = self._scheduler.random.choice(("ErrImagePull", "ImagePullBackOff"))
        self._states[container] = {"waiting": {"reason": reason, "message": message}}
        self._put({})

    def _run_init(self) -> None:
        if not self._init:
            self._run_main()
            return
        self._start(self._init[-1])
        code = 128 if self._fate.kind == "clone fails" else 0
        self._step(self._fate.clone, "has cloned", lambda: self._cloned(code))

    def _start(self, container: str) -> None:
        self._record("started", container)
        self._states[container] = {"running": {"startedAt": self._server.timestamp()}}
        self._put({"phase": "Running"} if container in self._main else {})

    def _end(self, container: str, code: int, reason: str = "", message: str = "") -> None:
        self._record("ended", f"{container} {code}")
        reason = reason or ("Completed" if code == 0 else "Error")
        self._states[container] = {
            "terminated": {
                "exitCode": code,
                "reason": reason,
                "message": message,
                "finishedAt": self._server.timestamp(),
            }
        }

    def _cloned(self, code: int) -> None:
        self._end(self._init[-1], code)
        if code:
            self._record("happened", "clone fails")
            self._put({"phase": "Failed"})
            self._ended = True
        else:
            self._put({})
            self._step(0.05, "starts its program", self._run_main)

    def _run_main(self) -> None:
        kind, main = self._fate.kind, self._main[-1]
        if kind == "program missing":
            self._record("happened", kind)
            self._end(main, 128, "StartError", "exec: /toolbox/marvin: no such file")
            self._finish("Failed")
            return
        if kind in ("lingers", "lingers after failure"):
            self._main.insert(0, "istio-proxy")
            self._states["istio-proxy"] = {"running": {}}
        self._start(main)
        if kind == "hangs":
            self._record("happened", kind)
        elif kind in ("evicted", "node lost", "pod deleted"):
            self._step(self._fate.run / 2, kind, self._disturb)
        else:
            self._step(self._fate.run, "ends", self._run_ended)

    def _run_ended(self) -> None:
        kind, main = self._fate.kind, self._main[-1]
        if self._fate.publishes:
            self._record("published", "")
            self._end(main, 0)
        elif kind == "disk full":
            self._record("happened", kind)
            self._end(main, 137)
            self._finish(
                "Failed",
                reason="Evicted",
                message="Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. ",
            )
            return
        else:
            self._record("happened", "analyzer fails" if kind == "lingers after failure" else kind)
            self._end(main, *((137, "OOMKilled") if kind == "out of memory" else (3, "")))
        if kind in ("lingers", "lingers after failure"):
            self._put({})
        else:
            self._finish("Succeeded" if self._fate.publishes else "Failed")

    def _finish(self, phase: str, **change: str) -> None:
        self._put({"phase": phase, **change})
        self._ended = True

    def _disturb(self) -> None:
        kind = self._fate.kind
        self._record("happened", kind)
        if kind == "node lost":
            self._silent = True
            self._scheduler.after(NODE_LOST_SECONDS, f"{self._key[2]} is given up", self._give_up)
            return
        if kind == "evicted":
            self._put(
                self._conditions(
                    {
                        "type": "DisruptionTarget",
                        "status": "True",
                        "reason": "EvictionByEvictionAPI",
                        "message": "Eviction API: evicting",
                    }
                )
            )
        self._server.delete(self._key)

    def _give_up(self) -> None:
        """The node controller."""
        if (pod := self._pod()) is not None:
            added = {
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "DeletionByTaintManager",
                "message": "Taint manager: deleting due to NoExecute taint",
            }
            self._store.put(self._key, {**pod, "status": {**pod["status"], **self._conditions(added)}})
            self._server.delete(self._key)

    def _kill(self) -> None:
        """End what runs. What never ran gets a placeholder."""
        for each, state in list(self._states.items()):
            if "running" in state:
                self._end(each, self._scheduler.random.choice((143, 137)))
            elif "waiting" in state:
                self._states[each] = self._placeholder()
        self._put({"phase": "Failed"})
        self._ended = True

    def _placeholder(self) -> dict[str, Any]:
        if self._scheduler.random.random() < 0.5:
            return {"waiting": {"reason": "PodInitializing"}}
        return {
            "terminated": {
                "exitCode": 137,
                "reason": "ContainerStatusUnknown",
                "message": "The container could not be located when the pod was deleted.",
            }
        }
