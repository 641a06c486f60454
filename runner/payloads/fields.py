r"""The field types of the payloads, each with its bounds.

Every value here later becomes a name, label, image, path, flag, URL or size, so each type says what it may hold.
Patterns end in `\Z`, since `$` lets a trailing newline through, and name their characters, since `\d` and `\w` take
any script's. The description completes the sentence "must be …" of an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta, Raw

from runner.errors import Problem

_SECRET = frozenset({"remote_url", "url", "analysis_context_url", "private", "internal_token"})
"""Fields whose values no log and no traceback may show."""


class Payload(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all payload structs: immutable, silent about fields that atlas may add, and about secrets.

    Fields with default values are not encoded. So a new optional field does not change the fingerprint of a
    request that omits it.
    """

    def __repr__(self) -> str:
        shown = (
            f"{name}={'***' if name in _SECRET and value else repr(value)}"
            for name in self.__struct_fields__
            if (value := getattr(self, name)) not in ("", (), {}, None)
        )
        return f"{type(self).__name__}({', '.join(shown)})"


class Relayed(Payload, frozen=True, omit_defaults=False):
    """Base of what goes on to an image, which gets all of its fields."""


# C0 and C1 controls, line separators, and the marks that reorder what a person reads (Unicode TR 9).
_UNSEEN = r"\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"

# distribution/reference: path components, joined by "/", and a tag.
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"

Id = Annotated[
    str,
    Meta(
        pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z",
        description="1 to 64 ASCII letters, digits, '.', '_' or '-', and begin with a letter or digit",
    ),
]
Serial = Annotated[str, Meta(pattern=r"\A[0-9]{1,20}\Z", description="a decimal number of 1 to 20 digits, as a string")]
OptionalSerial = Annotated[
    str, Meta(pattern=r"\A[0-9]{0,20}\Z", description="a decimal number of at most 20 digits, as a string")
]
Oid = Annotated[str, Meta(pattern=r"\A[0-9a-fA-F]{7,64}\Z", description="a commit id of 7 to 64 hexadecimal digits")]
OptionalOid = Annotated[
    str,
    Meta(
        pattern=r"\A(?:[0-9a-fA-F]{7,64})?\Z",
        description="empty or a commit id of 7 to 64 hexadecimal digits",
    ),
]
Line = Annotated[
    str,
    Meta(
        pattern=rf"\A[^{_UNSEEN}]{{0,1024}}\Z",
        description="one line of at most 1024 characters, without control characters",
    ),
]
Key = Annotated[str, Meta(max_length=256, description="a key of at most 256 characters")]
"""A key of a map. An error quotes a bad key."""

PathKey = Annotated[str, Meta(max_length=4096, description="a path of at most 4096 characters")]
"""A key of a map whose keys are the paths of files."""

Branch = Annotated[
    str,
    Meta(
        pattern=rf"\A(?:[^{_UNSEEN}-][^{_UNSEEN}]{{0,254}})?\Z",
        description="at most 255 characters, without control characters or a leading '-'",
    ),
]
RelativePath = Annotated[
    str,
    Meta(
        pattern=rf"\A(?!-)(?!/)(?!(?:.*/)?\.\.(?:/|\Z))[^{_UNSEEN}]{{0,4096}}\Z",
        description="a relative path of at most 4096 characters, without '..' or control characters",
    ),
]
RepositoryPath = Annotated[
    str,
    Meta(
        pattern=r"\A(?!/)(?!(?:(?s:.)*/)?\.\.(?:/|\Z))[^\x00]{0,4096}\Z",
        description="a relative path of at most 4096 characters, without '..' or NUL",
    ),
]
"""A file in the code under analysis. Its author may give it any name that git allows, `-x` and line breaks included.

Only for paths that are written into a document. If they were refused, one such file would keep its whole repository
from being analysed.
"""
Text = Annotated[
    str,
    Meta(pattern=r"\A[^\x00]{0,131072}\Z", description="text of at most 131072 characters, without NUL"),
]
Document = Annotated[str, Meta(pattern=r"\A[^\x00]*\Z", description="text without NUL")]
Url = Annotated[
    str,
    Meta(
        pattern=rf"\A(?:[A-Za-z][A-Za-z0-9+.-]{{0,31}}://[^{_UNSEEN} ]{{1,8192}})?\Z",
        description="an absolute URL of at most 8192 characters, without spaces or control characters",
    ),
]
RemoteUrl = Annotated[
    str,
    Meta(
        pattern=rf"\A[^{_UNSEEN} -][^{_UNSEEN} ]{{0,4095}}\Z",
        description="a clone URL of at most 4096 characters, without spaces, control characters or a leading '-'",
    ),
]
ImagePath = Annotated[
    str,
    Meta(
        pattern=rf"\A(?=.{{1,128}}\Z){_COMPONENT}(?:/{_COMPONENT})*\Z",
        description="an image name: lower-case components joined by '/', at most 128 characters",
    ),
]
ImageTag = Annotated[
    str,
    Meta(
        pattern=r"\A[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z",
        description="an image tag of at most 128 ASCII letters, digits, '_', '.' or '-'",
    ),
]
Login = Annotated[
    str,
    Meta(
        pattern=r"\A(?:[A-Za-z0-9_][A-Za-z0-9._-]{0,63})?\Z",
        description="a login name of at most 64 ASCII letters, digits, '.', '_' or '-'",
    ),
]
Number = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1, description="a whole number of at most 64 bits")]
"""Wider ones fit neither TOML nor the programs that read it."""

