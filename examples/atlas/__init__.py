"""atlas: a control plane small enough to read in one sitting. It forgets all when it ends.

It sends tasks to the Orchestrator and repeats them until they are accepted, takes the results of
jobs (after a hard look at their tokens), keeps snippets, and shows all of it on a page. In here:
what the wire contract says of atlas's side. Not in here: users, repositories, anything that lasts.
"""
