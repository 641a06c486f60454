#!/usr/bin/env python3
"""marvin analyses, fixes or formats the Python code that coat has cloned, and publishes the result.

One file; standard library only, and the `ruff` executable, found beside this Python, in the toolbox
or on the PATH. A result goes to RESULT_HTTP_URL, once; only a 200 means that atlas has it.

What the contract leaves open is decided here:

- Lines and columns count from 1; the end column is the one after the last character.
- `identifier` stays the same while the code around the issue changes.
- `meta` of an issue is {"rule", "url", "fix": "safe" | "unsafe" | "none"}, and "source" if asked
  for by the processor `source_code_load`.
- A metric is {"metric_code", "value"}. An issue fixed is {"issue_code", "path", "position"}.
- A patch is {"id", "path", "patch"}, one for each changed file, `patch` being a unified diff that
  `git apply` takes. Snippet storage of type `http` is a base URL, the bucket: an autofix puts each
  patch at `{bucket}/{run_id}/{id}`, with the result token as bearer.
- An autofix treats a file as a whole: where one occurrence of a code is to be fixed, all of that
  code in that file are, since fixes in one file depend on each other. `issues_fixed` has them all.
- Status codes: 0 done, 1 failed, 2 out of time. Levels: 1 error, 2 warning, 3 note.
"""

from __future__ import annotations

import argparse
import base64
import difflib
import hashlib
import importlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import traceback
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote

Document = dict[str, Any]

DONE, FAILED, MISUSED, NOT_TAKEN = 0, 1, 2, 3
"""Exit codes: published a result, published a failure, could not read the flags, nothing taken."""

STATUS_FAILED, STATUS_OUT_OF_TIME = 1, 2
ERROR, WARNING, NOTE = 1, 2, 3

DEFAULT_TIME_LIMIT = 1500
"""Seconds, as in the contract; TIME_LIMIT says otherwise."""

PUBLISH_SECONDS = 60
"""At most this much of the time limit is kept for publishing."""

BATCH = 500
"""Files for one call of ruff: their names fit an argument list many times over."""

RULES = {
    "PYL-W0611": "F401",  # unused import
    "PYL-W0612": "F841",  # unused variable
    "PYL-W0404": "F811",  # imported or defined again, unused so far
    "PYL-E0602": "F821",  # undefined name
    "PYL-W1309": "F541",  # f-string without anything to fill in
    "PYL-W0102": "B006",  # mutable default argument
    "PYL-R0205": "UP004",  # useless inheritance from object
    "FLK-E711": "E711",  # == None
    "FLK-E712": "E712",  # == True
    "FLK-E722": "E722",  # bare except
    "FLK-W291": "W291",  # white space at the end of a line
    "FLK-W605": "W605",  # invalid escape sequence
    "BAN-B307": "S307",  # eval
    "BAN-B602": "S602",  # subprocess with a shell
    "PTC-W0010": "SIM115",  # file opened without with
    "PTC-W0014": "T100",  # debugger left in; ruff has no fix for it, so that an autofix says so
    "PYL-E0001": "invalid-syntax",  # always looked for, whatever is selected
}
"""Issue codes as atlas knows them, and the rule of ruff that finds each. All are looked for."""

CODES = {rule: code for code, rule in RULES.items()}

FORMATTERS = {
    "black": ("format",),
    "autopep8": ("format",),
    "yapf": ("format",),
    "isort": ("check", "--fix", "--exit-zero", "--select", "I"),
}
"""Transformers as atlas knows them, and what of ruff does their work."""

_REFERENCE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")
_SKIPPED = re.compile(r"#\s*skipcq(?::\s*(?P<codes>[A-Za-z0-9, -]+))?", re.IGNORECASE)


class MarvinError(Exception):
    """What went wrong, in a sentence for a person; it becomes the result's `hmessage`."""

    status = STATUS_FAILED


