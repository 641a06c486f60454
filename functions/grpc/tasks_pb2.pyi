from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Accepted(_message.Message):
    __slots__ = ("jobs",)
    JOBS_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    def __init__(self, jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("name", "driver", "state")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Job.State]
        STATE_CREATED: _ClassVar[Job.State]
        STATE_EXISTS: _ClassVar[Job.State]
        STATE_CANCELLED: _ClassVar[Job.State]
    STATE_UNSPECIFIED: Job.State
    STATE_CREATED: Job.State
    STATE_EXISTS: Job.State
    STATE_CANCELLED: Job.State
    NAME_FIELD_NUMBER: _ClassVar[int]
    DRIVER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    name: str
    driver: str
    state: Job.State
    def __init__(self, name: _Optional[str] = ..., driver: _Optional[str] = ..., state: _Optional[_Union[Job.State, str]] = ...) -> None: ...

class AnalysisRun(_message.Message):
    __slots__ = ("run_id", "run_serial", "config", "vcs_meta", "keys", "checks", "meta", "ds_config_updated", "is_full_run", "repo_id", "previous_completed_run_commit_oid", "internal_token")
    class MetaEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_SERIAL_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    VCS_META_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    DS_CONFIG_UPDATED_FIELD_NUMBER: _ClassVar[int]
    IS_FULL_RUN_FIELD_NUMBER: _ClassVar[int]
    REPO_ID_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_COMPLETED_RUN_COMMIT_OID_FIELD_NUMBER: _ClassVar[int]
    INTERNAL_TOKEN_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    run_serial: str
    config: str
    vcs_meta: VcsMeta
    keys: Keys
    checks: _containers.RepeatedCompositeFieldContainer[Check]
    meta: _containers.ScalarMap[str, str]
    ds_config_updated: bool
    is_full_run: bool
    repo_id: int
    previous_completed_run_commit_oid: str
    internal_token: str
    def __init__(self, run_id: _Optional[str] = ..., run_serial: _Optional[str] = ..., config: _Optional[str] = ..., vcs_meta: _Optional[_Union[VcsMeta, _Mapping]] = ..., keys: _Optional[_Union[Keys, _Mapping]] = ..., checks: _Optional[_Iterable[_Union[Check, _Mapping]]] = ..., meta: _Optional[_Mapping[str, str]] = ..., ds_config_updated: _Optional[bool] = ..., is_full_run: _Optional[bool] = ..., repo_id: _Optional[int] = ..., previous_completed_run_commit_oid: _Optional[str] = ..., internal_token: _Optional[str] = ...) -> None: ...

class Check(_message.Message):
    __slots__ = ("check_seq", "analyzer_meta", "artifacts", "processors", "diff_meta_commits", "analysis_context_url")
    CHECK_SEQ_FIELD_NUMBER: _ClassVar[int]
    ANALYZER_META_FIELD_NUMBER: _ClassVar[int]
    ARTIFACTS_FIELD_NUMBER: _ClassVar[int]
    PROCESSORS_FIELD_NUMBER: _ClassVar[int]
    DIFF_META_COMMITS_FIELD_NUMBER: _ClassVar[int]
    ANALYSIS_CONTEXT_URL_FIELD_NUMBER: _ClassVar[int]
    check_seq: str
    analyzer_meta: AnalyzerMeta
    artifacts: _containers.RepeatedCompositeFieldContainer[Artifact]
    processors: _containers.RepeatedScalarFieldContainer[str]
    diff_meta_commits: _containers.RepeatedCompositeFieldContainer[DiffMetaCommit]
    analysis_context_url: str
    def __init__(self, check_seq: _Optional[str] = ..., analyzer_meta: _Optional[_Union[AnalyzerMeta, _Mapping]] = ..., artifacts: _Optional[_Iterable[_Union[Artifact, _Mapping]]] = ..., processors: _Optional[_Iterable[str]] = ..., diff_meta_commits: _Optional[_Iterable[_Union[DiffMetaCommit, _Mapping]]] = ..., analysis_context_url: _Optional[str] = ...) -> None: ...

