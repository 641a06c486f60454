"""runner.drivers.http.proxies: the environment's proxy for a server, as most programs read it."""

from __future__ import annotations

import pytest

from runner.drivers.http.proxies import proxy_for

BOTH = {"HTTPS_PROXY": "http://s", "HTTP_PROXY": "http://p"}

CHOSEN: list[tuple[str, dict[str, str], str]] = [
    ("https://a.example", {}, ""),
    ("https://a.example", BOTH, "http://s"),
    ("http://a.example", BOTH, "http://p"),
    ("http://a.example", {"HTTPS_PROXY": "http://s"}, ""),
    ("https://a.example", {"ALL_PROXY": "http://all"}, "http://all"),
    ("https://a.example", {"all_proxy": "http://all", **BOTH}, "http://s"),
    ("https://a.example", {"https_proxy": "http://lower", **BOTH}, "http://lower"),
    ("https://a.example", {"https_proxy": "", **BOTH}, ""),
    ("https://a.example", {"HTTPS_PROXY": " http://s "}, "http://s"),
    ("https://a.example", {**BOTH, "NO_PROXY": "a.example", "no_proxy": "b.example"}, "http://s"),
]


@pytest.mark.parametrize(("url", "environment", "proxy"), CHOSEN)
def test_the_proxy_of_a_url(url: str, environment: dict[str, str], proxy: str) -> None:
    assert proxy_for(url, environment) == proxy


BYPASSED = [
    ("https://a.example", "*"),
    ("https://a.example", "a.example"),
    ("https://A.Example", "a.example"),
    ("https://a.example", "A.EXAMPLE"),
    ("https://a.example", "b, a.example ,c"),
    ("https://a.example", "example"),
    ("https://a.example", ".example"),
    ("https://a.example", "*.example"),
    ("https://a.example:8443", "a.example"),
    ("https://a.example:8443", "a.example:8443"),
    ("https://a.example", "a.example:443"),
    ("http://a.example", "a.example:80"),
    ("https://10.1.2.3", "10.1.2.3"),
    ("https://10.1.2.3", "10.0.0.0/8"),
    ("https://10.1.2.3:8443", "10.1.2.3:8443"),
    ("https://[fd00::1]", "fd00::1"),
    ("https://[fd00::1]", "[fd00::1]"),
    ("https://[fd00::1]:8443", "[fd00::1]:8443"),
    ("https://[fd00::1]", "fd00::/8"),
]
USED = [
    ("https://a.example", ""),
    ("https://a.example", " , "),
    ("https://a.example", "b.example"),
    ("https://aa.example", "a.example"),
    ("https://a.example.org", "a.example"),
    ("https://a.example", "a.example:8443"),
    ("https://11.1.2.3", "10.0.0.0/8"),
    ("https://10.1.2.3", "2.3"),
    ("https://10.1.2.3", "10.0.0.0/99"),
    ("https://a.example", "10.0.0.0/8"),
    ("https://a.example", "."),
    ("https://[fd00::1]", "fd01::/16"),
    ("https://10.1.2.3", "fd00::/8"),
]


@pytest.mark.parametrize(("url", "no_proxy"), BYPASSED)
def test_no_proxy_names_a_server(url: str, no_proxy: str) -> None:
    assert proxy_for(url, BOTH | {"NO_PROXY": no_proxy}) == ""


@pytest.mark.parametrize(("url", "no_proxy"), USED)
def test_no_proxy_does_not_name_a_server(url: str, no_proxy: str) -> None:
    assert proxy_for(url, BOTH | {"NO_PROXY": no_proxy}) == "http://s"
