"""Values that stand beside a secret's name and are no secrets: states, types, references to variables, masks.

A reader of a log needs them: "password: incorrect", `token: str`, `password=$PASSWORD`, `-u 1000:1000`.
"""

from __future__ import annotations

import re

_STATES = frozenset(
    {*("absent", "denied", "empty", "expired", "forbidden", "incorrect", "invalid", "mismatch", "missing", "ok")}
    | {*("refused", "required", "revoked", "unauthorized", "unknown", "unset", "wrong", "redacted", "masked")}
)
"""What an error says of a secret."""

_TYPES = re.compile(
    r"[*&]?(?:typing\.|rsa\.|pydantic\.|crypto\.)?(?:Optional\[|Option<|Maybe )?&?"
    r"(?:str|string|text|bytes|bytea|blob|u?int(?:8|16|32|64)?|integer|number|bool|boolean|float|double|long|object|array"
    r"|any|uuid4?|char|n?varchar2?|date|dict|list|map|secret(?:str|bytes)|(?:rsa)?privatekey|undefined|nil)"
    r"(?:\([0-9]{1,8}\)?|\[\]?|>)*[!?]*",
    re.IGNORECASE,
)
"""A type in an annotation, a schema or a table: nobody's secret is one of these words."""

_NAME = r"(?i:(?:[a-z]{1,16}_){0,4}(?:token|passw(?:or)?d|passphrase|secret|credentials?|signature|key|pwd))"
_REFERENCES = re.compile(
    r"\$\{[A-Za-z_]\w*\}?|\$\(?[A-Z][A-Z_]{2,}\)?|%[A-Z_]{3,}%|\{\{[ .$A-Za-z_-]*\}*"
    # Expressions of a program, as a traceback quotes its line.
    r"|[A-Za-z_$][\w.$]{0,64}\("
    rf"|(?:[A-Za-z_]\w*\.)+_?{_NAME}(?:\(\)?)?|{_NAME}\(\)?"
    r"|(?:os\.environ|os\.getenv|os\.Getenv|System\.getenv|process\.env|ENV|getenv)[.(\[][\"'A-Za-z_]*[\])]*"
    r"|<[A-Za-z _-]{1,32}>?|[*.x\u2022#]{3,}|\[[A-Z ]{4,16}\]?"
    r"|[0-9]{1,3}|[|>][-+0-9]{0,2}"
)
"""Where the secret is, or what another program has put in its place; or a count that is too short for a secret;
or the mark of a YAML block."""


def is_placeholder(value: str) -> bool:
    """Whether it is no secret, whatever its name. The end of the value may be cut off at a bracket."""
    return len(value) <= _LONGEST and (is_state_or_type(value) or _REFERENCES.fullmatch(value.rstrip(",;")) is not None)


def is_state_or_type(value: str) -> bool:
    """Whether it is a state or a type, also where it stands in quotes: `"token": "string"`."""
    if len(value) > _LONGEST:
        return False
    return value.rstrip(".!").lower() in _STATES or _TYPES.fullmatch(value.rstrip("),;")) is not None


_LONGEST = 128
"""Characters of such a value."""