class AnalyzerMeta(_message.Message):
    __slots__ = ("name", "version", "cpu_limit", "memory_limit", "image_path", "analyzer_type", "command", "cache_version", "trigger", "is_ai_enabled")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CPU_LIMIT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_LIMIT_FIELD_NUMBER: _ClassVar[int]
    IMAGE_PATH_FIELD_NUMBER: _ClassVar[int]
    ANALYZER_TYPE_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    CACHE_VERSION_FIELD_NUMBER: _ClassVar[int]
    TRIGGER_FIELD_NUMBER: _ClassVar[int]
    IS_AI_ENABLED_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    cpu_limit: str
    memory_limit: str
    image_path: str
    analyzer_type: str
    command: str
    cache_version: int
    trigger: str
    is_ai_enabled: bool
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., cpu_limit: _Optional[str] = ..., memory_limit: _Optional[str] = ..., image_path: _Optional[str] = ..., analyzer_type: _Optional[str] = ..., command: _Optional[str] = ..., cache_version: _Optional[int] = ..., trigger: _Optional[str] = ..., is_ai_enabled: _Optional[bool] = ...) -> None: ...

class Artifact(_message.Message):
    __slots__ = ("key", "url", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    KEY_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    key: str
    url: str
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, key: _Optional[str] = ..., url: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class DiffMetaCommit(_message.Message):
    __slots__ = ("commit_oid", "paths")
    COMMIT_OID_FIELD_NUMBER: _ClassVar[int]
    PATHS_FIELD_NUMBER: _ClassVar[int]
    commit_oid: str
    paths: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, commit_oid: _Optional[str] = ..., paths: _Optional[_Iterable[str]] = ...) -> None: ...

class VcsMeta(_message.Message):
    __slots__ = ("remote_url", "checkout_oid", "base_branch", "base_oid", "repository_name", "branch_name", "is_for_default_analysis_branch", "clone_submodules", "sparse_checkout_path", "previous_completed_run_commit_oid")
    REMOTE_URL_FIELD_NUMBER: _ClassVar[int]
    CHECKOUT_OID_FIELD_NUMBER: _ClassVar[int]
    BASE_BRANCH_FIELD_NUMBER: _ClassVar[int]
    BASE_OID_FIELD_NUMBER: _ClassVar[int]
    REPOSITORY_NAME_FIELD_NUMBER: _ClassVar[int]
    BRANCH_NAME_FIELD_NUMBER: _ClassVar[int]
    IS_FOR_DEFAULT_ANALYSIS_BRANCH_FIELD_NUMBER: _ClassVar[int]
    CLONE_SUBMODULES_FIELD_NUMBER: _ClassVar[int]
    SPARSE_CHECKOUT_PATH_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_COMPLETED_RUN_COMMIT_OID_FIELD_NUMBER: _ClassVar[int]
    remote_url: str
    checkout_oid: str
    base_branch: str
    base_oid: str
    repository_name: str
    branch_name: str
    is_for_default_analysis_branch: bool
    clone_submodules: bool
    sparse_checkout_path: str
    previous_completed_run_commit_oid: str
    def __init__(self, remote_url: _Optional[str] = ..., checkout_oid: _Optional[str] = ..., base_branch: _Optional[str] = ..., base_oid: _Optional[str] = ..., repository_name: _Optional[str] = ..., branch_name: _Optional[str] = ..., is_for_default_analysis_branch: _Optional[bool] = ..., clone_submodules: _Optional[bool] = ..., sparse_checkout_path: _Optional[str] = ..., previous_completed_run_commit_oid: _Optional[str] = ...) -> None: ...

class Keys(_message.Message):
    __slots__ = ("ssh",)
    SSH_FIELD_NUMBER: _ClassVar[int]
    ssh: SshKeys
    def __init__(self, ssh: _Optional[_Union[SshKeys, _Mapping]] = ...) -> None: ...

class SshKeys(_message.Message):
    __slots__ = ("public", "private")
    PUBLIC_FIELD_NUMBER: _ClassVar[int]
    PRIVATE_FIELD_NUMBER: _ClassVar[int]
    public: str
    private: str
    def __init__(self, public: _Optional[str] = ..., private: _Optional[str] = ...) -> None: ...

