"""One Orchestrator under test: its configuration, and its processes, which a proof may kill and start again.

edge (gunicorn) ─▶ sidecar (serve) ─▶ cluster        tracker 0, tracker 1, ... (track)
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import urllib3
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.harness.processes import MARK, free_port, kill_marked, marked
from tests.prove.places import KubernetesPlace, NomadPlace

START_SECONDS = 60.0
REGISTRY = "localhost/prove"
"""Where images are that no node ever runs."""


@cache
def keys() -> tuple[str, str]:
    """One RSA key pair for a whole run: private and public, in PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


class Child:
    """One process of the Orchestrator, with all its descendants. `start` starts it again."""

    def __init__(self, code: Path, arguments: tuple[str, ...], log: Path, environment: Mapping[str, str]) -> None:
        self._code = code
        self._command = (sys.executable, *arguments)
        self.log = log
        self.mark = uuid.uuid4().hex
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ORCHESTRATOR_")}
        self._environment = {**inherited, "PYTHONPATH": str(code), **environment, MARK: self.mark}
        self._child: subprocess.Popen[bytes] | None = None
        self.exits = 0
        """How often it has ended although nobody killed it."""
        self.start()

    @property
    def pid(self) -> int:
        return self._child.pid if self._child else 0

    def start(self) -> None:
        with self.log.open("ab") as sink:
            self._child = subprocess.Popen(
                self._command, cwd=self._code, env=self._environment, stdout=sink, stderr=sink
            )

    def runs(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def kill(self) -> None:
        """kill -9 of it and its descendants."""
        kill_marked(self.mark)
        if self._child is not None:
            self._child.wait(10)

    def stop(self) -> bool:
        """SIGTERM, and SIGKILL for what is left after 10 s. Whether it ended by itself."""
        if self.runs() and self._child is not None:
            self._child.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(10)
        ended = not self.runs()
        self.kill()
        return ended

    def memory_mib(self) -> float:
        """Proportional set size of it and its descendants (proc(5), smaps_rollup)."""
        total = 0
        for pid in marked(self.mark):
            with suppress(OSError):
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return total / 1024

    def peak_mib(self) -> float:
        """The largest resident set of any of its processes so far (proc(5), status, VmHWM)."""
        peaks = [0]
        for pid in marked(self.mark):
            with suppress(OSError):
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                peaks += [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
        return max(peaks) / 1024

    def cpu_seconds(self) -> float:
        """User and system time so far of it and its descendants."""
        ticks = 0
        for pid in marked(self.mark):
            with suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


class Installation:
    """Writes the configuration and starts the processes. `url` is where it accepts requests."""

    def __init__(self, code: Path, work: Path, sections: Mapping[str, Any], *, trackers: int = 1) -> None:
        self._code = code
        self._work = work / f"installation-{uuid.uuid4().hex[:6]}"
        self._work.mkdir()
        self._port = free_port()
        self._sections = _known(code, self._work, sections)
        self.url = f"http://127.0.0.1:{self._port}"
        main = self._write("main")
        sidecar = ("serve", *(("--no-tracker",) if _separable(code) else ()), "--config", str(main))
        self.sidecar = self._child("sidecar", "-m", "runner", *sidecar)
        environment = {
            "ORCHESTRATOR_HTTP": json.dumps({"bind": f"127.0.0.1:{self._port}", "workers": 1, "threads": 32}),
            "ORCHESTRATOR_SOCKET": str(self._work / "main.sock"),
            "ORCHESTRATOR_LOG_LEVEL": "WARNING",
        }
        gunicorn = ("-m", "gunicorn", "-c", "gunicorn.conf.py", "functions.bundle:app")
        self.edge = self._child("edge", *gunicorn, **environment)
        self.trackers: list[Child] = []
        for _ in range(trackers):
            self.add_tracker()
        try:
            self.await_ready()
        except BaseException:
            self.close()
            raise

    @property
    def children(self) -> tuple[Child, ...]:
        return (self.sidecar, self.edge, *self.trackers)

    def add_tracker(self, **changed: Any) -> Child:
        """Start one more tracker, which has no file in common with the others; so it could be on another host."""
        number = len(self.trackers)
        path = self._write(f"tracker-{number}", **changed)
        child = self._child(f"tracker-{number}", "-m", "runner", "track", "--config", str(path))
        self.trackers.append(child)
        return child

    def await_ready(self) -> None:
        """Wait until requests are accepted."""
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            with suppress(urllib3.exceptions.HTTPError):
                if urllib3.request("GET", f"{self.url}/readyz", timeout=2, retries=False).status == 200:
                    return
            time.sleep(0.1)
        said = self.sidecar.log.read_text()[-1000:] + self.edge.log.read_text()[-1000:]
        raise TimeoutError(f"not ready within {START_SECONDS} s: {said}")

    def replica(self, work: Path) -> Installation:
        """Start another one with the same configuration, which shares no file with this one."""
        return Installation(self._code, work, self._sections, trackers=len(self.trackers))

    def restart_ended(self) -> None:
        """Start what has ended by itself, as a supervisor would."""
        for child in self.children:
            if not child.runs():
                child.exits += 1
                child.start()

    def close(self) -> None:
        for child in reversed(self.children):
            child.stop()

    def _child(self, name: str, *arguments: str, **environment: str) -> Child:
        return Child(self._code, arguments, self._work / f"{name}.log", environment)

    def _write(self, name: str, **changed: Any) -> Path:
        path = self._work / f"{name}.yaml"
        path.touch(0o600)
        socket = {"socket": str(self._work / f"{name}.sock")}
        document = {**self._sections, **changed}
        path.write_text(yaml.safe_dump({**document, "sidecar": {**document.get("sidecar", {}), **socket}}))
        return path


def _separable(code: Path) -> bool:
    """Whether `serve` starts a tracker of its own, unless it gets `--no-tracker`."""
    return b"--no-tracker" in _runner(code, "serve", "--help")[1]


def _known(code: Path, work: Path, sections: Mapping[str, Any]) -> dict[str, Any]:
    """The sections without the limits that this version of the code does not know."""
    limits = dict(sections.get("limits", {}))
    for _ in range(len(limits) + 1):
        document = {**sections, "limits": limits}
        path = work / "check.yaml"
        path.touch(0o600)
        path.write_text(yaml.safe_dump(document))
        status, said = _runner(code, "check-config", "--config", str(path))
        if status == 0:
            return document
        refused = [name for name in limits if name.encode() in said]
        if not refused:
            raise RuntimeError(f"the configuration is refused: {said.decode()}")
        for name in refused:
            del limits[name]
    raise RuntimeError("the configuration is refused")


def _runner(code: Path, *arguments: str) -> tuple[int, bytes]:
    command = (sys.executable, "-m", "runner", *arguments)
    environment = {**os.environ, "PYTHONPATH": str(code)}
    done = subprocess.run(command, cwd=code, env=environment, capture_output=True, check=False)
    return done.returncode, done.stdout + done.stderr


def base_sections(atlas_url: str) -> dict[str, Any]:
    """What every installation has."""
    private, public = keys()
    return {
        "runner": {"id": "prove", "privateKey": private},
        "deepsource": {"host": atlas_url, "publicKey": public},
        "http": {"allowUnauthenticated": True},
        "sidecar": {"workers": 1, "threads": 32, "queue": 256},
    }


def kubernetes_sections(
    place: KubernetesPlace, pools: Mapping[str, Any], server: str = "", *, images: str = REGISTRY
) -> dict[str, Any]:
    """Jobs on Kubernetes, in the given pools; the first one is the default. `images` is where the images are."""
    registry = {"registryUrl": images, "pullPolicy": "Never"}
    return {
        "driver": "kubernetes",
        "kubernetes": {
            "namespace": place.name,
            "kubeconfig": str(place.kubeconfig(server)),
            "imageRegistry": registry,
        },
        "pools": dict(pools),
        "defaultPool": next(iter(pools)),
    }


def nomad_sections(
    place: NomadPlace, images: Mapping[str, Any], server: str = "", *, task_driver: str = "raw_exec"
) -> dict[str, Any]:
    """Jobs on Nomad. `server` may be the URL of a proxy, in plain HTTP."""
    nomad = {
        "address": server or place.access.url,
        **({} if server else {"caFile": str(place.access.ca)}),
        "tokenFile": str(place.token_file),
        "namespace": place.name,
        "taskDriver": task_driver,
        "images": dict(images),
        "coreMhz": 100,
    }
    return {"driver": "nomad", "nomad": nomad, "pools": {"nomad": {"driver": "nomad"}}, "defaultPool": "nomad"}
