"""`make audit`: the pinned packages against the databases of known vulnerabilities, by pip-audit.

pip-audit ends with 0 for a package that its database does not know. This says how many were really audited.
Exit codes: 0 none is known; 1 vulnerabilities; 3 not all packages could be audited.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TOOL = "pip-audit==2.10.1"
SECONDS = 300
CLEAN, VULNERABLE, UNKNOWN = 0, 1, 3


def main() -> int:
    """Audit by PyPI's data; if that is not to be had, by OSV's."""
    why = ""
    for service in ("pypi", "osv"):
        document, error = _audited(service)
        if document is None:
            why += f"\n  {service}: {error}"
            continue
        code, text = verdict(document["dependencies"])
        if code != UNKNOWN:
            print(f"{text} (by {service})")
            return code
        why += f"\n  {service}: {text}"
    print(f"NOT AUDITED: the data cannot be had from here. Run this where the network can be reached.{why}")
    return UNKNOWN


def verdict(dependencies: list[dict[str, Any]]) -> tuple[int, str]:
    """The exit code, and one sentence or a line for each vulnerability."""
    skipped = [each["name"] for each in dependencies if "skip_reason" in each]
    known = [
        f"{each['name']} {each['version']}: {found['id']}, fixed in {', '.join(found['fix_versions']) or 'no version'}"
        for each in dependencies
        for found in each.get("vulns", ())
    ]
    if known:
        return VULNERABLE, "\n".join(known)
    if skipped or not dependencies:
        return UNKNOWN, f"{len(skipped)} of {len(dependencies)} packages could not be audited"
    return CLEAN, f"no vulnerability is known in {len(dependencies)} packages"


def _audited(service: str) -> tuple[dict[str, Any] | None, str]:
    command = [str(Path(sys.executable).with_name("uvx")), TOOL.replace("==", "@"), "--vulnerability-service", service]
    for name in ("requirements.txt", "requirements-telemetry.txt"):
        command += ["--requirement", str(ROOT / name)]
    command += ["--disable-pip", "--require-hashes"]
    command += ["--format", "json", "--progress-spinner", "off"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        found: dict[str, Any] = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return None, f"no answer within {SECONDS} s"
    except ValueError:
        return None, (done.stderr.strip().splitlines() or ["no answer"])[-1][:200]
    return found, ""


if __name__ == "__main__":
    sys.exit(main())