class AutofixRun(_message.Message):
    __slots__ = ("run_id", "run_serial", "config", "vcs_meta", "keys", "autofixer", "meta")
    class MetaEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_SERIAL_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    VCS_META_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    AUTOFIXER_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    run_serial: str
    config: str
    vcs_meta: VcsMeta
    keys: Keys
    autofixer: Autofixer
    meta: _containers.ScalarMap[str, str]
    def __init__(self, run_id: _Optional[str] = ..., run_serial: _Optional[str] = ..., config: _Optional[str] = ..., vcs_meta: _Optional[_Union[VcsMeta, _Mapping]] = ..., keys: _Optional[_Union[Keys, _Mapping]] = ..., autofixer: _Optional[_Union[Autofixer, _Mapping]] = ..., meta: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Autofixer(_message.Message):
    __slots__ = ("autofix_meta", "autofixes")
    AUTOFIX_META_FIELD_NUMBER: _ClassVar[int]
    AUTOFIXES_FIELD_NUMBER: _ClassVar[int]
    autofix_meta: AutofixMeta
    autofixes: _containers.RepeatedCompositeFieldContainer[Autofix]
    def __init__(self, autofix_meta: _Optional[_Union[AutofixMeta, _Mapping]] = ..., autofixes: _Optional[_Iterable[_Union[Autofix, _Mapping]]] = ...) -> None: ...

class AutofixMeta(_message.Message):
    __slots__ = ("name", "version", "cpu_limit", "memory_limit", "command", "cache_version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CPU_LIMIT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_LIMIT_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    CACHE_VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    cpu_limit: str
    memory_limit: str
    command: str
    cache_version: int
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., cpu_limit: _Optional[str] = ..., memory_limit: _Optional[str] = ..., command: _Optional[str] = ..., cache_version: _Optional[int] = ...) -> None: ...

class Autofix(_message.Message):
    __slots__ = ("issue_code", "occurrences")
    ISSUE_CODE_FIELD_NUMBER: _ClassVar[int]
    OCCURRENCES_FIELD_NUMBER: _ClassVar[int]
    issue_code: str
    occurrences: _containers.RepeatedCompositeFieldContainer[Occurrence]
    def __init__(self, issue_code: _Optional[str] = ..., occurrences: _Optional[_Iterable[_Union[Occurrence, _Mapping]]] = ...) -> None: ...

class Occurrence(_message.Message):
    __slots__ = ("path", "position")
    PATH_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    path: str
    position: Span
    def __init__(self, path: _Optional[str] = ..., position: _Optional[_Union[Span, _Mapping]] = ...) -> None: ...

class Span(_message.Message):
    __slots__ = ("begin", "end")
    BEGIN_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    begin: Coordinate
    end: Coordinate
    def __init__(self, begin: _Optional[_Union[Coordinate, _Mapping]] = ..., end: _Optional[_Union[Coordinate, _Mapping]] = ...) -> None: ...

class Coordinate(_message.Message):
    __slots__ = ("line", "column")
    LINE_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    line: int
    column: int
    def __init__(self, line: _Optional[int] = ..., column: _Optional[int] = ...) -> None: ...

class TransformerRun(_message.Message):
    __slots__ = ("run_id", "run_serial", "config", "vcs_meta", "keys", "transformer", "meta", "ds_config_updated", "patch_commit")
    class MetaEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_SERIAL_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    VCS_META_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    TRANSFORMER_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    DS_CONFIG_UPDATED_FIELD_NUMBER: _ClassVar[int]
    PATCH_COMMIT_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    run_serial: str
    config: str
    vcs_meta: VcsMeta
    keys: Keys
    transformer: Transformers
    meta: _containers.ScalarMap[str, str]
    ds_config_updated: bool
    patch_commit: PatchCommit
    def __init__(self, run_id: _Optional[str] = ..., run_serial: _Optional[str] = ..., config: _Optional[str] = ..., vcs_meta: _Optional[_Union[VcsMeta, _Mapping]] = ..., keys: _Optional[_Union[Keys, _Mapping]] = ..., transformer: _Optional[_Union[Transformers, _Mapping]] = ..., meta: _Optional[_Mapping[str, str]] = ..., ds_config_updated: _Optional[bool] = ..., patch_commit: _Optional[_Union[PatchCommit, _Mapping]] = ...) -> None: ...

class Transformers(_message.Message):
    __slots__ = ("meta", "command", "tools")
    META_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    meta: TransformerMeta
    command: str
    tools: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, meta: _Optional[_Union[TransformerMeta, _Mapping]] = ..., command: _Optional[str] = ..., tools: _Optional[_Iterable[str]] = ...) -> None: ...

class TransformerMeta(_message.Message):
    __slots__ = ("version", "cpu_limit", "memory_limit")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CPU_LIMIT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_LIMIT_FIELD_NUMBER: _ClassVar[int]
    version: str
    cpu_limit: str
    memory_limit: str
    def __init__(self, version: _Optional[str] = ..., cpu_limit: _Optional[str] = ..., memory_limit: _Optional[str] = ...) -> None: ...

class PatchCommit(_message.Message):
    __slots__ = ("commit", "author")
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    commit: CommitText
    author: Author
    def __init__(self, commit: _Optional[_Union[CommitText, _Mapping]] = ..., author: _Optional[_Union[Author, _Mapping]] = ...) -> None: ...

