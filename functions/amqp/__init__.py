"""The RabbitMQ protocol: `python -m functions.amqp` consumes one queue for each request type of the table.

In here: the broker's connection and topology, consuming, delays and dead letters for messages that were not accepted.
Not in here: what a request means (`functions.function`), Falcon, and any other protocol.
"""
