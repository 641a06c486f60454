"""HTTP requests to atlas, to the snippet storage and to the servers of artifacts."""

from __future__ import annotations

import base64
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPResponse
from urllib.parse import unquote, urlsplit, urlunsplit

from .errors import CoatError

HTTP_SECONDS = 60
"""Without a byte of the answer, the request fails."""


def open_url(request: urllib.request.Request, what: str) -> HTTPResponse:
    """The answer. Raises CoatError for an error status, and for a redirection of a request with a token."""
    authorized = request.has_header("Authorization")
    redirects = () if authorized else (urllib.request.HTTPRedirectHandler,)
    opener = urllib.request.OpenerDirector()  # build_opener would follow redirections to ftp: too
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        *redirects,
    ):
        opener.add_handler(handler())
    host = urlsplit(request.full_url).netloc.rpartition("@")[2]
    try:
        answer: HTTPResponse = opener.open(request, timeout=HTTP_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        raise CoatError(f"{what}: {host} answered {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise CoatError(f"{what}: {host} cannot be reached: {error.reason}") from error
    return answer


def web_url(url: str, what: str) -> str:
    """The URL. Raises CoatError unless it is http or https."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise CoatError(f"{what} must have an http or https URL")
    return url


def download_request(url: str, what: str) -> urllib.request.Request:
    """A request for the URL. Its user and password become a header: urllib takes them for a part of the host's name."""
    parts = urlsplit(web_url(url, what))
    userinfo, _, host = parts.netloc.rpartition("@")
    if not userinfo:
        return urllib.request.Request(url)
    login = base64.b64encode(unquote(userinfo).encode()).decode()
    return urllib.request.Request(urlunsplit(parts._replace(netloc=host)), headers={"Authorization": f"Basic {login}"})


def bearer(environ: Mapping[str, str]) -> dict[str, str]:
    """The header with the result token."""
    return {"Authorization": f"Bearer {environ.get('RESULT_HTTP_TOKEN', '')}"}