class CommitText(_message.Message):
    __slots__ = ("title", "message", "destination_branch")
    TITLE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_BRANCH_FIELD_NUMBER: _ClassVar[int]
    title: str
    message: str
    destination_branch: str
    def __init__(self, title: _Optional[str] = ..., message: _Optional[str] = ..., destination_branch: _Optional[str] = ...) -> None: ...

class Author(_message.Message):
    __slots__ = ("name", "email")
    NAME_FIELD_NUMBER: _ClassVar[int]
    EMAIL_FIELD_NUMBER: _ClassVar[int]
    name: str
    email: str
    def __init__(self, name: _Optional[str] = ..., email: _Optional[str] = ...) -> None: ...

class SshVerifyRun(_message.Message):
    __slots__ = ("run_id", "ssh_meta", "keys", "meta")
    class MetaEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SSH_META_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    ssh_meta: SshMeta
    keys: Keys
    meta: _containers.ScalarMap[str, str]
    def __init__(self, run_id: _Optional[str] = ..., ssh_meta: _Optional[_Union[SshMeta, _Mapping]] = ..., keys: _Optional[_Union[Keys, _Mapping]] = ..., meta: _Optional[_Mapping[str, str]] = ...) -> None: ...

class SshMeta(_message.Message):
    __slots__ = ("remote_url", "user", "port")
    REMOTE_URL_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    remote_url: str
    user: str
    port: int
    def __init__(self, remote_url: _Optional[str] = ..., user: _Optional[str] = ..., port: _Optional[int] = ...) -> None: ...

class CancelCheckRun(_message.Message):
    __slots__ = ("run_id", "run_serial", "analysis_meta", "meta")
    class MetaEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_SERIAL_FIELD_NUMBER: _ClassVar[int]
    ANALYSIS_META_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    run_serial: str
    analysis_meta: AnalysisMeta
    meta: _containers.ScalarMap[str, str]
    def __init__(self, run_id: _Optional[str] = ..., run_serial: _Optional[str] = ..., analysis_meta: _Optional[_Union[AnalysisMeta, _Mapping]] = ..., meta: _Optional[_Mapping[str, str]] = ...) -> None: ...

class AnalysisMeta(_message.Message):
    __slots__ = ("run_id", "run_serial", "check_seq")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_SERIAL_FIELD_NUMBER: _ClassVar[int]
    CHECK_SEQ_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    run_serial: str
    check_seq: str
    def __init__(self, run_id: _Optional[str] = ..., run_serial: _Optional[str] = ..., check_seq: _Optional[str] = ...) -> None: ...

class PatcherRun(_message.Message):
    __slots__ = ("run_id", "run_serial", "vcs_meta", "keys", "artifacts", "meta", "patch_meta")
    class MetaEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_SERIAL_FIELD_NUMBER: _ClassVar[int]
    VCS_META_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    ARTIFACTS_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    PATCH_META_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    run_serial: str
    vcs_meta: VcsMeta
    keys: Keys
    artifacts: PatchArtifacts
    meta: _containers.ScalarMap[str, str]
    patch_meta: str
    def __init__(self, run_id: _Optional[str] = ..., run_serial: _Optional[str] = ..., vcs_meta: _Optional[_Union[VcsMeta, _Mapping]] = ..., keys: _Optional[_Union[Keys, _Mapping]] = ..., artifacts: _Optional[_Union[PatchArtifacts, _Mapping]] = ..., meta: _Optional[_Mapping[str, str]] = ..., patch_meta: _Optional[str] = ...) -> None: ...

class PatchArtifacts(_message.Message):
    __slots__ = ("key", "patch_ids")
    class PatchIdsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: PatchIds
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[PatchIds, _Mapping]] = ...) -> None: ...
    KEY_FIELD_NUMBER: _ClassVar[int]
    PATCH_IDS_FIELD_NUMBER: _ClassVar[int]
    key: str
    patch_ids: _containers.MessageMap[str, PatchIds]
    def __init__(self, key: _Optional[str] = ..., patch_ids: _Optional[_Mapping[str, PatchIds]] = ...) -> None: ...

class PatchIds(_message.Message):
    __slots__ = ("ids",)
    IDS_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedCompositeFieldContainer[PatchId]
    def __init__(self, ids: _Optional[_Iterable[_Union[PatchId, _Mapping]]] = ...) -> None: ...

class PatchId(_message.Message):
    __slots__ = ("number", "text")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    number: int
    text: str
    def __init__(self, number: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...
