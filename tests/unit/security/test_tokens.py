"""runner.security.tokens: result tokens, bound to one run and valid as long as its job can live."""

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
GRANT = TokenClaims(scope="analysis.*", run_id="r-1", job="analysis-s7-r-1-3", lifetime=3300)


@pytest.fixture(scope="module")
def signer(runner_keys: KeyPair) -> Signer:
    return Signer(runner_keys.private, "runner-1", lambda: NOW)


def claims(token: str, key: str) -> dict[str, object]:
    """As atlas reads it: by another library's word, but for the time, which is ours here."""
    decoded: dict[str, object] = jwt.decode(
        token, key, algorithms=["RS256"], issuer="runner-1", options={"verify_exp": False, "verify_iat": False}
    )
    return decoded


def test_the_claims_are_the_contracts_and_what_binds_the_token_to_its_run(signer: Signer, runner_keys: KeyPair) -> None:
    seen = claims(signer.sign(GRANT), runner_keys.public)
    assert seen.pop("jti")
    assert seen == {
        "iat": 1_800_000_000,
        "exp": 1_800_003_300,
        "scp": "analysis.*",
        "iss": "runner-1",
        "sub": "analysis-s7-r-1-3",
        "run_id": "r-1",
    }


def test_it_is_signed_with_rs256_by_our_key(signer: Signer, runner_keys: KeyPair, atlas_keys: KeyPair) -> None:
    token = signer.sign(GRANT)
    assert jwt.get_unverified_header(token) == {"alg": "RS256", "typ": "JWT"}
    with pytest.raises(jwt.InvalidSignatureError):
        claims(token, atlas_keys.public)
    with pytest.raises(jwt.InvalidSignatureError):
        claims(token[:-8] + "AAAAAAAA", runner_keys.public)


def test_no_two_tokens_are_one(signer: Signer, runner_keys: KeyPair) -> None:
    with ThreadPoolExecutor(8) as threads:
        ids = {claims(token, runner_keys.public)["jti"] for token in threads.map(signer.sign, [GRANT] * 32)}
    assert len(ids) == 32


def test_a_jobs_secrets_are_resolved_by_name(signer: Signer, runner_keys: KeyPair, config: Config) -> None:
    (job,) = plan(read("analysis_run", whole("analysis_run")), config)
    assert isinstance(job, JobSpec)
    values = signer.resolve_secrets(job)
    assert set(values) == set(job.secrets)
    for name, sealed in job.secrets.items():
        if isinstance(sealed, Secret):
            assert values[name] == sealed.reveal()
    granted = claims(values["RESULT_HTTP_TOKEN"], runner_keys.public)
    assert (granted["sub"], granted["run_id"]) == (job.name, "r-1")
    assert granted["exp"] == int(NOW) + job.deadlines.total + 900


def test_a_key_that_cannot_sign_is_found_at_the_start() -> None:
    with pytest.raises(Internal):
        Signer("hunter2", "runner-1", lambda: NOW)
