"""`python -m functions.amqp.check`: one connection to the broker, and whether the exchanges and queues exist.

It declares, publishes and consumes nothing. Its last line of output is one sentence; it exits with 0 if the consumer
could start, else with 3. `check-config --connect` runs it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from functions.amqp import broker as amqp_broker
from functions.amqp.broker import BrokerAccess
from functions.amqp.connection import CONNECT_SECONDS, FAILURES, connect, describe
from functions.amqp.topology import missing, queue_topology, retry_topology, sources
from runner.config.protocols import RabbitmqSection
from runner.config.section_variable import RABBITMQ
from runner.errors import OrchestratorError, Rejected, Unavailable
from runner.runtime import exit_codes
from runner.security.masking import shown


async def check(section: RabbitmqSection, broker: BrokerAccess) -> str:
    """What was found, in a sentence. Raises Unavailable without a connection, Rejected where something is missing."""
    wanted = [each for source in sources(section) for each in queue_topology(section, source)]
    once = {(type(each), each.name): each for each in (*wanted, *retry_topology(section))}
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            connection = await connect(broker, "check")
        try:
            absent = await missing(connection, tuple(once.values()))
        finally:
            await connection.close()
    except FAILURES as error:
        raise Unavailable(
            f"{broker.loggable} cannot be used: {describe(error)}; check the broker, and user, password and virtual"
            " host in ORCHESTRATOR_AMQP_URL"
        ) from error
    return _sentence(section, broker, absent)


def _sentence(section: RabbitmqSection, broker: BrokerAccess, absent: list[str]) -> str:
    if not absent:
        return f"{broker.loggable} is connected, and all exchanges and queues exist"
    named = ", ".join(absent[:5]) + (f" and {len(absent) - 5} more" if len(absent) > 5 else "")
    if not section.declare:
        raise Rejected(f"missing on {broker.loggable}: {named}; create them, or set rabbitmq.declare to true")
    return f"{broker.loggable} is connected; not there yet, and declared at the start: {named}"


def main() -> int:
    """Print the sentence; the exit code."""
    logging.disable(logging.CRITICAL)  # the library also logs what it raises
    try:
        said = asyncio.run(check(RABBITMQ.read(os.environ), amqp_broker.read(os.environ)))
    except OrchestratorError as error:
        sys.stdout.write(f"{shown(error.detail)}\n")
        return exit_codes.CONFIGURATION
    sys.stdout.write(f"{shown(said)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
