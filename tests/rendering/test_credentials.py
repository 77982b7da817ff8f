"""What looks like a key in `env:` is refused, on every kind of cluster, and not repeated."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.errors import JobError
from orchestrator.model.credentials import looks_like
from orchestrator.rendering import render
from tests.rendering.build import ALL_KINDS, PROFILES, request

# Made up, each of the form that its service gives out.
KEYS = {
    "a Hugging Face token": "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZ01234567",
    "an API key of the kind sk-": "sk-proj-" + "Ab3_dE6-fG9hI2jK5lM8nO",
    "an AWS access key": "AKIA" + "IOSFODNN7EXAMPLE",
    "a GitHub token": "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a",
    "a GitLab token": "glpat-" + "Xy1_Zz2-Aa3Bb4Cc5Dd6",
    "a Slack token": "xoxb-" + "123456789012-abcdefGHIJKL",
    "a Google API key": "AIza" + "SyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q",
    "the key of an Azure account": "AccountKey=" + "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsu==",
    "a private key": "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----",
    "a JSON Web Token": "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTYifQ." + "dozjgNryP4J3jVmNHl0w",
    "a URL with a password in it": "postgres://me:" + "hunter2@db.example/runs",
}
HEX = "0f1e2d3c4b5a69788796a5b4c3d2e1f001234567"


@pytest.mark.parametrize("what", KEYS)
def test_a_key_is_known_by_its_form_whatever_the_variables_name(what):
    assert looks_like("SETTING", KEYS[what]) == what
    assert looks_like("SETTING", f"--token={KEYS[what]}") == what


@pytest.mark.parametrize(
    "name",
    ["HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD", "PGPASSWORD", "token", "CLIENT_SECRET"],
)
@pytest.mark.parametrize("value", [HEX, "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"])
def test_a_random_value_is_a_secret_where_the_name_says_so(name, value):
    assert looks_like(name, value) == "a secret"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GIT_COMMIT", HEX),
        ("SSH_PUBLIC_KEY", HEX),
        ("TOKENIZERS_PARALLELISM", "false"),
        ("KEYBOARD", HEX),
        ("HF_TOKEN", "short"),
        ("HF_TOKEN", ""),
        ("HF_TOKEN", "x" * 40),
        ("HF_TOKEN_PATH", "/home/me/.cache/huggingface/token"),
        ("SSL_KEY", "/etc/ssl/private/server-key-2024.pem"),
        ("SSL_KEY", "~/.ssl/private/server-key-2024.pem"),
        ("PARTITION_KEY", "the name of a column of 2024"),
        ("PARTITION_KEY", "customeraccountidentifier"),
        ("TOKEN", "https://issuer.example/tokens/1a2b3c4d"),
        ("WANDB_MODE", "offline"),
        ("MASK_TOKEN", "<mask>"),
        ("NCCL_DEBUG", "INFO"),
    ],
)
def test_what_is_no_secret_is_left_alone(name, value):
    assert looks_like(name, value) is None


@pytest.mark.parametrize("kind", ALL_KINDS)
@pytest.mark.parametrize("of_cluster", [False, True])
def test_a_key_in_env_is_refused_by_its_field_and_not_repeated(kind, of_cluster):
    env = {"HF_HOME": "/cache", "MY_SETTING": KEYS["a Hugging Face token"]}
    made = request(kind, replace(PROFILES[kind], env=env)) if of_cluster else request(kind)
    made = made if of_cluster else replace(made, spec=replace(made.spec, env=env))
    with pytest.raises(JobError, match="a Hugging Face token") as refused:
        render(made)
    assert refused.value.field == (f"clusters.{kind}.env.MY_SETTING" if of_cluster else "env.MY_SETTING")
    assert "secrets: {MY_SETTING: {" in refused.value.hint
    assert env["MY_SETTING"] not in f"{refused.value} {refused.value.hint}"


def test_an_aws_secret_that_begins_like_a_path_is_none():
    assert looks_like("AWS_SECRET_ACCESS_KEY", "/JalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY") == "a secret"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"annotations": {"example.com/note": KEYS["a Hugging Face token"]}}, "annotations"),
        ({"overlay": {"spec": {"x": [{"env": [{"name": "API_KEY", "value": HEX}]}]}}}, "overlay"),
        ({"overlay": {"spec": {"x": {"args": ["--token", KEYS["a GitLab token"]]}}}}, "overlay"),
    ],
)
def test_a_key_elsewhere_in_a_profile_is_refused_too(change, field):
    with pytest.raises(JobError, match="looks like") as refused:
        render(request("kubernetes", replace(PROFILES["kubernetes"], **change)))
    assert refused.value.field == f"clusters.kubernetes.{field}"
    for secret in (KEYS["a Hugging Face token"], KEYS["a GitLab token"], HEX):
        assert secret not in f"{refused.value} {refused.value.hint}"
