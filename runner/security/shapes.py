"""Finds credentials by their shape: tokens of well-known services, JWTs, long base64.

As in `credentials`, each function gives offsets (start, end), and the time is linear.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from runner.security import hexadecimal

Span = tuple[int, int]

INLINE_RUN = 96
"""Characters of base64 within a line that are masked. A SHA-512 has 88."""

AWS_SECRET = 40
"""Characters of AWS's secret keys, which are base64 too. A SHA-1 has 28, a SHA-256 43."""


_DISTINCT = (
    *("gh[pousr]_", "github_pat_", "gl(?:pat|ptt|dt|rtr?|soat|cbt|ft|imt|agent|oas|ffct)-", "xox[a-z]-", "xapp-"),
    *("GR1348941", "do[or]_v1_", "sq0[ac][a-z]p-", "ATCTT3x", "ATBB", "lin_oauth_", "pscale_(?:pw|tkn|oauth)_", "fm2_"),
    *(
        "HRKU-",
        "nfp_",
        "sbp_",
        "NRII-",
        "PMAK-",
        r"dp\.(?:pt|st|ct|sa|scim|audit)\.",
        r"dt0c01\.",
        "sntry[su]_",
        "gsk_",
    ),
    *("dckr_oat_", "AKCp", "CLOJARS_", "EAACEdEose0cBA", "ntn_", "figd_", "pplx-", "lsv2_", "bku?a_", "CCIPAT_"),
    *("sq[upa]_", r"snyk_uat\.", "api_org_", "ABSKQ", r"webhook\.office\.com/webhookb2/", "cmVmdGtu", "v4\\.local\\."),
    *("AIza", "GOCSPX-", r"ya29\.", "npm_", "pypi-", "dckr_pat_", "dop_v1_", "shp(?:at|ca|pa|ss)_", "rubygems_"),
    *("[sr]k_(?:live|test)_", "whsec_", "glsa_", "glc_", "lin_api_", "ATATT3x", "AGE-SECRET-KEY-1"),
    *(
        "shippo_(?:live|test)_",
        "xkeysib-",
        "FLWSECK(?:_TEST)?-",
        "CFPAT-",
        "pat-[a-z]{2}[0-9]-",
        "sgp_",
        "waka_",
        "gta_",
    ),
    *("access-(?:sandbox|development|production)-", r"[sp]k\.(?=eyJ)", "nvapi-", "essu_"),
    *(r"hooks\.slack\.com/services/", r"discord(?:app)?\.com/api/webhooks/", r"\.atlasv1\.", "dsp_"),
)
_AMBIGUOUS = (
    r"hv[sbr]\.",
    "hf_",
    "sk-",
    "xai-",
    "dapi",
    "key-",
    "r8_",
    "secret_",
    "1//0",
    r"s\.(?=[A-Za-z0-9]{24}(?![A-Za-z0-9]))",
    r"SG\.",
    "NRAK-",
    "pul-",
)
"""Prefixes that also end words. What precedes may be an escaped line feed."""

_PREFIX = re.compile(rf"(?:{'|'.join(_DISTINCT)}|(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))(?:{'|'.join(_AMBIGUOUS)}))(?=[\w-])")
_REST = re.compile(r"[A-Za-z0-9_./+=-]*")
_WORDS = re.compile(
    r"(?:secret_|key-|hf_|xai-|r8_|dapi_|npm_|pypi-|sk-(?!proj|ant|svc|admin|or-))"
    r"(?:[a-z]{2,12}[_./-]+){2,}(?:(?:[a-z]{1,12}[0-9]{0,2}|v?[0-9]{1,4}(?:[a-z]{2,5}[0-9]{0,2})?)(?:[_./-]+|\Z))*\Z"
)
"""The name of a file or a module that begins as some tokens do: `secret_manager_client_v1beta1.py`."""
_LONGEST_NAME = 120
"""Characters of such a name; longer ones would take too long to match."""
_WHOLE = re.compile(
    r"A(?:[KSB]IA[A-Z0-9]{16}|(?<!\wA)(?:CCA|3T[A-Z0-9])[A-Z0-9]{16}\b)"  # AWS
    r"|[AS](?:(?<![A-Za-z0-9][AS])|(?<=\\[nrt][AS]))[CK][0-9a-f]{32}\b"  # Twilio
    r"|:(?<=[0-9]{8}:)AA[\w-]{33}(?![\w-])"  # Telegram
    r"|[MNO](?<!\w[MNO])[\w-]{23,27}\.[\w-]{6}\.[\w-]{27,38}"  # Discord
    r"|pat(?:(?<![A-Za-z0-9]pat)|(?<=\\[nrt]pat))[A-Za-z0-9]{14}\.[0-9a-f]{64}"  # Airtable
    r"|\$(?:apr1|[1256y]|2[abxy]|argon2i?d?)\$[A-Za-z0-9./$=,+-]{20,}"  # crypt(5), a password's hash
    r"|Q~(?<=[\w~.-]{3}[0-9]Q~)[\w~.-]{31,34}"  # Entra ID
)
"""Tokens without a prefix of their own."""
_JWK = re.compile(r'"(?:d|k|dp|dq|qi)\\*"[ \t]?:[ \t]?\\*"(?P<value>[A-Za-z0-9_-]{22,})(?=\\*")')
"""The private members of a key in JSON (RFC 7518, section 6)."""
SHORTEST_REST = 16
"""Characters of a token after its prefix. Documentation has shorter ones."""


_LONG_WORD = re.compile(r"[\w./+=$~,:-]{18,}")
"""What a token is in, with its prefix. Most words are shorter, and are passed over at once."""