class OutOfTime(MarvinError):
    """The time limit has come."""

    status = STATUS_OUT_OF_TIME


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Do what the flags say and publish how it went. Gives the exit code."""
    options = _parse(expanded(arguments, environ))
    mode = next(mode for mode in MODES if getattr(options, mode) is not None)
    try:
        toml = tomllib.loads(MODES[mode].decode(getattr(options, mode)))
        run_id = str(toml["runID"])
    except (MarvinError, KeyError, ValueError) as error:
        print(f"marvin: --{mode} cannot be read: {error!r}", file=sys.stderr)
        return MISUSED
    report, status = outcome(MODES[mode], toml, options, environ)
    kwargs = {"run_id": run_id, "status": status, **MODES[mode].names(toml)}
    try:
        publish({**kwargs, "report": report, "report_object": ""}, environ)
    except (MarvinError, OSError, HTTPException) as error:
        print(f"marvin: the result could not be published: {error}", file=sys.stderr)
        return NOT_TAKEN
    print(f"marvin: {status['hmessage']}", file=sys.stderr)
    return FAILED if status["code"] else DONE


def expanded(arguments: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """The arguments, with each that is exactly `$(NAME)` replaced by that variable.

    The kubelet does this itself. A host's argument lists can be read by all its users, so on a host
    a secret argument arrives as the reference.
    """
    references = ((argument, _REFERENCE.fullmatch(argument)) for argument in arguments)
    return [environ.get(name[1], argument) if name else argument for argument, name in references]


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    about = "Analyses, fixes or formats Python code and publishes the result."
    parser = argparse.ArgumentParser(prog="marvin", description=about, allow_abbrev=False)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--analyze", metavar="TOML")
    mode.add_argument("--autofix", metavar="BASE64", help="of the zstd of TOML")
    mode.add_argument("--transform", metavar="TOML")
    add = parser.add_argument
    add("--config", default="{}", metavar="JSON", help="the repository's settings")
    add("--snippet-storage-type", default="", help="http is the one that is known")
    add("--snippet-storage-bucket", default="", help="with http: the base URL")
    return parser.parse_args(arguments)


def unpacked(text: str) -> str:
    """The TOML of an autofix: base64 of zstd."""
    return _decompressed(base64.b64decode(text, validate=True)).decode()


def _decompressed(data: bytes) -> bytes:
    """By whatever there is: Python has zstd from 3.14, and a package of the same shape before."""
    for name in ("backports.zstd", "compression.zstd"):
        try:
            library = importlib.import_module(name)
        except ImportError:
            continue
        try:
            plain: bytes = library.decompress(data)
        except library.ZstdError as error:
            raise MarvinError(f"it is not zstd: {error}") from error
        return plain
    if not (program := shutil.which("zstd")):
        raise MarvinError("zstd is needed: backports.zstd, Python 3.14 or the zstd program")
    ended = subprocess.run([program, "-dcq"], input=data, capture_output=True, check=False)
    if ended.returncode:
        raise MarvinError(f"it is not zstd: {ended.stderr.decode(errors='replace').strip()}")
    return ended.stdout


def outcome(
    mode: Mode,
    toml: Document,
    options: argparse.Namespace,
    environ: Mapping[str, str],
) -> tuple[Document, Document]:
    """Report and status. Whatever goes wrong, there is one to publish."""
    task = None
    try:
        task = Task(toml, options, environ)
        report = mode.run(task)
    except Exception as error:
        hmessage, status = str(error), STATUS_FAILED
        if isinstance(error, MarvinError):
            status = error.status
        else:
            hmessage = f"The {mode.noun} failed: {type(error).__name__}."
            traceback.print_exc()
        empty = {**mode.empty, "errors": [{"hmessage": hmessage, "level": ERROR}]}
        return empty, {"code": status, "hmessage": hmessage, "err": repr(error)}
    report = {**mode.empty, **report, "errors": task.errors}
    return report, {"code": 0, "hmessage": f"The {mode.noun} is done.", "err": ""}


class Task:
    """What a mode works with: the request, the code, ruff, and a list of what is to be told."""

    def __init__(
        self,
        toml: Document,
        options: argparse.Namespace,
        environ: Mapping[str, str],
    ) -> None:
        self.toml = toml
        self.settings = _settings(options.config)
        self.storage = Storage(options, environ)
        self.errors: list[Document] = []
        root = Path(environ.get("ORCHESTRATOR_ROOT") or "/")
        self.code = Path(environ.get("CODE_PATH") or root / "code").resolve()
        if not self.code.is_dir():
            raise MarvinError(f"There is no code in {self.code}; was it cloned?")
        self.ruff = Ruff(self.code, _target(self.settings), environ)
        excluded = [_pattern(glob) for glob in self.settings.get("exclude_patterns") or ()]
        self.paths = [path for path in _python_files(self.code) if not _any(excluded, path)]

    def tell(self, hmessage: str, level: int = WARNING) -> None:
        """Have the report say so: nothing asked for is left out in silence."""
        if (told := {"hmessage": hmessage, "level": level}) not in self.errors:
            self.errors.append(told)

    def change(self, paths: Sequence[str], *command: str) -> None:
        """Have ruff change files. What it could not change is told."""
        for complaint in self.ruff.change(paths, *command):
            self.tell(complaint)

    def issues(self, paths: Sequence[str], rules: Iterable[str]) -> list[Document]:
        """What ruff finds, as issues. What it could not look at is told."""
        found = self.ruff.diagnostics(paths, rules)
        sources = Sources(self.code)
        seen: Counter[tuple[str, ...]] = Counter()
        issues = []
        for diagnostic in found:
            path = str(Path(diagnostic["filename"]).relative_to(self.code))
            if diagnostic["code"] in CODES:
                line = sources.line(path, diagnostic["location"]["row"]).strip()
                issues.append(_issue(diagnostic, path, line, seen))
            else:
                self.tell(f"{path}: {diagnostic['message']}")
        return issues


def _settings(text: str) -> Document:
    try:
        settings = json.loads(text)
    except ValueError as error:
        raise MarvinError(f"--config is not JSON: {error}") from error
    if not isinstance(settings, dict):
        raise MarvinError("--config must be a JSON object")
    return settings


def _target(settings: Document) -> str:
    """The oldest Python that the code is for, as ruff writes it; `3.x.x` is the newest."""
    entries: Sequence[Document] = settings.get("analyzers") or ()
    python = next((entry for entry in entries if entry.get("name") == "python"), Document())
    wanted = python.get("runtime_version") or (python.get("meta") or {}).get("runtime_version")
    minor = re.match(r"3\.(\d{1,2})", str(wanted or ""))
    return f"py3{min(max(int(minor[1]), 7), 13) if minor else 13}"


def _python_files(code: Path) -> list[str]:
    """Relative paths, sorted. Links are left out: they may lead out of the code."""
    found = []
    for directory, names, files in os.walk(code):
        names[:] = [name for name in names if name != ".git"]
        whole = (Path(directory, name) for name in files if name.endswith((".py", ".pyi")))
        found += [str(path.relative_to(code)) for path in whole if not path.is_symlink()]
    return sorted(found)


def _pattern(glob: str) -> re.Pattern[str]:
    """As in .gitignore: `*` stays in a directory, `**` does not; without a `/`, at any depth."""
    anchored = glob.strip("/") if "/" in glob.rstrip("/") else f"**/{glob.strip('/')}"
    tokens = re.findall(r"\*\*/|\*\*|\*|\?|[^*?]+", anchored)
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    regex = "".join(parts.get(token) or re.escape(token) for token in tokens)
    return re.compile(f"{regex}(?:/.*)?")


def _any(patterns: Iterable[re.Pattern[str]], path: str) -> bool:
    return any(pattern.fullmatch(path) for pattern in patterns)


class Sources:
    """Lines of files, each file read once."""

    def __init__(self, code: Path) -> None:
        self._code = code
        self._lines: dict[str, list[str]] = {}

    def line(self, path: str, number: int) -> str:
        """The line, or nothing where the file has none of that number."""
        if path not in self._lines:
            self._lines[path] = (self._code / path).read_text("utf-8", "replace").split("\n")
        lines = self._lines[path]
        return lines[number - 1] if 0 < number <= len(lines) else ""


def _issue(
    diagnostic: Document,
    path: str,
    line: str,
    seen: Counter[tuple[str, ...]],
) -> Document:
    code = CODES[diagnostic["code"]]
    seen[code, path, line] += 1
    alike = f"{code}\n{path}\n{line}\n{seen[code, path, line]}"
    position = {
        "begin": _place(diagnostic["location"]),
        "end": _place(diagnostic["end_location"]),
    }
    fix = diagnostic["fix"] or {"applicability": "none"}
    return {
        "issue_code": code,
        "issue_text": diagnostic["message"],
        "location": {"path": path, "position": position},
        "identifier": hashlib.sha256(alike.encode()).hexdigest()[:32],
        "meta": {
            "rule": diagnostic["code"],
            "url": diagnostic["url"] or "",
            "fix": fix["applicability"],
        },
    }


def _place(location: Document) -> Document:
    return {"line": location["row"], "column": location["column"]}


def analyze(task: Task) -> Document:
    """Look for all that is known, in all files or in those of the change."""
    paths = _paths_in_question(task)
    issues = task.issues(paths, RULES.values())
    for name in task.toml.get("processors") or ():
        if process := PROCESSORS.get(name):
            issues = process(issues, Sources(task.code))
        else:
            task.tell(f"The processor {name!r} is not known here; it was passed over.", NOTE)
    return {
        "issues": issues,
        "metrics": _metrics(task.code, paths),
        "is_passed": not issues,
        "file_meta": {"if_all": paths == task.paths, **_changes(task)},
    }


def _paths_in_question(task: Task) -> list[str]:
    name = task.toml.get("analyzerShortcode", "")
    if _switched_off(task.settings.get("analyzers"), name):
        task.tell(f"The analyzer {name!r} is switched off in the repository's settings.", NOTE)
        return []
    commits = () if task.toml.get("is_full_run") else task.toml.get("diffMetaCommits") or ()
    changed = {path for commit in commits for path in commit.get("paths") or ()}
    return [path for path in task.paths if path in changed] if changed else task.paths


def _switched_off(entries: Sequence[Document] | None, name: str) -> bool:
    return any(entry.get("name") == name and not entry.get("enabled") for entry in entries or ())


def load_source(issues: list[Document], sources: Sources) -> list[Document]:
    """Give each issue the line that it begins on."""
    for issue in issues:
        location = issue["location"]
        line = sources.line(location["path"], location["position"]["begin"]["line"])
        issue["meta"]["source"] = line
    return issues


def skip_marked(issues: list[Document], sources: Sources) -> list[Document]:
    """Leave out what a `# skipcq` on the line, or alone on the line above it, says to skip."""
    return [issue for issue in issues if not _is_marked(issue, sources)]


def _is_marked(issue: Document, sources: Sources) -> bool:
    path, number = issue["location"]["path"], issue["location"]["position"]["begin"]["line"]
    above = sources.line(path, number - 1).strip()
    for line in (sources.line(path, number), above if above.startswith("#") else ""):
        if mark := _SKIPPED.search(line):
            codes = re.split(r"[,\s]+", (mark["codes"] or issue["issue_code"]).upper())
            return issue["issue_code"] in codes
    return False


PROCESSORS: dict[str, Callable[[list[Document], Sources], list[Document]]] = {
    "source_code_load": load_source,
    "skip_cq": skip_marked,
}


def _metrics(code: Path, paths: Sequence[str]) -> list[Document]:
    texts = ((code / path).read_bytes() for path in paths)
    lines = sum(sum(1 for line in text.splitlines() if line.strip()) for text in texts)
    return [
        {"metric_code": "LOC", "value": lines},
        {"metric_code": "FILES", "value": len(paths)},
    ]


def _changes(task: Task) -> Document:
    """What differs between the two commits, by git's account."""
    changes: dict[str, list[str]] = {"deleted": [], "renamed": [], "modified": [], "added": []}
    base, checkout = task.toml.get("baseOID"), task.toml.get("checkoutOID")
    if not base or not checkout or base == checkout:
        return changes
    names = {"A": "added", "D": "deleted", "R": "renamed"}
    try:
        for letter, path in _difference(task.code, base, checkout):
            changes[names.get(letter, "modified")].append(path)
    except (OSError, subprocess.SubprocessError) as error:
        task.tell(f"What changed since {base} cannot be said: {type(error).__name__}.", NOTE)
    return changes


