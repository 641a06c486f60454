"""runner.security.masking: everything that looks like a credential is masked, and nothing else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.security.masking import mask

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl-_"
PEM = "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\nhunter2==\n-----END OPENSSH PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("https://user:hunter2@git.example/x", "https://***@git.example/x"),
        ("https://hunter2@git.example/x", "https://***@git.example/x"),
        ("https://user:p@hunter2@git.example/x", "https://***@git.example/x"),
        ("https://user:hun'ter2@git.example/x", "https://***@git.example/x"),
        ("see 'ssh://git:hunter2@a/x' and amqp://u:hunter2@b:5672/", "see 'ssh://***@a/x' and amqp://***@b:5672/"),
        (f"key: {PEM}, next", "key: ***, next"),
        (PEM.replace("OPENSSH ", ""), "***"),
        (PEM.replace("OPENSSH", "RSA"), "***"),
        ("-----BEGIN PRIVATE KEY-----\nhunter2 (cut off)", "***"),
        (f"Authorization: Bearer {JWT}", "Authorization: Bearer ***"),
        (f"token={JWT};", "token=***;"),
        (
            "https://s3/a?X-Amz-Credential=hunter2&X-Amz-Signature=hunter2&partNumber=1",
            "https://s3/a?***",
        ),
        ("https://blob/a?sv=1&sig=hunter2", "https://blob/a?***"),
        ("https://gitlab/a?private_token=hunter2", "https://gitlab/a?***"),
    ],
)
def test_a_credential_is_masked(text: str, masked: str) -> None:
    assert mask(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "",
        "analysis-s0-r-1-1 ended",
        "git@git.example:team/code.git",
        "https://git.example/team/code@v2",
        "mail bot@example.com about https://git.example",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        "eyJust a word",
    ],
)
def test_other_text_is_not_changed(text: str) -> None:
    assert mask(text) == text


@given(st.text())
def test_masking_twice_is_masking_once(text: str) -> None:
    assert mask(mask(text)) == mask(text)


@given(
    st.dictionaries(
        st.text(),
        st.text()
        | st.sampled_from([PEM, JWT, "https://u:hunter2@h/x", "-----BEGIN PRIVATE KEY-----\nhunter2", "https://h"]),
    )
)
def test_a_masked_line_of_json_is_still_json_and_has_no_secret(fields: dict[str, str]) -> None:
    masked = mask(json.dumps(fields))
    assert json.loads(masked).keys() or not fields
    assert "hunter2" not in masked


@given(st.from_regex(r'[^/\s"]{0,30}hunter2[^/\s"]{0,30}', fullmatch=True))
def test_a_password_with_any_characters_is_masked(password: str) -> None:
    assert "hunter2" not in mask(f"fatal: could not read from https://user:{password}@git.example/x")
