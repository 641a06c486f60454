"""The gRPC contract with one call and one message more, generated as `make stubs` generates it."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

from tests.harness.processes import ROOT

SERVICE = "orchestrator.v1.Tasks"
CALL = "  rpc Echo(EchoRun) returns (Accepted);\n"
MESSAGES = """
message EchoRun {
  string run_id = 1;
  Origin origin = 2;
  Speech speech = 3;
  string image = 4;
  int64 exit_code = 5;
  map<string, string> meta = 7 [json_name = "_meta"];
}

message Origin {
  string remote_url = 1;
}

message Speech {
  string words = 1;
}
"""


def generate(into: Path) -> None:
    """Add them to a copy of `proto/`, and generate from that."""
    shutil.copytree(ROOT / "proto", into / "proto", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    (into / "functions" / "grpc").mkdir(parents=True)
    source = into / "proto" / "orchestrator" / "v1" / "tasks.proto"
    before, opening, after = source.read_text().partition("service Tasks {\n")
    source.write_text(before + opening + CALL + after + MESSAGES)
    subprocess.run([sys.executable, str(into / "proto" / "stubs.py")], check=True)


def service(directory: Path) -> Any:
    """The service's descriptor, for a client. In a pool of its own: the default one has the contract as it is."""
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString((directory / "proto" / "compatibility.binpb").read_bytes()).file:
        pool.Add(file)
    return pool.FindServiceByName(SERVICE)


def install(directory: Path) -> None:
    """Have this process import the generated classes in place of ours."""
    name = "functions.grpc.tasks_pb2"
    found = importlib.util.spec_from_file_location(name, directory / "functions" / "grpc" / "tasks_pb2.py")
    assert found is not None
    assert found.loader is not None
    sys.modules[name] = importlib.util.module_from_spec(found)
    found.loader.exec_module(sys.modules[name])
