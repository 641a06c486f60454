"""The sidecar's server: a frame in, a frame out. Drivers may block; decisions are made in `runner.commands`.

frame ─▶ decode ─▶ plan ─▶ actions, several at once ─▶ their pool's driver ─▶ job results ─▶ frame
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain

import msgspec

from runner.commands import plan
from runner.config.types import Config
from runner.drivers.driver import Driver
from runner.drivers.several import FEW, Submit
from runner.errors import Internal, OrchestratorError, Timeout, Unavailable
from runner.jobs import Action, Cancellation, JobResult, JobSpec
from runner.payloads import Request, RequestPolicy, unchecked
from runner.request_types import REQUEST_TYPES
from runner.runtime.clock import Clock, Deadline
from runner.runtime.logs import log_command
from runner.runtime.metrics.definitions import IN_FLIGHT
from runner.runtime.metrics.meter import Meter, NoMeter
from runner.runtime.tasks import Tasks, Threads
from runner.sidecar import frames
from runner.sidecar.parallel import Parallel

log = logging.getLogger("orchestrator.sidecar")


class Sidecar:
    """Answers frames. Thread-safe."""

    def __init__(
        self,
        config: Config,
        drivers: Mapping[str, Driver],
        clock: Clock,
        tasks: Tasks | None = None,
        meter: Meter | None = None,
    ) -> None:
        self._config = config
        self._meter = meter or NoMeter()
        self._clock = clock
        self._drivers = drivers
        self._parallel = Parallel(tasks or Threads())
        self._decoders = {name: unchecked.decoder(row.payload) for name, row in REQUEST_TYPES.items()}
        self._policy = RequestPolicy(
            runner_id=config.runner.id,
            public_key="" if config.http.allow_unauthenticated else config.deepsource.public_keys,
            allow_file_remotes=config.remotes.allow_file,
        )

    def __repr__(self) -> str:
        return f"Sidecar(drivers={sorted(self._drivers)})"

    def answer(self, body: bytes) -> frames.Reply:
        """The reply to one frame; never raises."""
        try:
            frame = frames.decode_request(body)
            if isinstance(frame, frames.Submit):
                return self._submit(frame)
            if isinstance(frame, frames.Ping):
                return self._ping(frame)
            return frames.Policy(policy=self._policy)
        except OrchestratorError as error:
            return frames.Refused.of(error)
        except Exception:
            log.exception("a command failed with an internal error")
            return frames.Refused.of(Internal("internal error; the runner's log has the reason"))

    def _ping(self, frame: frames.Ping) -> frames.Pong:
        for driver in self._drivers.values():
            Deadline(frame.deadline, self._clock).check("checking the drivers")  # the client has gone
            driver.check()
        return frames.Pong(drivers=tuple(self._drivers), pid=os.getpid())

    def _submit(self, frame: frames.Submit) -> frames.Accepted:
        began = self._clock.monotonic()
        self._meter.add(IN_FLIGHT, 1)
        outcome = "internal"
        jobs: tuple[JobResult, ...] = ()
        try:
            jobs = self._carry_out(frame)
            outcome = "accepted"
        except OrchestratorError as error:
            outcome = error.code
            raise
        finally:
            self._meter.add(IN_FLIGHT, -1)
            log_command(
                outcome,
                request_type=frame.request_type,
                request_id=frame.trace_id,
                jobs={job.name: job.state for job in jobs},
                milliseconds=round((self._clock.monotonic() - began) * 1000, 1),
            )
        return frames.Accepted(jobs=jobs)

    def _carry_out(self, frame: frames.Submit) -> tuple[JobResult, ...]:
        deadline = Deadline(frame.deadline, self._clock)
        if deadline.left <= 0:  # the client has gone
            raise Timeout("the request waited for a worker until its deadline; repeat it")
        actions = [_with_request_id(action, frame.trace_id) for action in plan(self._request(frame), self._config)]
        jobs = [action for action in actions if isinstance(action, JobSpec)]
        stops = [self._stop(action, deadline) for action in actions if isinstance(action, Cancellation)]
        return (*self._create_all(jobs, deadline), *chain.from_iterable(stops))

    def _create_all(self, jobs: Sequence[JobSpec], deadline: Deadline) -> Sequence[JobResult]:
        """The jobs of one request, which are in one pool."""
        if not jobs:
            return ()
        name = self._config.driver_of(jobs[0].pool)
        driver = self._drivers[name]
        submit: Submit = driver.submit
        if len(jobs) > FEW:
            submit = driver.submitter(jobs, deadline, partial(self._parallel.run, name, deadline=deadline))
        steps = [partial(self._create, driver, submit, job, deadline) for job in jobs]
        return self._parallel.run(name, steps, deadline)

    def _request(self, frame: frames.Submit) -> Request:
        try:
            request: Request = self._decoders[frame.request_type].decode(frame.request)
        except (KeyError, msgspec.MsgspecError) as error:
            raise Unavailable("a request is not as this release sends it; run one release of both") from error
        return request

    def _create(self, driver: Driver, submit: Submit, job: JobSpec, deadline: Deadline) -> JobResult:
        deadline.check("creating the jobs")
        return JobResult(name=job.name, driver=driver.name, state=submit(job, deadline))

    def _stop(self, cancellation: Cancellation, deadline: Deadline) -> tuple[JobResult, ...]:
        """Stop the job with every driver, since a cancellation names no pool. If no driver has it, write tombstones."""
        for tombstone in (False, True):
            results = tuple(
                JobResult(name=cancellation.name, driver=driver.name, state=state)
                for driver in self._drivers.values()
                if (state := driver.cancel(cancellation, deadline, tombstone=tombstone))
            )
            if results:
                return results
        raise Internal(f"no driver accepted the cancellation of {cancellation.name}; repeat the request")


def _with_request_id(action: Action, request_id: str) -> Action:
    """The same action; the job stores the id of the request that made it."""
    return msgspec.structs.replace(action, report=msgspec.structs.replace(action.report, request_id=request_id))
