"""`make stubs`: generates all files that come from the contract. With `--check`, names outdated files and exits with 1.

Generated are: betterproto's classes for clients, protobuf's classes for the server (which decode a thousand times
faster), and the descriptors that later versions are compared with (`compatibility.py`).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import compatibility

HERE = Path(__file__).resolve().parent
CONTRACT = "orchestrator/v1/tasks.proto"
SNAPSHOT = HERE / "compatibility.binpb"
CLIENT = HERE / "python" / "orchestrator_client" / "v1.py"
SERVER = HERE.parent / "functions" / "grpc"


def generate(into: Path) -> dict[Path, bytes]:
    """The current content of every generated file, by its path."""
    plugin = Path(sys.executable).parent / "protoc-gen-python_betterproto"
    command = [
        *(sys.executable, "-m", "grpc_tools.protoc", f"-I{HERE}"),
        *(f"--python_out={into}", f"--pyi_out={into}", f"--descriptor_set_out={into / 'descriptors'}"),
        *(f"--plugin=protoc-gen-python_betterproto={plugin}", f"--python_betterproto_out={into}"),
        CONTRACT,
    ]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL if plugin.exists() else None)
    made = into / "orchestrator" / "v1"
    classes = (made / "tasks_pb2.py").read_text().replace("orchestrator.v1.tasks_pb2", "functions.grpc.tasks_pb2")
    return {
        CLIENT: (made / "__init__.py").read_bytes(),
        SERVER / "tasks_pb2.py": classes.encode(),
        SERVER / "tasks_pb2.pyi": (made / "tasks_pb2.pyi").read_bytes(),
        SNAPSHOT: (into / "descriptors").read_bytes(),
    }


def main(check: bool) -> int:
    """Write or check the generated files. Returns 1 if the contract breaks clients or a checked file is outdated."""
    with tempfile.TemporaryDirectory() as directory:
        wanted = generate(Path(directory))
    changes = compatibility.breaks(SNAPSHOT.read_bytes(), wanted[SNAPSHOT]) if SNAPSHOT.exists() else []
    stale = [path for path, content in wanted.items() if not path.exists() or path.read_bytes() != content]
    for line in changes:
        print(f"{CONTRACT}: {line}", file=sys.stderr)
    if changes:
        print("These changes break existing clients; add fields instead, or start orchestrator.v2.", file=sys.stderr)
        return 1
    if check and stale:
        print(f"outdated, run `make stubs`: {', '.join(path.name for path in stale)}", file=sys.stderr)
        return 1
    for path in stale:
        path.write_bytes(wanted[path])
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv))
