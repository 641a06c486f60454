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
from msgspec import UNSET

from runner.commands import plan
from runner.config.types import Config
from runner.drivers.driver import Driver
from runner.drivers.several import FEW, Submit
from runner.errors import Internal, OrchestratorError, Timeout, Unavailable
from runner.jobs import Action, Cancellation, JobResult, JobSpec, State
from runner.payloads import Request, RequestPolicy, unchecked
from runner.request_types import REQUEST_TYPES
from runner.runtime.clock import Clock, Deadline
from runner.runtime.logs import log_command
from runner.runtime.metrics.definitions import IN_FLIGHT
from runner.runtime.metrics.meter import Meter, NoMeter
from runner.runtime.tasks import Tasks, Threads
from runner.runtime.traces import NoTracer, Tracer, spanned
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
        tracer: Tracer | None = None,
    ) -> None:
        self._config = config
        self._meter = meter or NoMeter()
        self._tracer = tracer or NoTracer()
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

    def close(self) -> None:
        """Send the last spans. No frame may follow."""
        self._tracer.close()

    def _ping(self, frame: frames.Ping) -> frames.Pong:
        for driver in self._drivers.values():
            Deadline(frame.deadline, self._clock).check("checking the drivers")  # the client has gone
            driver.check()
        return frames.Pong(drivers=tuple(self._drivers), pid=os.getpid())

    def _submit(self, frame: frames.Submit) -> frames.Accepted:
        began = self._clock.monotonic()
        self._meter.add(IN_FLIGHT, 1)
        span = self._tracer.start(
            f"submit {frame.request_type}", frame.traceparent, {"request_id": frame.trace_id}, kind="server"
        )
        outcome = "internal"
        jobs: tuple[JobResult, ...] = ()
        try:
            jobs = self._carry_out(frame, span.traceparent)
            outcome = "accepted"
        except OrchestratorError as error:
            outcome = error.code
            raise
        finally:
            self._meter.add(IN_FLIGHT, -1)
            span.end("" if outcome == "accepted" else outcome, {"jobs": len(jobs)})
            log_command(
                outcome,
                request_type=frame.request_type,
                request_id=frame.trace_id,
                jobs={job.name: job.state for job in jobs},
                milliseconds=round((self._clock.monotonic() - began) * 1000, 1),
            )
        return frames.Accepted(jobs=jobs)

    def _carry_out(self, frame: frames.Submit, traceparent: str) -> tuple[JobResult, ...]:
        deadline = Deadline(frame.deadline, self._clock)
        if deadline.left <= 0:  # the client has gone
            raise Timeout("the request waited for a worker until its deadline; repeat it")
        planned = plan(self._request(frame), self._config)
        actions = [_of_request(action, frame.trace_id, traceparent) for action in planned]
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
        facts = {"job": job.name, "driver": driver.name, "pool": job.pool}
        step = partial(submit, job, deadline)
        state = spanned(self._tracer, "create job", job.report.traceparent, facts, step)
        return JobResult(name=job.name, driver=driver.name, state=state)

    def _stop(self, cancellation: Cancellation, deadline: Deadline) -> tuple[JobResult, ...]:
        """Stop the job with every driver, since a cancellation names no pool. If no driver has it, write tombstones."""
        for tombstone in (False, True):
            results = tuple(
                JobResult(name=cancellation.name, driver=driver.name, state=state)
                for driver in self._drivers.values()
                if (state := self._cancel(driver, cancellation, deadline, tombstone=tombstone))
            )
            if results:
                return results
        raise Internal(f"no driver accepted the cancellation of {cancellation.name}; repeat the request")

    def _cancel(
        self, driver: Driver, cancellation: Cancellation, deadline: Deadline, *, tombstone: bool
    ) -> State | None:
        facts = {"job": cancellation.name, "driver": driver.name}
        step = partial(driver.cancel, cancellation, deadline, tombstone=tombstone)
        return spanned(self._tracer, "cancel job", cancellation.report.traceparent, facts, step)


def _of_request(action: Action, request_id: str, traceparent: str) -> Action:
    """The same action; the job stores the id of the request that made it, and its trace if there is one."""
    report = msgspec.structs.replace(action.report, request_id=request_id, traceparent=traceparent or UNSET)
    return msgspec.structs.replace(action, report=report)