Port = Annotated[int, Meta(ge=0, le=65535, description="a port from 1 to 65535")]
"""0 is the zero value of a missing port."""

Pool = Annotated[
    str,
    Meta(
        pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z",
        description="the name of a resource pool: 1 to 63 ASCII letters, digits, '.', '_' or '-'",
    ),
]

# A decimal in a range, as a pattern, so that msgspec checks it without calling back into Python.
_TO_256000 = r"(?:[1-9][0-9]{0,4}|1[0-9]{5}|2[0-4][0-9]{4}|25[0-5][0-9]{3}|256000)"
_4_TO_1048576 = (
    r"(?:[4-9]|[1-9][0-9]{1,5}|10[0-3][0-9]{4}|104[0-7][0-9]{3}|1048[0-4][0-9]{2}|10485[0-6][0-9]|104857[0-6])"
)
_CPU = "millicores as a decimal number from 1 to 256000, without a unit"
_MEMORY = "MiB as a decimal number from 4 to 1048576, without a unit"
CpuLimit = Annotated[
    Annotated[int, Meta(ge=1, le=256000)] | Annotated[str, Meta(pattern=rf"\A{_TO_256000}\Z")],
    Meta(description=_CPU),
]
"""Millicores, as atlas writes them: `"2400"`."""

MemoryLimit = Annotated[
    Annotated[int, Meta(ge=4, le=1048576)] | Annotated[str, Meta(pattern=rf"\A{_4_TO_1048576}\Z")],
    Meta(description=_MEMORY),
]
"""MiB, as atlas writes them: `"6501"`."""

EMPTY_OBJECT = Raw(b"{}")
NULL = Raw(b"null")


class Request(Payload, frozen=True):
    """Base of every request. It has no field: a base's fields are encoded first, and fingerprints keep their order."""

    def problems(self) -> Iterator[Problem]:
        """What is wrong that no field's type expresses. Fields that could not be read are None here."""
        yield from ()


class Repository(Payload, frozen=True):
    """Base of a part that names a repository, in whichever field of a request. `remote_url` may carry credentials."""

    only_ssh: ClassVar[bool] = False
    """Whether the URL must be one for ssh."""

    remote_url: RemoteUrl


class Configured(Request, frozen=True, kw_only=True):
    """A request with the repository's settings, whose JSON stays as the sender wrote it. `null` is as good as none."""

    config: Raw = EMPTY_OBJECT

    def __post_init__(self) -> None:
        if bytes(self.config) == b"null":
            msgspec.structs.force_setattr(self, "config", EMPTY_OBJECT)


class SshKeys(Payload, frozen=True):
    """One key pair in OpenSSH's text formats."""

    public: Text = ""
    private: Text = ""


class Keys(Payload, frozen=True):
    """The keys that open the repository; often empty."""

    ssh: SshKeys = SshKeys()


class VcsMeta(Repository, frozen=True):
    """Where the code is and which state of it is meant."""

    checkout_oid: Oid
    base_branch: Branch = ""
    base_oid: OptionalOid = ""
    repository_name: Line = ""
    branch_name: Branch = ""
    is_for_default_analysis_branch: bool = False
    clone_submodules: bool = False
    sparse_checkout_path: RelativePath = ""
    previous_completed_run_commit_oid: OptionalOid = ""


class Analyzer(Payload, frozen=True):
    """One entry of the repository's analyzers. Raw values are not validated: they may hold numbers of any size."""

    name: str = ""
    enabled: bool = False
    runtime_version: str = ""
    dependency_file_paths: tuple[str, ...] = ()
    meta: Raw = NULL
    thresholds: Raw = NULL


class Transformer(Payload, frozen=True):
    """One entry of the repository's transformers."""

    name: str = ""
    enabled: bool = False


class RepositoryConfig(Payload, frozen=True):
    """What we know of `config`. It is only checked against this; the analyzer gets the sender's own JSON."""

    version: int = 0
    exclude_patterns: tuple[str, ...] = ()
    test_patterns: tuple[str, ...] = ()
    analyzers: tuple[Analyzer, ...] = ()
    sca_targets: tuple[Raw, ...] = ()
    transformers: tuple[Transformer, ...] = ()
