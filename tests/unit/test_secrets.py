"""What counts as a secret, what the files say about one, and where the node reads them from."""

import os

import pytest
from second_user import second_user

from hpcsweep.errors import SpecError
from hpcsweep.node.process.secrets_file import hidden_values, read_secrets_file, secret_environment, without
from hpcsweep.spec.cluster import ConfigFile
from hpcsweep.spec.load import parse_experiment, parse_model
from hpcsweep.spec.secret_values import has_secret, is_secret, masked
from hpcsweep.sweep.inputs import shipped_experiments

HF = "hf_" + "a1B2" * 8
EXPERIMENT = """\
model: org/model
axes: {eager: [yes]}
workloads: {short: {dataset: {kind: random, prompt_tokens: 10, output_tokens: 2}, max_tokens: 2, num_requests: 1}}
"""


@pytest.mark.parametrize(
    "name",
    ["HF_TOKEN", "GITHUB_PAT", "MY_PASS", "PGPASS", "PGPASSWORD", "NGC_CLI_AUTH", "AWS_SECRET_ACCESS_KEY", "DB_PWD",
     "OPENAI_APIKEY", "--api-key", "admin_api_key", "--hf-token", "SESSION_COOKIE", "WANDB_API_KEY", "x_passphrase"],
)  # fmt: skip
def test_names_of_secrets(name):
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    ["TOKENIZERS_PARALLELISM", "MAX_TOKENS", "PWD", "OLDPWD", "SSH_AUTH_SOCK", "PGPASSFILE", "HF_TOKEN_PATH",
     "--max-num-batched-tokens", "--speculative-token-map", "--tokenizer", "NCCL_IB_PKEY", "BYPASS", "GIT_AUTHOR_NAME",
     "--ssl-keyfile", "PATH", "--enable-prefix-caching", "COMPASS"],
)  # fmt: skip
def test_names_that_only_look_like_it(name):
    assert not is_secret(name)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("postgresql://me:pw@db/x", "postgresql://me:***@db/x", id="URL"),
        pytest.param("http://u:p%40x@proxy:3128", "http://u:***@proxy:3128", id="proxy"),
        pytest.param("postgresql://db/x?user=u&password=pw", "postgresql://db/x?user=u&password=***", id="query"),
        pytest.param(f"x {HF} y", "x *** y", id="Hugging Face"),
        pytest.param("submit e --set token=abc --x=1", "submit e --set token=*** --x=1", id="assignment"),
        pytest.param("ghp_" + "x1" * 12, "***", id="GitHub"),
    ],
)
def test_masked(text, shown):
    assert masked(text) == shown
    assert masked(shown) == shown


@pytest.mark.parametrize("text", ["http://proxy:3128/x@y", "git@host:path", "hf_short", "http://$U:$P@proxy", "a:b@c"])
def test_texts_without_a_secret_stay_as_they_are(text):
    assert not has_secret(text) and masked(text) == text


REFUSED = [
    ("env: {HF_TOKEN: abc}", "env.HF_TOKEN", "env_from: [HF_TOKEN]"),
    ("env: {GITHUB_PAT: 'x'}", "env.GITHUB_PAT", "env_from: [GITHUB_PAT]"),
    ("env: {MY_PASS: 1234}", "env.MY_PASS", "MY_PASS"),
    ("env: {https_proxy: 'http://u:pw@p:1'}", "env.https_proxy", "env_from: [https_proxy]"),
    ("engine_args: {hf-token: abc}", "engine_args.hf-token", "secrets_file"),
    ("serve: {hf-token: abc}", "serve.hf-token", "secrets_file"),  # the old name
    ("engine_args: {admin-api-key: abc}", "engine_args.admin-api-key", "secrets_file"),
    (f"notes: ['see {HF}']", "notes.0", "secrets_file"),
    ("title: 'ghp_0123456789abcdefghijklmn'", "title", "secrets_file"),
]


@pytest.mark.parametrize(("line", "path", "hint"), REFUSED, ids=[line for line, _, _ in REFUSED])
def test_a_secret_in_an_experiment_is_refused_with_its_line_and_without_its_value(line, path, hint):
    with pytest.raises(SpecError) as caught:
        parse_experiment(EXPERIMENT + line, "x.yaml", "x")
    assert caught.value.code == "secret_in_file"
    assert f"x.yaml, line 4: {path}:" in caught.value.message
    assert hint in caught.value.hint
    for value in ("abc", "1234", "u:pw", HF, "ghp_"):
        assert value not in str(caught.value)


