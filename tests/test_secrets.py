"""No secret in the repository: neither in what is tracked, nor in what a card or a Space is made from."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# As their makers write them; a name in a test that only begins like one is shorter.
SECRETS = {
    "Hugging Face": rb"\b(?:hf|api_org)_[A-Za-z0-9]{30,}",
    "GitHub": rb"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,})",
    "GitLab": rb"\bglpat-[A-Za-z0-9_-]{20,}",
    "AWS": rb"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "Google": rb"\bAIza[A-Za-z0-9_-]{35}\b|\bya29\.[A-Za-z0-9_-]{20,}",
    "OpenAI, Anthropic": rb"\bsk-[A-Za-z0-9_-]{32,}",
    "Slack": rb"\bxox[abprs]-[A-Za-z0-9-]{10,}",
    "PyPI": rb"\bpypi-[A-Za-z0-9_-]{50,}",
    "Weights & Biases": rb"(?i)wandb_api_key\W{1,4}[0-9a-f]{40}\b",
    "private key": rb"-----BEGIN [A-Z ]*PRIVATE KEY",
    "JSON Web Token": rb"\beyJ[A-Za-z0-9_-]{15,}\.eyJ[A-Za-z0-9_-]{15,}\.",
    "in an address": rb"\b[a-z]+://[^\s/:@\"'{}<>]+:[^\s/:@\"'{}<>]{6,}@",
}


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this is no clone")
    return [ROOT / name for name in done.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("kind", SECRETS)
def test_no_tracked_file_has_a_secret(kind):
    found = [str(file.relative_to(ROOT)) for file in tracked() if re.search(SECRETS[kind], file.read_bytes())]
    assert found == []


@pytest.mark.parametrize(("kind", "secret"), [
    ("Hugging Face", b"hf_" + 34 * b"a"), ("GitHub", b"ghp_" + 36 * b"a"), ("AWS", b"AKIA" + 16 * b"A"),
    ("OpenAI, Anthropic", b"sk-ant-" + 40 * b"a"), ("private key", b"-----BEGIN " + b"OPENSSH PRIVATE KEY"),
    ("in an address", b"https://user:" + b"password@example.org"),
])  # fmt: skip
def test_what_a_secret_looks_like_is_known(kind, secret):
    assert re.search(SECRETS[kind], b'token = "%s"' % secret)


def test_no_file_that_holds_secrets_is_tracked():
    names = {file.name for file in tracked()}
    assert not {
        name for name in names if re.fullmatch(r"\.env.*|\.netrc|\.pypirc|id_(rsa|ed25519|ecdsa)|.*\.(pem|key|p12)", name)
    }
