"""The contract under proto/: generated code is current, no change breaks a client, the client needs no server code."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from functions.grpc import messages as grpc_messages
from runner.request_types import REQUEST_TYPES
from tests.harness.processes import ROOT

SNAPSHOT = ROOT / "proto" / "compatibility.binpb"
HEAVY = ("runner", "functions", "msgspec", "falcon", "gunicorn", "kubernetes", "google.protobuf", "grpc.")


@pytest.fixture
def contract() -> FileDescriptorSet:
    return FileDescriptorSet.FromString(SNAPSHOT.read_bytes())


def breaks(changed: FileDescriptorSet) -> list[str]:
    sys.path.insert(0, str(ROOT / "proto"))
    try:
        from compatibility import breaks as found
    finally:
        sys.path.remove(str(ROOT / "proto"))
    return found(SNAPSHOT.read_bytes(), changed.SerializeToString())


def named(items: Any, name: str) -> Any:
    return next(item for item in items if item.name == name)


def test_generated_code_is_current() -> None:
    checked = subprocess.run([sys.executable, "proto/stubs.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


def _remove_field(file: FileDescriptorProto) -> None:
    del named(file.message_type, "Check").field[2]


def _rename_field(file: FileDescriptorProto) -> None:
    named(named(file.message_type, "Check").field, "artifacts").name = "files"


def _renumber_field(file: FileDescriptorProto) -> None:
    named(named(file.message_type, "Check").field, "artifacts").number = 99


def _retype_field(file: FileDescriptorProto) -> None:
    named(named(file.message_type, "AnalysisRun").field, "config").type = 12  # bytes


def _retype_message(file: FileDescriptorProto) -> None:
    named(named(file.message_type, "AnalysisRun").field, "keys").type_name = ".orchestrator.v1.SshKeys"


def _repeat_field(file: FileDescriptorProto) -> None:
    named(named(file.message_type, "AnalysisRun").field, "config").label = 3


def _rename_in_json(file: FileDescriptorProto) -> None:
    named(named(file.message_type, "AnalysisRun").field, "meta").json_name = "meta"


def _leave_oneof(file: FileDescriptorProto) -> None:
    named(named(file.message_type, "PatchId").field, "text").ClearField("oneof_index")


def _remove_message(file: FileDescriptorProto) -> None:
    file.message_type.remove(named(file.message_type, "SshMeta"))


def _remove_enum_value(file: FileDescriptorProto) -> None:
    del named(file.message_type, "Job").enum_type[0].value[3]


def _renumber_enum_value(file: FileDescriptorProto) -> None:
    named(file.message_type, "Job").enum_type[0].value[3].number = 7


def _free_reserved(file: FileDescriptorProto) -> None:
    named(file.message_type, "AnalysisRun").ClearField("reserved_range")


def _remove_call(file: FileDescriptorProto) -> None:
    del file.service[0].method[1]


def _change_answer(file: FileDescriptorProto) -> None:
    file.service[0].method[0].output_type = ".orchestrator.v1.Job"


def _stream_answer(file: FileDescriptorProto) -> None:
    file.service[0].method[0].server_streaming = True


def _rename_service(file: FileDescriptorProto) -> None:
    file.service[0].name = "Work"


def _rename_package(file: FileDescriptorProto) -> None:
    file.package = "orchestrator.v2"


BREAKING = [
    _remove_field, _rename_field, _renumber_field, _retype_field, _retype_message, _repeat_field, _rename_in_json,
    _leave_oneof, _remove_message, _remove_enum_value, _renumber_enum_value, _free_reserved, _remove_call,
    _change_answer, _stream_answer, _rename_service, _rename_package,
]  # fmt: skip


@pytest.mark.parametrize("change", BREAKING, ids=lambda change: change.__name__)
def test_a_change_that_breaks_a_client_is_found(contract: FileDescriptorSet, change: Any) -> None:
    change(contract.file[0])
    assert breaks(contract)


def test_added_fields_messages_and_calls_break_no_client(contract: FileDescriptorSet) -> None:
    file = contract.file[0]
    field = named(file.message_type, "Check").field.add(name="later", number=16, type=9, label=1, json_name="later")
    file.message_type.add(name="Later").field.add().CopyFrom(field)
    file.service[0].method.add(name="Later", input_type=".orchestrator.v1.Later", output_type=".orchestrator.v1.Later")
    assert breaks(contract) == []


def test_every_request_type_has_its_call_and_every_payload_its_message() -> None:
    calls = {method.name: method.input_type.name for method in grpc_messages.SERVICE.methods}
    assert calls == {row.rpc: row.payload.__name__ for row in REQUEST_TYPES.values()}


@pytest.mark.parametrize("name", sorted(REQUEST_TYPES))
def test_the_messages_have_the_payloads_fields_by_the_same_names(name: str) -> None:
    import msgspec

    row = REQUEST_TYPES[name]
    message = grpc_messages.SERVICE.methods_by_name[row.rpc].input_type

    def compare(struct: Any, message: Any, at: str) -> None:
        fields = {grpc_messages._name(field): field for field in message.fields}
        for field in msgspec.structs.fields(struct):
            assert field.encode_name in fields, f"{at}.{field.encode_name} is not in the contract"
            inner = msgspec.inspect.type_info(field.type)
            while isinstance(inner, msgspec.inspect.VarTupleType):
                inner = inner.item_type
            if isinstance(inner, msgspec.inspect.StructType):
                compare(inner.cls, fields[field.encode_name].message_type, f"{at}.{field.encode_name}")

    compare(row.payload, message, name)


def test_the_installed_client_is_no_package_named_proto(tmp_path: Path) -> None:
    """Build the wheel as pip does, and list its packages."""
    source = tmp_path / "proto"
    subprocess.run(["cp", "-r", str(ROOT / "proto"), str(source)], check=True)
    build = [sys.executable, "-m", "uv", "build", "--wheel", "--no-build-isolation", "--offline", "-o", str(tmp_path)]
    built = subprocess.run([*build, str(source)], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    packages = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in packages if "dist-info" not in name} == {"orchestrator_client"}


def test_the_client_imports_no_server_code() -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'proto' / 'python')!r})\n"
        "import orchestrator_client.v1\nprint('\\n'.join(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-I", "-c", program], cwd="/", capture_output=True, text=True, check=True)
    loaded = ran.stdout.split()
    assert "orchestrator_client.v1" in loaded
    assert [name for name in loaded if name.startswith(HEAVY)] == []


def test_the_tree_has_no_package_named_proto() -> None:
    """Another distribution has that name, and is imported instead if this folder has no `__init__.py`."""
    assert not (ROOT / "proto" / "__init__.py").exists()


def test_a_function_alone_imports_no_grpc_library() -> None:
    program = "import sys, functions.analysis; print('\\n'.join(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    names = ("grpclib", "betterproto", "google.protobuf", "h2", "functions.grpc", "runner.sidecar.asyncio_client")
    assert [name for name in ran.stdout.split() if name.startswith(names)] == []