_GIT_CONFIG = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "safe.directory",  # a volume is root's, and the job is not root
    "GIT_CONFIG_VALUE_0": "*",
}


def _difference(code: Path, base: str, checkout: str) -> Iterator[tuple[str, str]]:
    """Letter of the change and path, the new one where it was renamed (git-diff(1), -z)."""
    flags = ("--name-status", "--no-ext-diff", "--find-renames", "-z", "--end-of-options")
    ended = subprocess.run(
        ["git", "-C", str(code), "diff", *flags, base, checkout, "--"],
        env={"PATH": os.environ.get("PATH", os.defpath), **_GIT_CONFIG},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=True,
        timeout=60,
    )
    fields = iter(ended.stdout.split("\0")[:-1])
    for letter in fields:
        path = next(fields)
        yield letter[0], next(fields) if letter[0] in "RC" else path


def autofix(task: Task) -> Document:
    """Fix what is asked for, store the patches, and tell of what has no fix."""
    rules = _rules_by_path(task)
    before = _issues_of(task, rules)
    snapshot = Snapshot.take(task.code, rules)
    for path in rules:
        task.change([path], *_FIX, ",".join(rules[path]))
    after = {issue["identifier"] for issue in _issues_of(task, rules)}
    fixed = [issue for issue in before if issue["identifier"] not in after]
    _tell_unfixed(task, before, fixed)
    patches = snapshot.patches()
    for patch in patches:
        task.storage.put(task, patch)
    return {
        "changed_files": [patch["path"] for patch in patches],
        "issues_fixed": [{"issue_code": each["issue_code"], **each["location"]} for each in fixed],
        "patches": patches,
    }


