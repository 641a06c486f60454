"""runner.payloads.remotes: which clone URLs are taken, and what is left of one without its credentials."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.payloads.remotes import download_objection, objection, parse


def refused(url: str) -> str:
    return objection(url, allow_file=False)


@pytest.mark.parametrize(
    "url",
    [
        "https://git.example/team/code.git",
        "http://git.example/code",
        "HTTPS://Git.Example/code",
        "https://***:***@github.com/t3st-org/demo-python.git",
        "https://user@git.example/code",
        "https://user:token@git.example:8443/code",
        "https://user@corp.example:p@ss@git.example/code",
        "https://x-access-token:ghs_%2F%40@git.example/code",
        "https://git.example/code?service=x#main",
        "https://git.example/$(X)/${Y}/{{z}}",
        "https://10.1.2.3/code",
        "https://127.0.0.1:3000/code",
        "https://[2001:db8::1]/code",
        "https://[2001:db8::1]:8443/code",
        "https://[::1]:1/code",
        "https://git.example:1/code",
        "https://git.example:65535/code",
        "https://git.example./code",
        "https://git_host/code",
        "ssh://git@git.example/code.git",
        "ssh://git@git.example:2222/~user/code.git",
        "ssh://git@[2001:db8::1]:22/code.git",
        "ssh://user@corp@git.example/code.git",
        "git@git.example:team/code.git",
        "git.example:code",
        "git@git.example:/srv/code.git",
        "git@[2001:db8::1]:code",
        "git@10.0.0.1:22/code",
        "git@git.example:code::x",
    ],
)
def test_good_remotes_are_taken(url: str) -> None:
    assert refused(url) == ""


PROGRAMS = [
    "ext::sh -c touch% /tmp/x",
    "ext::x",
    "EXT::x",
    "fd::7/foo",
    "foo::https://git.example/code",
    "https::https://git.example/code",
    "-oProxyCommand=touch",
    "--upload-pack=touch:x",
    "ssh://-oProxyCommand=touch/code",
    "ssh://-oProxyCommand=touch@git.example/code",
    "ssh://%2doProxyCommand=touch@git.example/code",
    "ssh://%2DoProxyCommand=touch@git.example/code",
    "-oProxyCommand=touch@git.example:code",
    "git@-oProxyCommand=touch:code",
    "git@git.example:-oProxyCommand=touch",
    "git@git.example:/-x",
    "ssh://git.example/-x",
]
OTHER_TRANSPORTS = [
    "file:///etc",
    "FILE:///etc",
    "file://localhost/etc",
    "file://[/etc",
    "git://git.example/code",
    "git+ssh://git.example/code",
    "ssh+git://git.example/code",
    "ftp://git.example/code",
    "ftps://git.example/code",
    "rsync://git.example/code",
    "gopher://git.example/code",
    "/srv/code.git",
    "./code.git",
    "../code.git",
    "~/code.git",
    "code.git",
    "",
    ":",
    ":code",
    "git@:code",
    "git@git.example:",
]
NO_PLACE = [
    "https://",
    "https:///code",
    "https://git.example",
    "https://git.example/",
    "https://git.example//",
    "https://git.example?x",
    "https://git.example:0/code",
    "https://git.example:65536/code",
    "https://git.example:99999/code",
    "https://git.example:999999999/code",
    "https://git.example:/code",
    "https://git.example:-1/code",
    "https://git.example:x/code",
    "https://git.example:22x/code",
    "https://user:pa/ss@git.example/code",
    "https://user\\@git.example/code",
    "https://git.example\\code/x",
    "https://-git.example/code",
    "https://.git.example/code",
    "https://git%2eexample/code",
    "https://git$(x).example/code",
    "https://gité.example/code",
    "https://[2001:db8::1/code",
    "https://2001:db8::1/code",
    "https://[git.example]/code",
    "https://[:::]/code",
    "https://[1.2.3.4]x/code",
    "ssh://git.example%2F@evil.example/code",
    "git@git.example:x://y",
    "git@host://y",
    "x" * 300 + ":code",
]


@pytest.mark.parametrize("url", PROGRAMS + OTHER_TRANSPORTS + NO_PLACE)
def test_bad_remotes_are_refused(url: str) -> None:
    assert refused(url).startswith("must ")


METADATA_HOSTS = [
    "169.254.169.254",
    "169.254.169.254.",
    "169.254.170.2",
    "169.254.0.23",
    "2852039166",
    "2852039166.",
    "0xa9fea9fe",
    "0XA9FEA9FE",
    "025177524776",
    "0xa9.0xfe.0xa9.0xfe",
    "0251.0376.0251.0376",
    "0xa9.254.0251.254",
    "169.254.43518",
    "169.16689662",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[::FFFF:A9FE:A9FE]",
    "[0:0:0:0:0:ffff:a9fe:a9fe]",
    "[::169.254.169.254]",
    "[64:ff9b::169.254.169.254]",
    "[fe80::a9fe:a9fe]",
    "[fd00:ec2::254]",
    "[fd00:0ec2:0:0:0:0:0:254]",
    "[fd20:ce::254]",
    "100.100.100.200",
    "[::ffff:100.100.100.200]",
    "168.63.129.16",
    "metadata",
    "metadata.google.internal",
    "METADATA.Google.Internal.",
    "metadata.goog",
    "instance-data",
    "instance-data.ec2.internal",
    "192.0.0.192",
    "3221225664",
    "metadata.azure.com",
    "metadata.azure.com..",
    "metadata.tencentyun.com",
    "x.metadata.google.internal",
    "100.0100.100.0200",  # with decimal zeros
    "[::ffff:0:169.254.169.254]",
    "[2002:a9fe:a9fe::]",
    "[2002:a9fe:a9fe:1::5]",
    "[2002:6464:64c8::1]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::a9fe:a9fe]",
    "[64:ff9b:1:a9fe:a9:fe00::]",
    "[64:ff9b:1:a9:fe:a9fe::]",
    "[64:ff9b:1::a9:fea9:fe00:0]",
    "[2001:0:a9fe:a9fe::]",
    "[2001::5601:5601]",
    "[2001:db8::5efe:a9fe:a9fe]",
    "[2001:db8::200:5efe:a9fe:a9fe]",
    "[fe80::1]",
    "[febf::1]",
    "[fd00:ec2::23]",
    "[fd00:c1::a9fe:a9fe]",
    "[fd00:42::42]",
    "[fd00:a9fe:a9fe::1]",
    "169.254.169.254.nip.io",
    "app-169-254-169-254.sslip.io",
    "1-169-254-169-254.nip.io",
    "ec2.169-254-169-254.example",
    "a9fea9fe.nip.io",
    "app-a9fea9fe.nip.io",
    "0xa9fea9fe.nip.io",
    "fd00-ec2--254.sslip.io",
    "0--ffff-a9fe-a9fe.sslip.io",
    "instance-data.eu-west-1.compute.internal",
    "data-server",
    "api.service.softlayer.com",
]
NO_HOSTS = [
    "169.254.169.999",
    "4294967296",
    "1.2.3.4.5",
    "0169.0254.0169.0254",
    "0xa9fea9fe0",
    "0x",
    "git.09",
    "metadata..google.internal",
    "[fe80::1%25eth0]",
    "[fe80::1%eth0]",
    "[169.254.169.254]",
    "[::1].",
    "１６９.２５４.１６９.２５４",
    "169。254。169。254",
    "①⑥⑨.254.169.254",
    "metadata.google.internаl",  # a Cyrillic a
    "%31%36%39.254.169.254",
    "169.254.169.254%2f",
]


@pytest.mark.parametrize("host", METADATA_HOSTS)
def test_no_spelling_of_a_metadata_service_is_taken(host: str) -> None:
    urls = [f"http://{host}/latest", f"https://user:token@{host}:80/latest", f"ssh://git@{host}/x", f"git@{host}:x"]
    for url in urls:
        assert refused(url) == "must not be a cloud's metadata service"
    assert download_objection(urls[0], allow_file=True) == "must not be a cloud's metadata service"
    # curl, which git clones with, reads these as well.
    assert refused(f"http://{host}:/latest")
    assert refused(f"http://{host}:000080/latest")
    assert refused(f"http://{host}\\@git.example/latest")


@pytest.mark.parametrize("host", NO_HOSTS)
def test_what_is_no_host_is_refused(host: str) -> None:
    for url in (f"http://{host}/latest", f"https://user:token@{host}:80/latest", f"ssh://git@{host}/x"):
        assert refused(url).startswith("must ")
        assert download_objection(url, allow_file=False).startswith("must ")


@pytest.mark.parametrize(
    "host",
    [
        *("169.253.1.1", "100.100.100.201", "1.1.1.1", "2852104704", "[fd00:ec3::254]", "metadata.example", "[::1]"),
        *("192.0.0.191", "[2002:a9fd:a9fe::]", "[2001:db8::a9fe:a9fe]", "[64:ff9b:2::a9fe:a9fe]", "[fec0::1]"),
        *("10.0.0.7", "192.168.1.1", "172.16.0.1", "[fd12:3456::1]", "0x7f000001", "v1.2.3x", "my-metadata"),
        *("localhost", "registry-1-2-3-4.example", "1-2-3-4.example"),
    ],
)
def test_their_neighbours_are_taken(host: str) -> None:
    assert refused(f"http://{host}/code") == ""


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("https://storage.example/a?X-Amz-Signature=x#y", True),
        ("https://user:pw@storage.example:8443/a", True),
        ("https://storage.example", True),
        ("ssh://git@storage.example/a", True),
        ("s3://bucket/key", True),
        ("gs://bucket/key", True),
        ("https://10.0.0.1/a", True),
        ("https://storage.example?sig=x", False),
        ("http://storage.example#@169.254.169.254/", False),
        ("http://storage.example?@169.254.169.254/", False),
        ("http://169.254.169.254\\@storage.example/", False),
        ("http://storage.example@169.254.169.254/", False),
        ("https:///169.254.169.254/", False),
        ("file:///etc/passwd", False),
        ("FILE:///etc/passwd", False),
        ("file://localhost/etc/passwd", False),
        ("ftp://storage.example/a", False),
        ("gopher://storage.example/a", False),
        ("dict://storage.example/a", False),
        ("data://text/a", False),
        ("jar:http://storage.example/a", False),
        ("git@storage.example:a", False),
    ],
)
def test_downloads_have_the_same_rule_and_object_stores(url: str, taken: bool) -> None:
    assert (download_objection(url, allow_file=False) == "") is taken


def test_downloads_of_files_are_allowed_with_those_of_remotes() -> None:
    assert download_objection("file:///srv/report.xml", allow_file=True) == ""
    assert download_objection("file://host/srv/report.xml", allow_file=True)
    assert "remotes.allowFile" in download_objection("file:///srv/report.xml", allow_file=False)


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("file:///srv/code.git", True),
        ("FILE:///srv/code.git", True),
        ("file://", False),
        ("file:///", False),
        ("file://host/srv/code.git", False),
        ("file://user@/srv/code.git", False),
    ],
)
def test_file_urls_name_a_path_and_nothing_else(url: str, taken: bool) -> None:
    assert (objection(url, allow_file=True) == "") is taken
    assert refused(url)


def test_allowing_files_allows_nothing_else() -> None:
    for url in PROGRAMS + NO_PLACE:
        assert objection(url, allow_file=True)


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("ssh://git@git.example/code", True),
        ("git@git.example:code", True),
        ("https://git.example/code", False),
        ("http://git.example/code", False),
    ],
)
def test_a_key_can_be_tried_over_ssh_only(url: str, taken: bool) -> None:
    assert (objection(url, allow_file=False, only_ssh=True) == "") is taken


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("https://user:token@Git.Example/team/code.git", "https://git.example/team/code.git"),
        ("https://user:p@ss@git.example:8443/a?token=x#y", "https://git.example:8443/a"),
        ("https://git.example/Case/Counts", "https://git.example/Case/Counts"),
        ("ssh://git:pw@[2001:DB8::1]:22/a", "ssh://[2001:db8::1]:22/a"),
        ("token@git.example:team/code.git", "git.example:team/code.git"),
        ("file:///srv/code.git", "file:///srv/code.git"),
    ],
)
def test_what_may_be_shown_of_a_remote_has_no_credentials(url: str, public: str) -> None:
    remote = parse(url)
    assert remote is not None
    assert remote.public == public


@given(st.text() | st.from_regex(r"(?:[a-z+]{1,5}://|)(?:[^/@\n]{0,9}@)?[^\n]{0,30}", fullmatch=True))
def test_any_text_gets_an_answer(url: str) -> None:
    assert isinstance(refused(url), str)


@given(
    st.from_regex(r"[^\s/?#\\-][^\s/?#\\]{0,20}", fullmatch=True),
    st.sampled_from(["https://{}@git.example/a", "ssh://{}@git.example/a"]),
)
def test_no_user_and_no_password_is_left_in_what_may_be_shown(userinfo: str, template: str) -> None:
    remote = parse(template.format(userinfo))
    assert remote is not None
    assert remote.userinfo == userinfo
    assert remote.public == template.format("").replace("@", "")


@pytest.mark.parametrize(
    ("url", "cloned", "downloaded"),
    [
        ("https://u%0a@a.example/b", False, False),
        ("https://u:p%0D%0Ahost=x@a.example/b", False, False),
        ("ssh://u%00@a.example/b", False, False),
        ("https://a.example/b%0a", False, True),
        ("ssh://a.example/b%7F", False, True),
        ("https://u:p%25@a.example/b%20c", True, True),
        ("u@a.example:b%0a", True, False),
    ],
)
def test_git_gets_no_encoded_control_character(url: str, cloned: bool, downloaded: bool) -> None:
    """git refuses a line feed in a credential. In a download's path it is a key's character like any other."""
    assert (objection(url, allow_file=False) == "") is cloned
    assert (download_objection(url, allow_file=False) == "") is downloaded
