"""gunicorn's settings for the functions, alone (`gunicorn functions.analysis:app`) or all (`functions.bundle:app`).

The configuration's section `http` comes from ORCHESTRATOR_HTTP (`python -m runner section http` prints its value), the
log's level from ORCHESTRATOR_LOG_LEVEL. A flag on gunicorn's command line overrides this file.
"""

import os
import sys

from gunicorn.glogging import Logger

from runner.config.section_variable import HTTP
from runner.errors import OrchestratorError
from runner.runtime import exit_codes, logs


class OptionalAccessLogger(Logger):
    """Writes an access log only if --access-logfile is given.

    gunicorn's own logger also formats a line for each request if `logconfig_dict` is set, and then drops it.
    """

    def access(self, resp, req, environ, request_time):
        if self.cfg.accesslog:
            super().access(resp, req, environ, request_time)


logger_class = OptionalAccessLogger

try:
    section = HTTP.read(os.environ)
except OrchestratorError as error:
    print(f"the HTTP server cannot start: {error.detail}", file=sys.stderr)  # noqa: T201  (the log is not configured yet)
    sys.exit(exit_codes.CONFIGURATION)

bind = section.bind
worker_class = "functions.http.worker.GreenletWorker"
workers = section.workers
threads = section.threads

# A request is answered within 10 s, so a worker that is silent for 60 is stuck. After SIGTERM, requests in flight end.
timeout = 60
graceful_timeout = 30
keepalive = 75  # longer than an ingress' usual timeout, so that the ingress closes the connection first

# With the other open files, below the usual limit of 1,024, over which a worker fails.
worker_connections = 900

# Requests are short lines with few headers; the body is bounded by the functions.
limit_request_line = 2048
limit_request_fields = 64
limit_request_field_size = 16384

# A proxy's headers change nothing about a request, neither its scheme nor its path, from any sender.
forwarded_allow_ips = "*"
secure_scheme_headers = {}
forwarder_headers = ""

# Two instances on one host would share gunicorn's default control socket, which is not used here.
control_socket_disable = True
proc_name = "orchestrator-functions"
logconfig_dict = logs.settings(os.environ.get("ORCHESTRATOR_LOG_LEVEL", "INFO"))
