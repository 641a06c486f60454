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


class AskedForLogger(Logger):
    """Writes an access log where one is asked for (--access-logfile).

    gunicorn's own takes `logconfig_dict` for such a wish, and puts together a line for each request, for nobody.
    """

    def access(self, resp, req, environ, request_time):
        if self.cfg.accesslog:
            super().access(resp, req, environ, request_time)


logger_class = AskedForLogger

try:
    section = HTTP.read(os.environ)
except OrchestratorError as error:
    print(f"the HTTP server cannot start: {error.detail}", file=sys.stderr)  # noqa: T201  (there is no log yet)
    sys.exit(exit_codes.CONFIGURATION)

bind = section.bind
worker_class = "functions.http.worker.PatientWorker"
workers = section.workers
threads = section.threads

# A request is answered within 10 s, so a worker that is silent for 60 is stuck. SIGTERM lets requests in flight end.
timeout = 60
graceful_timeout = 30
keepalive = 75  # longer than the usual ingress' own, so that the ingress is the one to close

# With what else is open, fewer than the usual limit of 1,024 open files, over which a worker would die.
worker_connections = 900

# Requests are short lines with few headers; the body is bounded by the functions.
limit_request_line = 2048
limit_request_fields = 64
limit_request_field_size = 16384

# No header of a proxy's changes what a request means here, whoever sends it: not its scheme, not its path.
forwarded_allow_ips = "*"
secure_scheme_headers = {}
forwarder_headers = ""

# Two instances on one host would fight over gunicorn's default control socket, and nobody here uses it.
control_socket_disable = True
proc_name = "orchestrator-functions"
logconfig_dict = logs.settings(os.environ.get("ORCHESTRATOR_LOG_LEVEL", "INFO"))
