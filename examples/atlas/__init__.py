"""atlas: a small control plane. It keeps everything in memory and loses it when it ends.

It sends tasks to the Orchestrator and repeats them until they are accepted, verifies the tokens of jobs, accepts their
results, stores snippets, and shows all of it on a page. In here: atlas's side of the wire contract. Not in here: users,
repositories, anything persistent.
"""