_FIX = ("check", "--fix", "--unsafe-fixes", "--exit-zero", "--select")
"""Unsafe ones too: nothing is committed before somebody has seen the patch."""


def _occurrences(task: Task) -> Iterator[tuple[str, str, int]]:
    """Code, path and line of all that is asked for."""
    for entry in json.loads(task.toml.get("autofix_issues") or "[]"):
        for occurrence in entry.get("occurrences") or ():
            yield entry["issue_code"], occurrence["path"], occurrence["position"]["begin"]["line"]


def _rules_by_path(task: Task) -> dict[str, list[str]]:
    rules: dict[str, list[str]] = {}
    for code, path, _ in _occurrences(task):
        if code not in RULES:
            task.tell(f"{code} is not known here, so nothing was fixed for it.")
        elif path not in task.paths:
            task.tell(f"{path} is not a Python file of this commit, so it was not fixed.")
        elif RULES[code] not in rules.setdefault(path, []):
            rules[path].append(RULES[code])
    return dict(sorted(rules.items()))


def _issues_of(task: Task, rules: Mapping[str, Sequence[str]]) -> list[Document]:
    """Found in one look at all the files, and then only what is asked for in each."""
    found = task.issues(list(rules), sorted({rule for chosen in rules.values() for rule in chosen}))
    return [issue for issue in found if issue["meta"]["rule"] in rules[issue["location"]["path"]]]


