"""Models of the protocols between clients, clusters and trackers, explored completely.

`explorer` visits every state; `kubernetes` and `nomad` are the models; `following` is the tracker's part in both;
`guards` names the function of the product that has each guard.
"""
