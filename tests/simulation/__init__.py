"""The real drivers and the real tracker in a simulated world: one seed, virtual time, every step replayable.

In here: the scheduler of all steps; simulated servers (kubernetes, nomad, atlas) behind HttpClient; clients, faults and
crashes; and the checker, which holds the four promises of the design against each history. Real code is made by
`runner.composition` alone, and knows nothing of all this.
"""
