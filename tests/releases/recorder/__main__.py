"""`python -P -m recorder DIRECTORY`: see the package."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from recorder import frames, kubernetes, local, nomad, release, states

from tests.conftest import make_key_pair


def main(directory: Path) -> None:
    make_config = _configurations()
    directory.mkdir(parents=True, exist_ok=True)
    _save(directory / "requests.json", {"states": _requests()})
    _save(directory / "frames.json", frames.record())
    _save(directory / "kubernetes.json", _filled(kubernetes.record(make_config)))
    _save(directory / "nomad.json", _filled(nomad.record(make_config)))
    _save(directory / "local.json", _filled(local.record(make_config)))


def _configurations() -> Callable[..., Any]:
    """Makes configurations of the release, with keys that nothing else uses."""
    document = {
        "runner": {"id": "runner-1", "privateKey": make_key_pair().private},
        "deepsource": {"host": "https://atlas.example", "publicKey": make_key_pair().public},
        "driver": "memory",
    }
    return lambda **sections: release.parse(yaml.safe_dump({**document, **sections}), {})


def _requests() -> dict[str, Any]:
    """By state: the request of the job, the request that cancels it, and what the job reaches before that."""
    every = (*states.STATES, states.HALF_MADE, nomad.DELETED, nomad.HALF_CANCELLED)
    return {
        state.name: {
            "request_type": state.request_type,
            "reaches": state.reaches,
            "document": states.document(state),
            "cancellation": states.cancellation_document(state) if state.request_type == "analysis_run" else None,
        }
        for state in every
    }


def _filled(recorded: dict[str, Any]) -> dict[str, Any]:
    """The recorded content with a placeholder in braces for each text that is specific to the cluster."""
    placeholders = recorded.pop("placeholders")
    text = json.dumps(recorded)
    for found, placeholder in placeholders.items():
        text = text.replace(found, placeholder)
    filled: dict[str, Any] = json.loads(text)
    return filled


def _save(path: Path, content: dict[str, Any]) -> None:
    """Write the content as JSON with one line for each state, frame or file."""
    with path.open("w") as file:
        file.write("{")
        for n, (part, members) in enumerate(sorted(content.items())):
            lines = (f"{json.dumps(name)}: {json.dumps(members[name])}" for name in sorted(members))
            file.write(f"{',' if n else ''}\n{json.dumps(part)}: {{\n" + ",\n".join(lines) + "\n}")
        file.write("\n}\n")
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
