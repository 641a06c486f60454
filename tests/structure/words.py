"""Words that this project does not use, since nobody would search for them. Each has a usual term instead."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.structure.sources import Source

PROSE = {
    r"who(so|m)?ever": "client, worker, caller, process",
    r"mend(s|ed|ing)?": "fix, restart, repair",
    r"ow(es|ed|ing)": "pending",
    r"unseal\w*": "resolve secrets",
    r"mourn\w*": "record the exit",
    r"knock\w*": "wait in the backlog",
    r"bur(y|ies|ied|ying)": "write a tombstone",
    r"farewell": "GoAway",
    r"g[ia]v(e|es|ing|en) way": "yield",
    r"let(s|ting)? in": "accept",
    r"in (its |their |whose |our )?hands?": "in flight",
    r"needles?": "secret pattern",
    r"doors?": "server, listener, protocol",
    r"(defect|error|reason|fault)s? of ours": "internal error",
    r"journal\w*": "command log",
    r"intakes?": "consumer",
    r"outlets?": "publisher",
    r"gates?": "circuit breaker",
    r"hints?": "last seen",
    r"offload\w*": "run in a thread",
    r"tell(s|ing)?": "report, publish, distinguish",
    r"told": "reported, published",
    r"befall\w*": "happens to",
    r"(take|have|has|had) a look|a look at|two looks": "read, list",
}
"""Pattern → the usual term. For docstrings, comments, messages, documents."""

IDENTIFIERS = frozenset(
    {
        "door",
        "gate",
        "intake",
        "outlet",
        "farewell",
        "hint",
        "hints",
        "look",
        "looks",
        "looked",
        "tell",
        "tells",
        "told",
    }
    | {"owed", "mend", "mends", "mended", "mourn", "bury", "knock", "hands", "room", "turn", "turns", "journal"}
    | {"needle", "needles", "unseal", "grant", "placed", "terms", "offload", "befalls", "whoever"}
)
"""No part of a name that we define is one of these."""

_PROSE = re.compile("|".join(rf"(?P<w{number}>\b{pattern}\b)" for number, pattern in enumerate(PROSE)), re.IGNORECASE)
_TERMS = list(PROSE.values())
_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def in_prose(path: Path, text: str) -> Iterator[str]:
    """A complaint for each unused word in the text, with the term to use."""
    for number, line in enumerate(text.splitlines(), 1):
        for match in _PROSE.finditer(line):
            term = next(_TERMS[int(group[1:])] for group, found in match.groupdict().items() if found)
            yield f"{path}:{number}: {match.group()!r}; say {term}"


def in_names(source: Source) -> Iterator[str]:
    """A complaint for each defined name that contains one of the words."""
    for name, line in sorted(set(source.names()), key=lambda item: item[1]):
        words = {part.lower() for part in _PART.findall(name)} & IDENTIFIERS
        if words:
            yield f"{source.path}:{line}: the name {name} says {', '.join(sorted(words))}; use the field's term"
