"""Which of the caller's variables a guest gets."""

import pytest

from apppot.kernel.environment import is_passed_on


@pytest.mark.parametrize("name", [
    "HOME", "TMPDIR", "LD_PRELOAD", "XDG_RUNTIME_DIR", "XAUTHORITY", "SSH_AUTH_SOCK", "SSH_AGENT_PID", "GPG_AGENT_INFO",
    "DBUS_SESSION_BUS_ADDRESS", "APPPOT_IMAGE", "AWS_SESSION", "AZURE_TENANT", "GITHUB_TOKEN", "GH_TOKEN", "SLURM_JWT",
    "BEARER_TOKEN", "BEARER_TOKEN_FILE", "OPENAI_API_KEY", "API_KEYS", "MYSQL_PASSWORD", "PGPASSWORD", "DB_PASSWD",
    "CLIENT_SECRET", "client_secret", "GOOGLE_APPLICATION_CREDENTIALS", "KRB5CCNAME", "PULSE_COOKIE", "DOCKER_AUTH",
    "TMUX_SOCKET", "BORG_PASSPHRASE", "SIGNINGKEY", "a.token", "Pass", "MY_CREDS_FILE", "SSH_KEYS_DIR",
])
def test_what_may_be_a_secret_or_names_the_host_is_left_out(name):
    assert not is_passed_on(name.encode())


@pytest.mark.parametrize("name", [
    "LANG", "LC_ALL", "TERM", "DISPLAY", "EDITOR", "TZ", "OMP_NUM_THREADS", "SLURM_JOB_ID", "SLURM_PROCID", "KEYBOARD",
    "AUTHOR", "COMPASS", "http_proxy", "PMI_FD", "PMI_RANK", "PMIX_SERVER_URI4", "OMPI_MCA_secret_key", "I_MPI_ROOT", "X509_USER_PROXY",
])
def test_all_else_is_passed_on(name):
    assert is_passed_on(name.encode())
