"""marvin analyses, fixes or formats the Python code that coat has cloned, and publishes the result.

It needs Python 3.11 with its standard library, and the `ruff` executable beside that Python, in the toolbox or on the
PATH. It posts the result to RESULT_HTTP_URL once; only a 200 means that atlas has accepted it. In here: everything of
that program, and nothing that a bare Python lacks. Not in here: cloning, committing.

The wire contract leaves open:

- Lines and columns count from 1; the end column is the one after the last character.
- `identifier` stays the same while the code around the issue changes.
- `meta` of an issue is {"rule", "url", "fix": "safe" | "unsafe" | "none"}, and "source" where the request names the
  processor `source_code_load`.
- A metric is {"metric_code", "value"}. A fixed issue is {"issue_code", "path", "position"}.
- A patch is {"id", "path", "patch"}, one for each changed file; `patch` is a unified diff for `git apply`. Snippet
  storage of type `http` is a base URL, the bucket: an autofix puts each patch at `{bucket}/{run_id}/{id}`, with the
  result token as bearer.
- An autofix fixes all occurrences of a code in a file where one of them is requested, because fixes in one file depend
  on each other. `issues_fixed` has them all.
- Status codes: 0 done, 1 failed, 2 time limit exceeded. Levels of errors: 1 error, 2 warning, 3 note.
"""
