"""runner.security.next_lines: values on the lines after their names are masked, also in a log that goes on."""

from __future__ import annotations

import json
import time

import pytest

from runner.security.masking import LogMasker, mask

OPENED = {
    "a prompt": "Password:\nhunter2x9Q\nnext\n",
    "a sentence": "Your token is:\nhunter2x9Q\nnext\n",
    "a block": "password: |\n  hunter2x9Q\n\n  more of hunter2x9Q\nnext: 1\n",
    "a folded block": "- token: >-\n    hunter2x9Q and words\n  next: 1\n",
    "YAML": "spec:\n  token:\n    hunter2x9Q\n  next: 1\n",
    "YAML, quoted": 'token:\n  "hunter2x9Q"\nnext: 1\n',
    "YAML, a list": "tokens:\n  - hunter2x9Q\n  - hunter2x9Q\nnext: 1\n",
    "JSON": '{\n  "token":\n    "hunter2x9Q",\n  "next": 1\n}\n',
    "XML": "<password>\n  hunter2x9Q\n</password>\n",
    "TOML": 'password = """\nhunter2x9Q"""\nnext = 1\n',
    "a shell": "export TOKEN=\\\nhunter2x9Q; next\n",
    "a command": "docker login \\\n  -u ada \\\n  -p hunter2x9Q next\n",
    "a key of PuTTY": "Private-Lines: 1\nhunter2x9Qhunter2x9Qhunter2x9Qhunter2x9Q\nnext\n",
    "a pair": "env:\n  - name: DB_TOKEN\n    value: hunter2x9Q\n  - name: HOME\n    value: /root\n",
    "a pair in JSON": '{\n  "name": "db.password",\n  "value": "hunter2x9Q and more",\n  "next": 1\n}\n',
    "a pair in HCL": 'name  = "API_KEY"\nvalue = "hunter2x9Q"\nnext\n',
    "colours": "\x1b[31mpassword\x1b[0m:\n  \x1b[32mhunter2x9Q\x1b[0m\nnext: 1\n",
}


def in_lines(text: str) -> str:
    masker = LogMasker()
    return "".join(map(masker.feed, text.splitlines())) + masker.close()


@pytest.mark.parametrize("text", OPENED.values(), ids=OPENED)
def test_the_value_is_masked_and_the_lines_around_it_stay(text: str) -> None:
    for masked in (mask(text), in_lines(text)):
        assert "hunter2x9Q" not in masked
        assert masked.count("\n") == text.count("\n")
        assert [line for line in masked.split("\n") if "***" not in line] == [
            line for line in text.split("\n") if "hunter2x9Q" not in line
        ]


def test_a_block_in_a_line_of_json_is_masked() -> None:
    line = json.dumps({"a": "password: |\n  hunter2x9Q\nnext: 1", "b": "token:\n  hunter2x9Q"})
    masked = json.loads(mask(line))
    assert masked == {"a": "password: |\n  ***\nnext: 1", "b": "token:\n  ***"}


@pytest.mark.parametrize(
    "text",
    [
        "password:\nuser: ada\n",
        "password: |\nuser: ada\n",
        "token:\n  missing\n",
        "if secret:\n    return\n",
        "unexpected token:\n  let x1 = 2;\n",
        "the secret:\n\nhunter2x9Q\n",
    ],
)
def test_other_lines_stay(text: str) -> None:
    assert mask(text) == in_lines(text) == text


@pytest.mark.parametrize(
    "line", ["password: |\n  x\n", "token:\n", "a \\\n", "token=\\\n", "- x1y2z3\n", "<token>\n", "  \x1b[31mx\n"]
)
def test_the_cost_is_linear(line: str) -> None:
    """Eight times the text takes about eight times as long; were the cost quadratic, it would be 64 times."""

    def seconds(times: int) -> float:
        text = "tokens:\n" + line * times
        before = time.process_time()
        mask(text)
        return time.process_time() - before

    few, many = min(seconds(2000) for _ in range(3)), min(seconds(16000) for _ in range(2))
    assert many < few * 24
