"""runner.security.tokens: result tokens, tied to one run and valid for as long as its job may last."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest

from runner.commands import plan
from runner.config.types import Config
from runner.errors import Internal
from runner.jobs import JobSpec, Secret, TokenClaims
from runner.security.tokens import Signer
from tests.conftest import KeyPair
from tests.unit.documents import read, whole

NOW = 1_800_000_000.75
CLAIMS = TokenClaims(scope="analysis.*", run_id="r-1", job="analysis-s7-r-1-3", lifetime=3300)


@pytest.fixture(scope="module")
def signer(runner_keys: KeyPair) -> Signer:
    return Signer(runner_keys.private, "runner-1", lambda: NOW)


def claims(token: str, key: str) -> dict[str, object]:
    """Verified by another library, as atlas does, but without its checks of the time."""
    decoded: dict[str, object] = jwt.decode(
        token, key, algorithms=["RS256"], issuer="runner-1", options={"verify_exp": False, "verify_iat": False}
    )
    return decoded


def test_the_claims_are_the_contract_s_and_those_that_tie_the_token_to_its_run(
    signer: Signer, runner_keys: KeyPair
) -> None:
    seen = claims(signer.sign(CLAIMS), runner_keys.public)
    assert seen.pop("jti")
    assert seen == {
        "iat": 1_800_000_000,
        "exp": 1_800_003_300,
        "scp": "analysis.*",
        "iss": "runner-1",
        "sub": "analysis-s7-r-1-3",
        "run_id": "r-1",
    }


def test_it_is_signed_with_rs256_and_the_runner_s_key(
    signer: Signer, runner_keys: KeyPair, atlas_keys: KeyPair
) -> None:
    token = signer.sign(CLAIMS)
    assert jwt.get_unverified_header(token) == {"alg": "RS256", "typ": "JWT"}
    with pytest.raises(jwt.InvalidSignatureError):
        claims(token, atlas_keys.public)
    with pytest.raises(jwt.InvalidSignatureError):
        claims(token[:-8] + "AAAAAAAA", runner_keys.public)


def test_no_two_tokens_are_equal(signer: Signer, runner_keys: KeyPair) -> None:
    with ThreadPoolExecutor(8) as threads:
        ids = {claims(token, runner_keys.public)["jti"] for token in threads.map(signer.sign, [CLAIMS] * 32)}
    assert len(ids) == 32


def test_a_jobs_secrets_are_resolved_by_name(signer: Signer, runner_keys: KeyPair, config: Config) -> None:
    (job,) = plan(read("analysis_run", whole("analysis_run")), config)
    assert isinstance(job, JobSpec)
    values = signer.resolve_secrets(job)
    assert set(values) == set(job.secrets)
    for name, secret in job.secrets.items():
        if isinstance(secret, Secret):
            assert values[name] == secret.reveal()
    seen = claims(values["RESULT_HTTP_TOKEN"], runner_keys.public)
    assert (seen["sub"], seen["run_id"]) == (job.name, "r-1")
    assert seen["exp"] == int(NOW) + job.deadlines.total + 900


def test_an_invalid_key_is_refused_before_anything_is_signed() -> None:
    with pytest.raises(Internal):
        Signer("hunter2", "runner-1", lambda: NOW)