def tokens(text: str) -> Iterator[Span]:
    """Tokens of well-known services, and JWTs."""
    for word in _LONG_WORD.finditer(text):
        yield from _prefixed(text, *word.span())
        yield from (found.span() for found in _WHOLE.finditer(text, *word.span()))
        yield from _jwts(text, *word.span())
        yield from _labelled(text, *word.span())
    yield from (found.span("value") for found in _JWK.finditer(text) if scrambled(found["value"]))


def _prefixed(text: str, first: int, last: int) -> Iterator[Span]:
    read = 0
    for prefix in _PREFIX.finditer(text, first, last):
        if prefix.start() < read:
            continue
        read = run_end(_REST, text, prefix.end())
        read -= len(text[prefix.end() : read]) - len(text[prefix.end() : read].rstrip("./"))
        rest = text[prefix.end() : read]
        if len(rest) >= SHORTEST_REST and not _is_name(prefix[0], rest):
            yield prefix.start(), read


LABELLED_RUN = 24
"""Characters that look random, after a label: `acme_live_` and others that no list of services has."""

_RUN = re.compile(rf"[_-]([A-Za-z0-9]{{{LABELLED_RUN},}})(?![A-Za-z0-9+/=])(?:[_.-][A-Za-z0-9]+)*")
_LABEL = re.compile(
    r"(?:(?<=\\[nrt])|(?<![A-Za-z0-9+/_.\\-]))(?!sha[0-9]|md[0-9]|h1-)"
    r"[a-z][a-z0-9]{1,15}(?:[_-][A-Za-z0-9]{1,20}){0,3}\Z"
)
_LONGEST_LABEL = 80
_WORD = re.compile("[a-z]{3,}")


def _labelled(text: str, first: int, last: int) -> Iterator[Span]:
    """Runs of letters and digits that look random and follow a label in small letters. Digests have one case.

    A name in camelCase is of words: most of its characters are small letters beside each other.
    """
    for run in _RUN.finditer(text, first, last):
        of_words = sum(map(len, _WORD.findall(run[1]))) * 2 >= len(run[1])
        if not of_words and scrambled(run[1]) and any(map(str.isdigit, run[1])):
            label = _LABEL.search(text, max(0, run.start() - _LONGEST_LABEL), run.start())
            if label:
                yield label.start(), run.end()


def _is_name(prefix: str, rest: str) -> bool:
    """Whether it is a name of words rather than a token."""
    if not any(map(str.isdigit, rest)):
        return rest.islower() or "-" in rest
    return len(rest) <= _LONGEST_NAME and _WORDS.match(prefix + rest) is not None


_JWT_PART = re.compile(r"[A-Za-z0-9_=+/-]+")
_JWT_BEGIN = re.compile("ey[JA]|ew[o0]")
"""`{"`, or a brace and white space."""

_JWT_PARTS = re.compile(r"\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*){0,2}")
LONG_JSON = 20
"""Characters of base64 that begin with `{"` and are masked without a second part: a registry's login, say."""


def _jwts(text: str, first: int, last: int) -> Iterator[Span]:
    read = 0
    for begin in _JWT_BEGIN.finditer(text, first, last):
        at = begin.start()
        if at < read:
            continue
        end = read = run_end(_JWT_PART, text, at)
        if parts := _JWT_PARTS.match(text, end):
            read = parts.end()
            if read - at >= LONG_JSON:
                yield at, read
        elif begin[0] == "eyJ" and end - at >= LONG_JSON and any(map(str.isdigit, text[at:end])):
            yield at, end


_BASE64 = re.compile(rf"[A-Za-z0-9+/\\_-]{{{AWS_SECRET},}}={{0,2}}")
_AWS_SECRET = re.compile(rf"(?:(?<![A-Za-z0-9+/\\_-])|(?<=\\[nrt]))[A-Za-z0-9+/]{{{AWS_SECRET}}}(?![A-Za-z0-9+/_=-])")
_MIXED = re.compile(r"(?=[A-Z][A-Z0-9]|[0-9][A-Za-z]|[a-z][0-9])")


def long_base64(text: str) -> Iterator[Span]:
    """Runs of base64 that look like random bytes and are long, or as long as a secret key of AWS."""
    for run in _BASE64.finditer(text):
        if len(run[0]) >= INLINE_RUN:
            if scrambled(run[0]):
                yield run.start(), run.end() - (len(run[0]) - len(run[0].rstrip("\\")))
            else:
                yield from (digits.span() for digits in hexadecimal.RUN.finditer(text, run.start(), run.end()))
        elif (secret := _AWS_SECRET.search(text, run.start(), run.end())) and scrambled(secret[0]):
            yield secret.span()


def scrambled(run: str) -> bool:
    """Whether characters of base64 look like random bytes: both cases, and pairs that words seldom have.

    Such a pair is two capitals, or a digit beside a letter. Random base64 has 41 of them in 100 characters; one in 8 is
    asked for (measured; none of 300,000 random bodies of 96 was missed). Checksums have one case, and paths and names
    in camelCase have few such pairs.
    """
    size = len(run)
    capitals, small = sum(map(str.isupper, run)), sum(map(str.islower, run))
    return min(capitals, small) * 8 >= size and len(_MIXED.findall(run)) * 8 >= size


def run_end(pattern: re.Pattern[str], text: str, start: int) -> int:
    """Where the run that begins at `start` ends; `start` itself where there is none."""
    found = pattern.match(text, start)
    return found.end() if found else start
