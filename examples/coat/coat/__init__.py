"""coat clones the repository for marvin. As the main container of a job it commits patches and pushes them.

It needs Python 3.11 with its standard library, git 2.38 or newer, and ssh. In an image it is the file /app/coat, and
/app/marvin is beside it. In here: everything of that program, and nothing that a bare Python lacks. Not in here:
analysing.

A secret is never in an argument list, in .git/config or in the output. git calls a credential helper, which answers
from the environment, and for the remote's own host only. A private key is a file of mode 0600, which is removed before
marvin starts.

To commit, `--patch-meta` is JSON in the shape of a transformer's `patch_commit`; only `message` is optional:

    {"commit": {"title": "...", "message": "...", "destination_branch": "..."},
     "author": {"name": "...", "email": "..."}}

`--artifacts` names the patches: {"key": K, "patch_ids": {file: [id, ...]}}. Snippet storage of type `http` is a base
URL, the bucket: `GET {bucket}/{key}/{id}`, with the result token as bearer, gives a patch as a unified diff.
"""