def _tell_unfixed(task: Task, before: Sequence[Document], fixed: Sequence[Document]) -> None:
    found, gone = {_spot(issue) for issue in before}, {_spot(issue) for issue in fixed}
    for code, path, line in _occurrences(task):
        if code not in RULES or path not in task.paths or (code, path, line) in gone:
            continue
        if (code, path, line) in found:
            task.tell(f"{path}:{line}: {code} has no automatic fix here.")
        else:
            task.tell(f"{path}:{line}: there is no {code}; the code may have changed.")


def _spot(issue: Document) -> tuple[str, str, int]:
    location = issue["location"]
    return issue["issue_code"], location["path"], location["position"]["begin"]["line"]


def transform(task: Task) -> Document:
    """Run the formatters over all files. Their changes stay in the code directory, uncommitted."""
    broken = {issue["location"]["path"] for issue in task.issues(task.paths, ())}
    for path in sorted(broken):
        task.tell(f"{path} is not valid Python, so it was left alone.")
    paths = [path for path in task.paths if path not in broken]
    snapshot = Snapshot.take(task.code, paths)
    for command in _formatting(task):
        task.change(paths, *command)
    patches = snapshot.patches()
    return {"changed_files": [patch["path"] for patch in patches], "patches": patches}


def _formatting(task: Task) -> list[tuple[str, ...]]:
    """The commands to run, each once, however many tools it stands for."""
    commands: list[tuple[str, ...]] = []
    for tool in task.toml.get("transformerTools") or ():
        if _switched_off(task.settings.get("transformers"), tool):
            task.tell(f"{tool} is switched off in the repository's settings.", NOTE)
        elif tool not in FORMATTERS:
            task.tell(f"{tool} is not known here, so it was not run.")
        elif FORMATTERS[tool] not in commands:
            commands.append(FORMATTERS[tool])
    return commands


