"""apppot doctor, and its probes."""

import errno
import json
import os

import pytest

from apppot.platform import probes


def test_every_finding_has_a_state_and_a_remedy_where_it_is_not_ok(command):
    done = command("main", "doctor", "--json")
    told = json.loads(done.stdout)
    assert done.stderr == ""
    assert done.returncode == (0 if told["can_run"] else 125)
    names = [finding["name"] for finding in told["findings"]]
    assert {"kernel", "ptrace", "seccomp", "Landlock", "cache directory", "python", "stub"} <= set(names)
    for finding in told["findings"]:
        assert finding["state"] in (probes.OK, probes.DEGRADED, probes.MISSING)
        assert finding["detail"]
        assert finding["state"] == probes.OK or finding["remedy"], finding


def test_plain_text_has_a_line_a_finding(command):
    done = command("main", "doctor")
    findings = probes.examine()
    lines = [line for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert len(lines) == len(findings) + 1
    assert lines[-1] in ("machines can run on this host", "machines can't run on this host")


def test_no_stub_means_no_machine(monkeypatch):
    monkeypatch.setattr(probes, "__file__", "/nowhere/platform/probes.py")
    finding = probes.stub()
    assert (finding.state, finding.needed) == (probes.MISSING, True)
    assert "gcc" in finding.remedy
    assert not probes.can_run([finding])


@pytest.mark.parametrize("scope, words", [("2", "sysctl"), ("3", "next boot")])
def test_the_remedy_for_ptrace_follows_yama(monkeypatch, scope, words):
    def refuse(*_):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))
    monkeypatch.setattr(probes, "_ptrace", refuse)
    monkeypatch.setattr(probes, "read_text", lambda path: scope if path.endswith("ptrace_scope") else None)
    finding = probes.ptrace()
    assert (finding.state, finding.needed) == (probes.MISSING, True)
    assert "PTRACE_SEIZE" in finding.detail and f"ptrace_scope {scope}" in finding.detail
    assert words in finding.remedy


def test_a_child_that_ignores_the_filter_is_noticed(monkeypatch):
    monkeypatch.setattr(probes, "_install_filter", lambda *_: None)
    assert probes.ptrace().state == probes.MISSING
    assert "no effect" in probes.seccomp().detail


def test_without_landlock_machines_run_degraded(monkeypatch):
    def refuse(*_):
        raise OSError(errno.EOPNOTSUPP, "no")
    monkeypatch.setattr(probes, "_syscall", refuse)
    finding = probes.landlock()
    assert finding.state == probes.DEGRADED and "lsm=" in finding.remedy
    assert probes.can_run([finding])


def test_probes_leave_no_children():
    probes.examine()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_the_table_of_system_calls(command):
    from apppot.syscalls import table
    told = json.loads(command("main", "doctor", "--syscalls", "--json").stdout)
    assert [row["number"] for row in told] == [row.number for row in table.ROWS]
    assert {row["kind"] for row in told} == {"native", "translated", "emulated", "denied"}
    assert all(row["reason"] and bool(row["error"]) == (row["kind"] == "denied") for row in told)
    plain = command("main", "doctor", "--syscalls").stdout.splitlines()
    assert len(plain) == len(told)
    assert [line for line in plain if line.split()[1] == "io_uring_setup"] == [
        "425 io_uring_setup           denied     ENOSYS: the ring makes system calls that no filter sees"]


def test_what_is_called_emulated_stops():
    from apppot.syscalls import table
    assert all(table.by_name[name].action == table.TRACED for name in table.EMULATED)


def test_an_old_landlock_is_told(monkeypatch):
    monkeypatch.setattr(probes, "_landlock_version", lambda: 2)
    assert "truncating, TCP, ioctl on devices, signals and abstract sockets" in probes.landlock().detail
    assert (probes.landlock().state, probes.fast_path().state) == (probes.OK, probes.OK)
