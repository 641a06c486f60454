"""The load generator for HTTP: wrk with a script that sends the sample analysis, as a new run or one of a few runs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.bench.stack import ROOT

CONNECTIONS = 16

_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer {token}"
local before, after = [==[{before}]==], [==[{after}]==]
local sent, runs, head, tail = 0, {runs}, nil, nil
local seed = string.format("%08x", os.time() % 4294967296)
request = function()
  if not head then  -- the requests differ only in the run's id and have one length, so that generating them is cheap
    local whole = wrk.format(nil, nil, nil, before .. "@@@@@@@@-@@@@@@@@" .. after)
    local first, last = whole:find("@@@@@@@@-@@@@@@@@", 1, true)
    head, tail = whole:sub(1, first - 1) .. seed .. "-", whole:sub(last + 1)
  end
  sent = sent + 1
  return head .. string.format("%08d", runs > 0 and sent % runs or sent) .. tail
end
done = function(summary, latency, requests)
  io.write(string.format("BENCH %d %d %d\\n", summary.requests, summary.duration,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout))
end
"""


def require_wrk() -> None:
    if shutil.which("wrk") is None:
        sys.exit("the benchmark needs the load generator wrk, which is not installed: install the package `wrk`")


def requests_per_second(
    url: str,
    seconds: int,
    work: Path,
    *,
    runs: int = 0,
    connections: int = CONNECTIONS,
    pool: str = "",
    token: str = "",
) -> float:
    """Run wrk against `url`. `runs` bounds the number of different runs; 0 makes each request a new run.

    Raises RuntimeError unless every answer is a success.
    """
    script = work / "load.lua"
    script.write_text(_script(runs, pool, token))
    command = ("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "15s", "-s", str(script), url)
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    match = re.search(r"^BENCH (\d+) (\d+) (\d+)$", printed, re.MULTILINE)
    if not match or int(match[3]):
        raise RuntimeError(f"the load failed:\n{printed}")
    return int(match[1]) / (int(match[2]) / 1e6)


def _script(runs: int, pool: str, token: str) -> str:
    sample = json.loads((ROOT / "examples" / "analysis.json").read_text())
    meta = {"resource_pool": pool} if pool else sample["_meta"]
    before, after = json.dumps({**sample, "run_id": "@", "_meta": meta}).split("@", 1)
    values = {"before": before, "after": after, "runs": str(runs), "token": token}
    return re.sub(r"\{(before|after|runs|token)\}", lambda match: values[match[1]], _SCRIPT)