@dataclass(frozen=True)
class Snapshot:
    """Files as they were, to tell what has become of them."""

    code: Path
    contents: Mapping[str, bytes]

    @classmethod
    def take(cls, code: Path, paths: Iterable[str]) -> Snapshot:
        """Read them all; code fits in memory."""
        return cls(code, {path: (code / path).read_bytes() for path in paths})

    def patches(self) -> list[Document]:
        """A patch for every file that is not as it was."""
        now = {path: (self.code / path).read_bytes() for path in self.contents}
        before = self.contents
        return [_patch(path, before[path], now[path]) for path in now if now[path] != before[path]]


def _patch(path: str, old: bytes, new: bytes) -> Document:
    lines = difflib.unified_diff(_lines(old), _lines(new), f"a/{path}", f"b/{path}")
    text = "".join(line if line.endswith("\n") else f"{line}\n{_NO_NEWLINE}\n" for line in lines)
    return {"id": hashlib.sha256(text.encode()).hexdigest()[:16], "path": path, "patch": text}


_NO_NEWLINE = "\\ No newline at end of file"


def _lines(content: bytes) -> list[str]:
    """Split at line feeds only, as git does; str.splitlines would also split at form feeds."""
    return list(io.StringIO(content.decode(), newline="\n"))


class Deadline:
    """When the work must be done, so that there is time left to publish."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._limit = float(environ.get("TIME_LIMIT") or DEFAULT_TIME_LIMIT)
        self._end = time.monotonic() + self._limit - min(PUBLISH_SECONDS, self._limit / 10)

    def left(self) -> float:
        """Seconds. Raises OutOfTime when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise self.passed()
        return left

    def passed(self) -> OutOfTime:
        """The error to raise."""
        return OutOfTime(f"It was not done within the time limit of {self._limit:.0f} s.")


_UNREADABLE = "E902"
_LOOK = ("check", "--output-format", "json", "--exit-zero", "--select")


class Ruff:
    """The linter underneath. What the repository says to it is not read."""

    def __init__(self, code: Path, target: str, environ: Mapping[str, str]) -> None:
        places = (Path(sys.executable).parent, environ.get("TOOLBOX_PATH"), environ.get("PATH"))
        found = shutil.which("ruff", path=os.pathsep.join(str(place) for place in places if place))
        if not found:
            raise MarvinError("ruff is not installed beside Python, in the toolbox or on the PATH.")
        self._program = found
        self._code = code
        self._target = target
        self._deadline = Deadline(environ)

    def diagnostics(self, paths: Sequence[str], rules: Iterable[str]) -> list[Document]:
        """What it finds, as it says it (docs.astral.sh/ruff, output format `json`)."""
        selected = ",".join([_UNREADABLE, *(rule for rule in rules if rule != "invalid-syntax")])
        found: list[Document] = []
        for batch in _batches(paths):
            ended = self._run(batch, *_LOOK, selected)
            if ended.returncode:
                raise MarvinError(f"ruff failed: {ended.stderr.strip() or ended.returncode}")
            found += json.loads(ended.stdout)
        return found

    def change(self, paths: Sequence[str], *command: str) -> list[str]:
        """Let it change files. Gives its complaints."""
        complaints = []
        for batch in _batches(paths):
            complaints += self._run(batch, *command).stderr.splitlines()
        return complaints

    def _run(self, paths: Sequence[str], *command: str) -> subprocess.CompletedProcess[str]:
        fixed = ("--isolated", "--no-cache", "--target-version", self._target)
        try:
            return subprocess.run(
                [self._program, *command, *fixed, "--", *paths],
                cwd=self._code,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
                timeout=self._deadline.left(),
            )
        except subprocess.TimeoutExpired as error:
            raise self._deadline.passed() from error


