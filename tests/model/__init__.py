"""Models of the protocols between clients, clusters and trackers, explored completely.

`explorer` visits every state. `kubernetes`, `nomad` and `claims` are the models; `following` is the tracker's part in
the first two. `guards` names the function of the product that has each guard, and what the models take for granted.
"""
