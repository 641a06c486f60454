"""runner.security.masking: which credentials it knows, wherever they stand, and what a reader needs and keeps."""

from __future__ import annotations

import base64
import json
import re
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import Unavailable
from runner.security.masking import KEY_LINES, evidence_tail, last_lines, mask, shown
from runner.sidecar.frames import Refused
from tests.conftest import ROOT

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def random_text(size: int, alphabet: str = LETTERS, seed: int = 1) -> str:
    return "".join(Random(seed).choices(alphabet, k=size))


JWT = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (b'{"alg":"RS256"}', b'{"a":1}', b"s1"))

# Put together here, so that nobody's scanner of this repository finds a token.
TOKENS = {
    "GitHub": "ghp" + "_" + random_text(36),
    "GitHub, OAuth": "gho" + "_" + random_text(36),
    "GitHub, app": "ghs" + "_" + random_text(36),
    "GitHub, refresh": "ghr" + "_" + random_text(36),
    "GitHub, fine-grained": "github" + "_pat_" + random_text(22) + "_" + random_text(59),
    "GitLab": "glpat" + "-" + random_text(20),
    "GitLab, routable": "glpat" + "-" + random_text(27) + ".01." + random_text(9),
    "GitLab, deploy": "gldt" + "-" + random_text(20),
    "AWS": "AKIA" + random_text(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
    "AWS, temporary": "ASIA" + random_text(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
    "JWT": JWT,
    "Slack, bot": "xoxb" + "-123456789012-" + random_text(24),
    "Slack, user": "xoxp" + "-123456789012-" + random_text(24),
    "Slack, app": "xapp" + "-1-A0123-" + random_text(40),
    "Google": "AIza" + random_text(35),
    "Google, OAuth": "ya29" + "." + random_text(60),
    "npm": "npm" + "_" + random_text(36),
    "PyPI": "pypi" + "-AgEIcHlwaS5vcmc" + random_text(80),
    "Vault": "hvs" + "." + random_text(24),
    "Vault, batch": "hvb" + "." + random_text(120),
    "Docker Hub": "dckr" + "_pat_" + random_text(27),
    "Docker's config.json": base64.b64encode(json.dumps({"auths": {"r": {"auth": "aDpw1"}}}).encode()).decode(),
    "Stripe": "sk" + "_live_" + random_text(24),
    "Hugging Face": "hf" + "_" + random_text(34),
    "Stripe, restricted": "rk" + "_test_" + random_text(24),
    "GitLab, runner": "GR" + "1348941" + random_text(20),
    "DigitalOcean, OAuth": "doo" + "_v1_" + random_text(64, "0123456789abcdef"),
    "Square": "sq0" + "csp-" + random_text(43),
    "Atlassian": "ATCTT" + "3xFfG" + random_text(60),
    "Linear, OAuth": "lin" + "_oauth_" + random_text(40),
    "PlanetScale": "pscale" + "_tkn_" + random_text(43),
    "Heroku": "HRKU" + "-AA" + random_text(58),
    "Postman": "PMAK" + "-" + random_text(24, "0123456789abcdef") + "-" + random_text(34, "0123456789abcdef"),
    "Doppler": "dp" + ".st.prd." + random_text(43),
    "Dynatrace": "dt0c01" + "." + random_text(24) + "." + random_text(64),
    "Databricks": "dapi" + random_text(32, "0123456789abcdef"),
    "Docker Hub, organization": "dckr" + "_oat_" + random_text(32),
    "Notion": "ntn" + "_" + random_text(46),
    "Figma": "figd" + "_" + random_text(40),
    "SonarQube": "squ" + "_" + random_text(40, "0123456789abcdef"),
    "Teams": "webhook.office" + ".com/webhookb2/" + random_text(36),
    "Vault, old": "s" + "." + random_text(24),
    "Mailgun": "key" + "-" + random_text(32, "0123456789abcdef"),
    "Twilio": "SK" + random_text(32, "0123456789abcdef"),
    "AWS, secret key": random_text(40, LETTERS + "/+"),
    "JWT, with white space": base64.urlsafe_b64encode(b'{ "alg": "RS256" }').decode().rstrip("=") + ".eyJhIjoxfQ.c2ln",
    "JWT, detached": "eyJhbGciOiJIUzI1NiJ9" + ".." + random_text(43),
    "Shippo": "shippo" + "_live_" + random_text(40, "0123456789abcdef"),
    "HubSpot": "pat" + "-na1-" + "42bde4d5-6b11-d459-a056-739f6814a1ee",
    "Airtable": "pat" + random_text(14) + "." + random_text(64, "0123456789abcdef"),
    "GitLab, runner, routable": "glrtr" + "-" + random_text(27),
    "Tailscale": "tskey" + "-auth-" + random_text(17) + "-" + random_text(32),
    "nobody knows whose": "acme" + "_" + random_text(30),
    "nobody knows whose, of two labels": "acme" + "_rw_" + random_text(16) + "_" + random_text(40),
    "Google, refresh": "1/" + "/0" + random_text(60),
    "Discord, webhook": "discord" + "app.com/api/webhooks/1/" + random_text(60),
    "SHA-512 of a password": "$6" + "$abcdefgh$" + random_text(86),
    "bcrypt of a password": "$2b" + "$12$" + random_text(53),
    "a key in hexadecimal": Random(7).randbytes(121).hex(),
    "base64": base64.b64encode(Random(5).randbytes(120)).decode(),
    "base64 for URLs": base64.urlsafe_b64encode(Random(6).randbytes(120)).decode(),
}

PLACES = {
    "alone": "{}",
    "prose": "the server refused {}, so it was not sent",
    "quotes": "got '{}' from the server",
    "brackets": "(see <{}>)",
    "a variable": "export NAME={}",
    "JSON": '{{"a": "{}", "b": 1}}',
    "JSON in JSON": '{{"a": "[{{\\"url\\":\\"{}\\",\\"key\\":1}}]"}}',
    "after an escaped line feed": '{{"a": "x\\n{}\\nnext"}}',
    "after a line": "one\n{}\ntwo",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", TOKENS)
def test_a_token_is_masked_in_every_place(kind: str, place: str) -> None:
    masked = mask(PLACES[place].format(TOKENS[kind]))
    remains = [TOKENS[kind][at : at + 8] for at in range(len(TOKENS[kind]) - 7)]
    assert not [part for part in remains if part in masked]
    assert "***" in masked
    if place.startswith("JSON") or place.endswith("line feed"):
        json.loads(masked)


SECRET = "hunt/er2"
"""A password with a slash, in which a URL's host would end."""

NAMED = [
    "Authorization: Basic aHVudGVyMg==",
    "authorization: bearer hunter2",
    "Proxy-Authorization: Negotiate hunter2",
    "Authorization: hunter2",
    "Authorization: Custom hunter2",
    "Authorization: Digest username=hunter2, response=hunter2, qop=hunter2",
    "Authorization: AWS4-HMAC-SHA256 Credential=hunter2/20260101/us-east-1/s3/aws4_request, Signature=hunter2",
    '{"Authorization": "Bearer hunter2", "n": 1}',
    "{'Authorization': 'Basic hunter2'}",
    "map[Authorization:[Bearer hunter2] Accept:[*/*]]",
    "curl -H 'Authorization: token hunter2' https://api.example/",
    "AUTHORIZATION=Bearer hunter2",
    "X-Vault-Token: hunter2",
    "X-Nomad-Token: hunter2",
    "PRIVATE-TOKEN: hunter2",
    "x-api-key: hunter2",
    "Cookie: session=hunter2; other=hunter2",
    "Set-Cookie: sid=hunter2; Path=/",
    "RESULT_HTTP_TOKEN=hunter2",
    "DB_PASSWORD=hunter2&hunter2,hunter2",
    "password = 'hunter2 and hunter2'",
    '{"password":"hunter2 x","user":"ada"}',
    '{"a":"{\\"token\\":\\"hunter2\\",\\"n\\":1}"}',
    "client_secret=hunter2",
    "aws_secret_access_key=hunter2",
    "AccountKey=hunter2==;EndpointSuffix=x",
    "GET /files/a?sig=hunter2&se=1 HTTP/1.1",
    "Bearer abcdefghhunter2abcdefgh",
    "password: hunter2",
    "spec:\n  db_password: hunter2 # of the database\n  user: ada",
    "- clientSecret: hunter2",
    "login failed, password:hunter2, user:ada",
    "{user: ada, api_key: hunter2}",
    '{"a": "x\\npassword: hunter2\\n"}',
    '{"password": "x\\"hunter2 y", "n": 1}',
    '{"a": "{\\"password\\": \\"x\\\\\\"hunter2 y\\"}"}',
    '{"password": "hunter2\\\\", "n": 1}',
    '{"password": ["hunter2"]}',
    '{"name": "DB_PASSWORD", "value": "hunter2"}',
    "{'name': 'DB_PASSWORD', 'value': 'hunter2'}",
    "[('Authorization', 'Bearer hunter2')]",
    "[(b'authorization', b'Bearer hunter2')]",
    "token => hunter2",
    'token := "hunter2"',
    "SECRET_KEY_BASE=hunter2",
    "DJANGO_SECRET_KEY='hunter2'",
    "TOKEN_2=hunter2",
    "MYSQL_PWD=hunter2;",
    "db_pass=hunter2",
    "Server=h;Uid=a;Pwd=hunter2;",
    "_auth=hunter2",
    '{"auths": {"r": {"auth": "hunter2"}}}',
    "PHPSESSID=hunter2",
    "X-Auth-Key: hunter2",
    "Ocp-Apim-Subscription-Key: hunter2",
    "token%3Dhunter2",
    "curl -u ada:hunter2 https://a.example",
    "wget --password hunter2 https://a.example",
    "glab auth --api-key hunter2",
    "machine a.example login ada password hunter2",
    "<server><password>hunter2</password></server>",
    # As programs print structures.
    "headers: { authorization: [ 'Authorization', 'Bearer hunter2' ] }",
    "[password] => hunter2",
    'Config { password: Some("hunter2") }',
    "Config(password=SecretStr('hunter2'))",
    "{'password': b'hunter2', 'user': b'ada'}",
    'password = f"hunter2"',
    'password = """hunter2"""',
    '["password"]=> string(7) "hunter2"',
    '{"tokens": ["hunter2", "x hunter2"], "n": 1}',
    '{"a": "{\\"tokens\\": [\\"x\\", \\"hunter2\\"]}"}',
    # As shells, Dockerfiles and configuration files have them.
    "set -x GITHUB_TOKEN hunter2",
    "setenv GITHUB_TOKEN hunter2",
    "ENV GITHUB_TOKEN hunter2",
    "npmAuthIdent: ada:hunter2",
    "machine a.example\n  login ada\n  password hunter2\n",
    "machine a.example password hunter2",
    "machine a.example login ada account b password hunter2",
    "client-key-data: aHVudGVyMg==",
    "Driver={x};Uid=a;Pwd={hunter2};",
    '<add key="ClearTextPassword" value="hunter2" />',
    '<input type="password" value="hunter2">',
    '<wsse:Password Type="x#PasswordText">hunter2</wsse:Password>',
    "jdbc:oracle:thin:ada/hunter2@h:1521:x",
    "passcode: hunter2",
    "authorization_code=hunter2",
    "creds=ada:hunter2",
    "hmac_key=hunter2",
    # On command lines.
    "sshpass -p hunter2 ssh a.example",
    "docker login -u ada -p hunter2 registry.example",
    "mysqldump -uroot -phunter2 db",
    "redis-cli -h a.example -a hunter2 ping",
    "ldapsearch -D cn=a -w hunter2",
    "smbclient -U ada%hunter2 //a.example/s",
    "http -a ada:hunter2 a.example",
    "docker run --rm curlimages/curl -u ada:hunter2 https://a.example",
    "docker run --rm -it alpine curl -u ada:hunter2 https://a.example",
    '{"Args": ["--user", "ada", "--db-password", "hunter2", "-v"]}',
    "['psql', '--password', 'hunter2']",
    '{"a": "[\\"--token\\", \\"hunter2\\"]"}',
    "tool --password 'x hunter2' --user ada",
    "C: AUTH PLAIN hunter2",
    # Other separators, and names in one value with their own in another.
    "const c = {'apiKey' : `hunter2`}",
    "{Name:DB_PASSWORD Value:hunter2 ValueFrom:nil}",
    "- {name: DB_PASSWORD, value: hunter2}",
    "name=DB_PASSWORD value=hunter2",
    "password -> hunter2",
    "a=b%26password%253Dhunter2",
    "password%3Ahunter2",
    '{"a": "password\\u003dhunter2"}',
    "password&#61;hunter2",
    # Names that begin with another name, or stand at some distance from the value.
    "dbPassword=hunter2",
    "adminPassphrase: hunter2",
    "cookieSecret=hunter2",
    "SSHPASS=hunter2",
    "smtpPass: hunter2",
    "CI_JOB_JWT_V2=hunter2",
    "Password       : hunter2",
    "Password........: hunter2",
    "password:\t\t\t\t\t\thunter2",
    "| password | hunter2 |",
    "token                hunter2",
    "the password is hunter2",
    "Your token is: 'hunter2'",
    "X-JFrog-Art-Api: hunter2",
    "DD-APPLICATION-KEY: hunter2",
    "X-Sentry-Auth: Sentry sentry_version=7, sentry_key=hunter2, sentry_secret=hunter2",
    '{\'password = """hunter2"""\': 1}',
    '{"a": "password = \\"\\"\\"hunter2\\"\\"\\""}',
    "pass-phrase=hunter2",
    "api key: hunter2",
    "Secret Key: hunter2",
    "secret access key: hunter2",
    "bearer=hunter2",
    "GH_PAT=hunter2",
    "SSH_KEY=hunter2",
    "auth: aHVudGVyMmh1bnRlcjI=",
    '{"token": {"value": "hunter2"}}',
    # In programs and in files of theirs.
    "<password><![CDATA[hunter2]]></password>",
    '<string name="api_key">hunter2</string>',
    "<key>token</key>\n<string>hunter2</string>",
    'password "hunter2"',
    "Password for 'https://ada@git.example': hunter2",
    "* Server auth using Basic with user 'hunter2'",
    "url = ada:hunter2@10.0.0.1/x",
    "CREATE USER a WITH PASSWORD 'hunter2'",
    "create user a identified by 'hunter2'",
    "SET PASSWORD FOR a = 'hunter2'",
    "requirepass hunter2",
    "requests.get(url, auth=('ada', 'hunter2'))",
    "HTTPBasicAuth('ada', 'hunter2')",
    "&lt;password&gt;hunter2&lt;/password&gt;",
    '{"github-oauth": {"github.com": "hunter2"}}',
    "BUNDLE_GEMS__EXAMPLE__COM: ada:hunter2",
    # More command lines.
    "curl -su ada:hunter2 https://a.example",
    "curl -sSLu 'ada:hunter2' https://a.example",
    "curl --oauth2-bearer hunter2 https://a.example",
    "curl --cert c.pem:hunter2 --pass hunter2 https://a.example",
    "curl -b 'sid=hunter2' https://a.example",
    "keytool -storepass hunter2 -keypass hunter2",
    "tool --dbClientSecret hunter2 --sonar.token hunter2 --aws-secret-access-key hunter2",
    "docker login \\\n  -u ada \\\n  -p hunter2 registry.example",
    "npm config set //registry.npmjs.org/:_authToken hunter2",
    "aws configure set aws_secret_access_key hunter2",
    "poetry config http-basic.private ada hunter2",
    "poetry config pypi-token.pypi hunter2",
    "bundle config gems.example.com ada:hunter2",
    "vault login hunter2",
    "snyk auth hunter2",
    "twine upload -u __token__ -p hunter2 dist/a.whl",
    "echo hunter2 | docker login -u ada --password-stdin",
    "htpasswd -b file ada hunter2",
    "7z x -phunter2 a.7z; unzip -P hunter2 a.zip",
    "openssl enc -aes-256-cbc -k hunter2",
    "kubectl create secret generic a --from-literal=a=hunter2 --from-literal 'b=hunter2'",
    "::add-mask::hunter2",
    # Lines of files and of conversations whose form alone says where the password is.
    "export ACME_KEY=hunter2Xhunter2X",
    '"NONCE_SALT": "hunter2+hunter2X/hunter2"',
    "AUTH hunter2",
    'AUTH default "hunter2"',
    "#HttpOnly_.a.example\tFALSE\t/\tTRUE\t0\tsid\thunter2",
    # Quoted parameters of a scheme.
    'Authorization: Digest username="ada", nonce="b", response="hunter2", qop=auth',
    '{"a": "Authorization: Snowflake Token=\\"hunter2\\"", "n": 1}',
]


@pytest.mark.parametrize("text", NAMED)
def test_a_value_whose_name_says_that_it_is_secret_is_masked(text: str) -> None:
    masked = mask(text)
    assert not re.search("hunter2|aHVudGVyMg", masked)
    assert "***" in masked
    assert mask(masked) == masked
    if text.startswith('{"'):
        json.loads(masked)
    inside = json.dumps({"a": json.dumps({"b": [text, "c"]}), "b": text})
    masked = mask(inside)
    assert "hunter2" not in json.loads(masked)["b"]
    assert list(json.loads(json.loads(masked)["a"])) == ["b"]


@pytest.mark.parametrize(
    "name",
    [
        "access_key",
        "account-key",
        "admin_pass",
        "api-key",
        "apikey",
        "auth",
        "authorization_code",
        "client_assertion",
        "client_key",
        "cookie",
        "creds",
        "credential",
        "credentials",
        "db_pass",
        "encryption_key",
        "hmac_key",
        "jwt",
        "license_key",
        "master_key",
        "pass",
        "passcode",
        "passphrase",
        "passwd",
        "password",
        "passwort",
        "private_key",
        "proxy-authorization",
        "pswd",
        "pw",
        "pwd",
        "root_pass",
        "secret",
        "session_id",
        "session-key",
        "sessid",
        "sig",
        "signature",
        "signing_key",
        "token",
        "user_pass",
        "x-api-key",
        "x-auth-token",
    ],
)
def test_every_name_of_a_secret_is_found_in_every_case(name: str) -> None:
    for spelling in (name, name.upper(), name.title(), f"my_{name}"):
        assert "hunter2" not in mask(f"x {spelling}=hunter2 y"), spelling


URLS = [
    "https://user:hunter2@git.example/x",
    "https://hunter2@git.example/x",
    "https://user:hunt/er2@git.example/x",
    "https://user:hunter2?hunter2@git.example/x",
    "https://user:hunter2#hunter2@git.example/x",
    "ssh://git:hunter2@git.example:22/x",
    "amqps://u:hunter2@broker:5671/%2f",
    "https://hunter2@sentry.example/4",
    "git+https://u:hunter2@git.example/x.git@main",
    "https://s3.example/a?X-Amz-Credential=hunter2&X-Amz-Signature=hunter2",
    "https://s3.example/a?x=1\\u0026X-Amz-Signature=hunter2",
    "https://s3.example/a?hunter2",
    "https://s3.example/a?unknown=hunter2#hunter2",
    "https:\\/\\/u:hunter2@git.example\\/x?y=hunter2",
    "https://proxy.example/https://u:hunter2@git.example/x",
    "//u:hunter2@git.example/x",
    "https://[::1]:8080/a?hunter2",
    "https%3A%2F%2Fu%3Ahunter2%40git.example%2Fx",
    "https://git.example/x%23access_token%3Dhunter2",
    "https://git.example/x;jsessionid=hunter2",
    "https:\\u002f\\u002fu:hunter2@git.example/x",
    "u:hunter2@git.example/x",
    "u:hunter2@tcp(10.0.0.1:3306)/db",
    "https%253A%252F%252Fu%253Ahunter2%2540git.example%252Fx",
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("url", URLS)
def test_credentials_and_the_query_of_every_url_are_masked(url: str, place: str) -> None:
    if "JSON" in place or "escaped" in place:
        url = url.replace("\\", "") if "\\/" in url else url
    masked = mask(PLACES[place].format(url))
    assert not re.search("hunt/?er2|er2@", masked)
    assert mask(masked) == masked
    if place.startswith("JSON") or place.endswith("line feed"):
        json.loads(masked)


def test_each_url_within_artifacts_is_masked_and_their_keys_remain() -> None:
    artifacts = [{"key": f"a/{n}.zip", "url": f"https://s3.example/{n}?sig=hunter2", "metadata": {}} for n in range(3)]
    line = json.dumps({"message": f"coat --artifacts {json.dumps(artifacts)} ended"})
    masked = json.loads(mask(line))["message"]
    assert "hunter2" not in masked
    assert json.loads(masked.removeprefix("coat --artifacts ").removesuffix(" ended")) == [
        {**each, "url": each["url"].replace("sig=hunter2", "***")} for each in artifacts
    ]


STAYS = [
    "",
    "commit 3f786850e387550fdab836ed7e6dc881de23001b was not found",
    "3F786850E387550FDAB836ED7E6DC881DE23001B",
    "registry.example:5000/team/marvin-python@sha256:"
    + "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "sha512-" + base64.b64encode(bytes(Random(1).randbytes(64))).decode(),
    "h1:9bNlMn1WZ8nJ7TqVoVJk5xq3rS5yB2wU4Lq8F6dZk0A=",
    "job 5f1c7f0e-9f5b-4b57-9a53-0d9a4f4c1f2e of analysis-s0-5f1c7f0e9f5b4b579a530d9a4f4c1f2e-12",
    "/home/runner/work/services/src/main/java/com/example/authentication/TokenRepositoryImplementation.java:12",
    "C:\\Users\\Runner\\AppData\\Local\\Programs\\Python\\Python311\\Lib\\site-packages\\example\\AuthTokenTest.py",
    "git@git.example:team/code.git",
    "https://git.example/team/code@v2",
    "http://[::1]:8080/a@b",
    "GET https://10.203.0.1:21443/apis/batch/v1/namespaces/jobs/pods",
    "mail bot@example.com about https://git.example",
    "the bearer token is missing or expired; send a new one",
    "Error: the token: it has expired",
    'secrets "analysis-s0-r-1-1-00000000" not found',
    "secret: missing\npassword: incorrect.\n  token: expired",
    "secretName: regcred, tokenFile=/run/token, imagePullSecrets: [regcred]",
    "max_tokens=4096 and passwordless login",
    "npm_config_cache=/home/runner/.npm and npm_lifecycle_event",
    "pypi-mirror of task-runner-with-a-long-name, risk-assessment-of-the-whole-team",
    'File "/toolbox/secret_manager_client_v1beta1.py", line 3: no module named secret_service_client_2',
    "src/key-bindings-editor-2.ts, key-value-store-12/index.html, hf_model_checkpoint_0001_of_0002.bin",
    "/code/npm_modules_cache_v123/index, pypi-simple-index-v1-project",
    "runner.privateKey must be an RSA key of at least 2048 bits",
    "eyJust a word",
    "--branch feature/hvs-integration-with-authorization --oid 3f786850e387550fdab836ed7e6dc881de23001b",
    "limits 1400m / 4000Mi, requests 300m; node ip-10-0-12-255.eu-central-1.compute.internal",
    "2026-11-27T08:31:16.123456789Z stderr F panic: runtime error: index out of range [3] with length 3",
    "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
    "goroutine 1 [running]:\nmain.main()\n\t/go/src/main.go:8 +0x1d",
    "registry.example:5000/team/marvin-python:1.2@sha256:" + "9f86d081884c7d65" * 4,
    "npm:lodash@4.17.21 and mailto:bot@example.com",
    '{"names": ["token=", "password", "secret", ","], "token": null}',
    '{"a": "password=", "b": {"c": 1}}',
    '{"token": {"type": "bearer"}, "password": 12}',
    "if token == null || password != other",
    "tokens: 4096, max_token: 12, secret: /run/secrets/a1",
    "the secret key: it is not readable, --token-file /run/token",
    "bypass=true, compass: north, sigma=0.5, author=ada",
    # Random text after a label that is none of a token.
    "sha256-" + base64.b64encode(bytes(Random(8).randbytes(32))).decode() + " h1-a nix",
    "analysis-s0-01JDWQ5T3V9ZK8Q2M7X4Y6B1CA-1 chunk-vendors-5f1c7f0e9f5b4b579a530d9a4f4c1f2e.js",
    "test_Base64EncodeAndDecodeOfUtf8Names, v1-SomeVeryLongCamelCaseNameOfAModule2",
    '{"password": "string", "token": "str", "secret": "missing"}',
    "the token -> an identifier, unexpected token `a`, secret value of the pool",
    '["--token-file", "/run/token", "--password-stdin"]',
    # Types, references and other programs' masks beside a secret's name.
    "def login(user: str, password: str) -> None:",
    "  password: str\n  token: bytes | None\n  api_key: SecretStr\n  pin_secret: Optional[str]",
    "  password: String!\n  secret: boolean\n  token: int64",
    "create table users (password varchar(255) not null)\npassword: VARCHAR(255) NOT NULL",
    "private_key: *rsa.PrivateKey",
    # Results of tests, calls, YAML's null, and the user that everybody has.
    "PASS: test_one\nXPASS: b",
    "const token = useToken();",
    "password: ~",
    "ssh://git@git.example:22/team/code.git",
    "SSH_KEY=/root/.ssh/id_rsa",
    "the api key: it is not readable, PATH=/bin, auth: basic\nauth: authentication",
    '{"a": "password ", "b": "secret "}',
    # Tables, sentences, options and lines that end with a name.
    "my-secret   Opaque   1   5d\nregistry-token   kubernetes.io/dockerconfigjson   1   5d",
    "if the cookie is None, authorization is required; the cookie was not secure",
    "the token is valid, the secret is analysis-s0-r-1-1, password was not given",
    "tool --private-key /root/.ssh/id_rsa --credentials ~/.aws/credentials --pass $PASS --max-tokens 4096",
    "java -cpu a:b -gpu nvidia:0; curl -b jar.txt https://a.example",
    "if password:\n    return None\nelif token:\n    raise ValueError(token)",
    "secret:\n  secretName: regcred\npassword:\n  valueFrom:\n    secretKeyRef:\n      name: db",
    "Unexpected token:\n  let x = 1;\nwrong password:\n\nnext",
    "tokens: |\nnothing indented",
    "2f:0a:1b:2c:3d:4e 00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00:11:22:33",
    "00000000  7f 45 4c 46 02 01 01 00  00 00 00 00 00 00 00 00  |.ELF............|",
    "password=$PASSWORD, token: ${API_TOKEN}, Authorization: Bearer ${TOKEN}",
    "password: <redacted>, token: ********, secret=[FILTERED]",
    "password: {{ .Values.password }}",
    "login(password=self.password, token=get_token(), secret=settings.SECRET_KEY)",
    "password = os.environ['PASSWORD']",
    # -u of programs without passwords, and what else looks like a login.
    "docker run -u 1:1 alpine",
    "podman run --rm --user app:staff -v /a:/b alpine",
    "docker exec -u app:app c sh",
    "git push -u origin feature:feature; rsync -u host:/path /x; date -u +%H:%M",
    "docker run -p 8080:80 alpine; mysql -p 3306; mkdir -p /a/b; ls -a x",
    "PWD=/home/ada/x1 OLDPWD=/",
    "compile pass=2 of 3, token=0 of 12",
    "AUTH failed for user1234\nC: AUTH user1 was refused",
    "src/a.py:12:5:E501\na.py:120:5: E501 line too long",
    "CACHE_KEY=v1-Linux-Abc123456789012, PRIMARY_KEY: users.id, DEPLOY_KEY=/home/User1/deploy-key",
    "HASH_KEY=" + "9f86d081884c7d65" * 4,
    "name: password\ntype: string\nkey: token\nvalueFrom: a",
    "name: token_count\nvalue: 12",
    '{"jobs": [{"name": "analysis-s0-r-1-1", "driver": "kubernetes", "state": "created"}]}',
]


@pytest.mark.parametrize("text", STAYS)
def test_what_a_reader_needs_stays(text: str) -> None:
    assert mask(text) == text


def test_the_tail_of_a_key_without_begin_or_end_is_masked_even_if_it_is_one_line() -> None:
    body = base64.b64encode(Random(3).randbytes(48)).decode()
    assert len(body) == 64
    assert mask(f"fatal: bad key\n{body}\n") == "fatal: bad key\n***\n"


def test_a_log_is_masked_before_it_is_cut() -> None:
    body = [base64.b64encode(Random(n).randbytes(48)).decode() for n in range(30)]
    key = ["-----BEGIN PRIVATE KEY-----", *body, "c2hvcnQ=", "-----END PRIVATE KEY-----"]
    raw = "\n".join(["first", *key, "last", ""])
    for lines in range(1, 40):
        kept = last_lines(raw, lines)
        assert "c2hvcnQ" not in kept
        assert kept.endswith("last\n")
        assert not any(line in kept for line in body)
    assert len(key) < KEY_LINES
    assert last_lines("a\nb\nc", 2) == "b\nc"
    assert last_lines("a\nb\nc\n", 2) == "b\nc\n"
    assert last_lines("a\n", 0) == last_lines("", 3) == ""


@given(st.text(), st.sampled_from([*TOKENS.values(), *NAMED, *URLS]), st.text(), st.integers(1, 200))
def test_a_masked_line_of_json_is_json_and_masking_twice_changes_nothing_more(
    before: str, secret: str, after: str, limit: int
) -> None:
    line = json.dumps({"a": before + secret + after, "b": [secret, after]})
    masked = mask(line)
    assert list(json.loads(masked)) == ["a", "b"]
    assert "hunter2" not in json.loads(masked)["b"][0]
    assert len(evidence_tail(line, 3, limit)) <= limit


def test_there_is_one_module_that_masks() -> None:
    """Only `masking` uses the modules that find, and nothing else replaces credentials by patterns of its own."""
    allowed = {
        "masking.py",
        "private_keys.py",
        "credentials.py",
        "logins.py",
        "command_lines.py",
        "next_lines.py",
        "shapes.py",
    }
    users: list[Any] = [
        path.relative_to(ROOT)
        for folder in ("runner", "functions")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path.name not in allowed
        and re.search(
            r"security(?:\.| import .*)(?:credentials|private_keys|shapes|logins|placeholders|command_lines|next_lines"
            r"|hexadecimal|colours|names)\b",
            path.read_text(),
        )
    ]
    assert users == []
    # The shim of a local job, which has the standard library only, masks the values that it knows.
    own = [path.name for path in sorted((ROOT / "runner").rglob("*.py")) if '"***"' in path.read_text()]
    assert own == ["container_log.py", "credentials.py", "masking.py"]


def test_an_error_that_leaves_the_runner_is_masked() -> None:
    error = Unavailable("GET https://u:hunter2@nomad.example/v1/jobs?token=hunter2 was reset; repeat the request")
    refused = Refused.of(error)
    assert refused.detail == "GET https://***@nomad.example/v1/jobs?*** was reset; repeat the request"


def test_what_a_terminal_obeys_is_replaced() -> None:
    for code in (*range(9), *range(11, 32), *range(0x7F, 0xA0), 0x202A, 0x202E, 0x2066, 0x2069):
        assert shown(f"a{chr(code)}b") == "a\ufffdb"
    assert shown("a\tb\r\nc\n") == "a\tb\nc\n"