def _batches(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    return (paths[start : start + BATCH] for start in range(0, len(paths), BATCH))


class Storage:
    """Where patches are kept for a commit to come."""

    def __init__(self, options: argparse.Namespace, environ: Mapping[str, str]) -> None:
        self._type = options.snippet_storage_type
        self._bucket = options.snippet_storage_bucket.rstrip("/")
        self._environ = environ

    def put(self, task: Task, patch: Document) -> None:
        """Store a patch under the run's id."""
        if self._type != "http":
            task.tell(f"Snippet storage of type {self._type!r} is not known; no patch is stored.")
            return
        url = f"{self._bucket}/{quote(task.toml['runID'], safe='')}/{patch['id']}"
        status = send(url, patch["patch"].encode(), "text/x-diff", self._environ, method="PUT")
        if status not in (200, 201, 204):
            raise MarvinError(f"The snippet storage answered {status} to a patch.")


@dataclass(frozen=True)
class Mode:
    """One of the three things that marvin does. Its report always has the keys of `empty`."""

    noun: str
    decode: Callable[[str], str]
    run: Callable[[Task], Document]
    names: Callable[[Document], Document]
    empty: Document


MODES = {
    "analyze": Mode(
        noun="analysis",
        decode=str,
        run=analyze,
        names=lambda toml: {
            "check_seq": str(toml.get("checkSeq", "")),
            "analyzer_shortcode": toml.get("analyzerShortcode", ""),
        },
        empty={
            "issues": [],
            "metrics": [],
            "is_passed": False,
            "errors": [],
            "file_meta": {
                "if_all": False,
                "deleted": [],
                "renamed": [],
                "modified": [],
                "added": [],
            },
            "extra_data": {},
        },
    ),
    "autofix": Mode(
        noun="autofix",
        decode=unpacked,
        run=autofix,
        names=lambda _: {"check_seq": "1"},
        empty={
            "changed_files": [],
            "issues_fixed": [],
            "patches": [],
            "errors": [],
            "extra_data": {},
        },
    ),
    "transform": Mode(
        noun="transformation",
        decode=str,
        run=transform,
        names=lambda _: {},
        empty={
            "changed_files": [],
            "commit_sha": "",
            "commit_created": False,
            "errors": [],
            "patches": [],
        },
    ),
}


def publish(kwargs: Document, environ: Mapping[str, str]) -> None:
    """Give atlas the result, once. Raises MarvinError unless it says 200: that alone is taken."""
    name = f"{kwargs['run_id']} {kwargs.get('check_seq', '')}"
    body = {
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, name)),
        "task": environ.get("RESULT_RMQ_TASK", ""),
        "kwargs": kwargs,
        "retries": 0,
    }
    url = environ.get("RESULT_HTTP_URL", "")
    status = send(url, json.dumps(body).encode(), "application/json", environ, method="POST")
    if status != 200:
        raise MarvinError(f"atlas answered {status}, not 200: it has not taken the result")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A token is for the one host that it is sent to."""

    def redirect_request(self, *_: Any) -> None:
        return None


def send(
    url: str,
    body: bytes,
    content_type: str,
    environ: Mapping[str, str],
    *,
    method: str,
) -> int:
    """The status of the answer. Raises OSError where there is none."""
    if not url.startswith(("http://", "https://")):
        raise MarvinError(f"{url!r} is no http or https URL")
    token = environ.get("RESULT_HTTP_TOKEN", "")
    headers = {"Content-Type": content_type, "Authorization": f"Bearer {token}"}
    request = urllib.request.Request(url, data=body, headers=headers, method=method)
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(request, timeout=PUBLISH_SECONDS) as answer:
            status: int = answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
