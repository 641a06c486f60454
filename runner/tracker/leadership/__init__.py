"""Which tracker leads, and what it leaves to the next one: the ids of results that atlas has accepted."""