@pytest.mark.parametrize(
    "axis",
    ["{env: HF_TOKEN, levels: [abc]}", "{flag: --hf-token, levels: [abc]}",
     "{levels: {one: {env: {HF_TOKEN: abc}}}}", "{levels: {one: {flags: {--api-key: abc}}}}",
     "{levels: {one: {engine_args: {--api-key: abc}}}}"],
)  # fmt: skip
def test_a_secret_in_an_axis_is_refused(axis):
    with pytest.raises(SpecError) as caught:
        parse_experiment(EXPERIMENT.replace("axes: {", f"axes: {{own: {axis}, "), "x.yaml", "x")
    assert caught.value.code == "secret_in_file"


@pytest.mark.parametrize(
    "line",
    ["env: {DB_PASSWORD: xyz}", "setup: ['export HF_TOKEN=abc']", "setup: ['export https_proxy=http://u:pw@p:1']",
     "directives: ['--export=HF_TOKEN=abc']", f"python: /{HF}/bin/python"],
)  # fmt: skip
def test_a_secret_in_a_profile_is_refused(line):
    with pytest.raises(SpecError, match=r"line 1: clusters\.c\.") as caught:
        parse_model(ConfigFile, f"clusters: {{c: {{{line}}}}}", "hpcsweep.yaml")
    assert caught.value.code == "secret_in_file"


@pytest.mark.parametrize(
    "line",
    ["setup: ['export HF_TOKEN=\"$(cat ~/.token)\"', 'module load x', 'export A=$HF_TOKEN']",
     "setup: ['export https_proxy=http://$U:$P@p:1']", "env: {SSH_AUTH_SOCK: /run/x, TOKENIZERS_PARALLELISM: 'false'}",
     "ssh: {host: h, home: /h, key_file: ~/.ssh/id}", "secrets_file: ~/.s"],
)  # fmt: skip
def test_what_only_names_a_secret_is_accepted(line):
    parse_model(ConfigFile, f"clusters: {{c: {{{line}}}}}", "hpcsweep.yaml")


def test_budgets_and_flags_that_speak_of_tokens_are_no_secrets():
    text = "budgets: {token: 2m}\nserve: {speculative-token-map: org/map, return-token-ids: true, bos-token-id: 5}\n"
    parse_experiment(EXPERIMENT + text + "env_from: [HF_TOKEN]\nsecrets_file: ~/.s\n", "x.yaml", "x")
    assert shipped_experiments()  # they are read in tests/integration/test_experiments.py


# --- on the node


@pytest.fixture
def secrets(tmp_path):
    path = tmp_path / "secrets"
    path.write_text("# mine\nexport HF_TOKEN='a b'\nOTHER=x=y\n\nEMPTY=\n")
    path.chmod(0o600)
    return path


def test_variables_come_from_the_file_first_and_then_from_the_environment(secrets):
    found = secret_environment(["HF_TOKEN", "HOME_MADE"], str(secrets), {"HOME_MADE": "1", "HF_TOKEN": "old"})
    assert found == {"HF_TOKEN": "a b", "HOME_MADE": "1"}
    assert secret_environment([], str(secrets), {}) == {"HF_TOKEN": "a b", "OTHER": "x=y", "EMPTY": ""}
    assert secret_environment(["A"], None, {"A": "1"}) == {"A": "1"}


def test_what_is_missing_is_named(secrets):
    with pytest.raises(SpecError) as caught:
        secret_environment(["OTHER", "EMPTY", "NO"], str(secrets), {})
    assert caught.value.code == "secret_missing" and "EMPTY, NO" in caught.value.message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(lambda path: path.chmod(0o640), "mode 0640", id="the group can read it"),
        pytest.param(lambda path: path.write_text("no assignment"), "line 1: expected NAME=VALUE", id="another form"),
        pytest.param(lambda path: path.write_text("A=" + "x" * 70000), "more than 65536", id="too long"),
        pytest.param(lambda path: path.unlink(), "cannot be read", id="it is missing"),
        pytest.param(lambda path: (path.unlink(), os.mkfifo(path, 0o600)), "not a regular file", id="a pipe"),
    ],
)
def test_a_secrets_file_that_is_not_private_or_not_one_is_refused(secrets, change, said):
    change(secrets)
    with pytest.raises(SpecError, match=said) as caught:
        read_secrets_file(secrets)
    assert "xxx" not in str(caught.value)


def test_a_secrets_file_of_another_user_is_refused(secrets):
    os.chown(secrets, second_user().pw_uid, -1)
    with pytest.raises(SpecError, match="belongs to another user"):
        read_secrets_file(secrets)


def test_values_are_masked_in_log_lines_the_longest_first():
    hidden = hidden_values(
        {"HF_TOKEN": "abcdef", "X": "abcdefgh", "N": "5", "P": "http://u:pw@h"}, ["X"], "the-api-key"
    )
    assert without(b"a=abcdefgh b=abcdef c=the-api-key d=http://u:pw@h 5", hidden) == b"a=*** b=*** c=*** d=*** 5"
