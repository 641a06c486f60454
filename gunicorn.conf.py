"""gunicorn's settings for one function (`gunicorn functions.analysis:app`) or for all (`functions.bundle:app`).

The environment variable ORCHESTRATOR_HTTP holds the configuration's section `http`; `python -m runner section http`
prints its value. ORCHESTRATOR_LOG_LEVEL is the log level. A flag on gunicorn's command line overrides this file.
"""

import logging
import os
import sys

from gunicorn.glogging import Logger

from runner.config.section_variable import HTTP
from runner.errors import OrchestratorError
from runner.runtime import exit_codes, logs, temporary


class OptionalAccessLogger(Logger):
    """Writes an access log only if --access-logfile is given.

    gunicorn's own logger also formats a line for each request if `logconfig_dict` is set, and then drops it.
    """

    def access(self, resp, req, environ, request_time):
        if self.cfg.accesslog:
            super().access(resp, req, environ, request_time)


logger_class = OptionalAccessLogger
logs.configure(logs.level_of(os.environ))

try:
    section = HTTP.read(os.environ)
except OrchestratorError as error:
    logging.getLogger("orchestrator.http").error("the HTTP server cannot start: %s", error.detail)
    sys.exit(exit_codes.CONFIGURATION)

if problem := temporary.problem():
    print(f"the HTTP server cannot start: {problem}", file=sys.stderr)  # noqa: T201  (logging is not configured yet)
    sys.exit(exit_codes.CONFIGURATION)

bind = section.bind
worker_class = "functions.http.worker.GreenletWorker"
workers = section.workers
threads = section.threads

# A request is answered within 10 s, so a worker without a heartbeat for 60 s is stuck. After SIGTERM, requests in
# flight have 30 s to finish.
timeout = 60
graceful_timeout = 30
keepalive = 75  # longer than an ingress's usual timeout, so that the ingress closes the connection first

# With its other open files, a worker stays below the usual limit of 1,024. A worker that exceeds the limit ends.
worker_connections = 900

# Valid requests have a short request line and few headers. The functions bound the body.
limit_request_line = 2048
limit_request_fields = 64
limit_request_field_size = 16384

# Headers of a proxy change neither the scheme nor the path of a request, whatever their source.
forwarded_allow_ips = "*"
secure_scheme_headers = {}
forwarder_headers = ""

# The control socket is not used, and two instances on one host would conflict over its default path.
control_socket_disable = True
proc_name = "orchestrator-functions"
logconfig_dict = logs.settings(logs.level_of(os.environ))
