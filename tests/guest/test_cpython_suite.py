"""CPython's own tests from Debian's libpython3.11-testsuite: what passes natively passes in a machine."""

import re

import pytest

MODULES = """
    test_os test_posix test_shutil test_tempfile test_subprocess test_glob test_pathlib test_signal test_socket test_mmap
    test_fcntl test_select test_threading test_tarfile test_stat test_pwd test_grp
""".split()

# Test methods that fail in a machine and not natively: name -> reason.
EXCEPTIONS = {}

FAILED = re.compile(r"^(?:ERROR|FAIL): (\S+) \(([\w.]+)\)", re.M)


def failures(done):
    """Names of the failed test methods, like test_os.FileTests.test_access."""
    out = done.stdout + done.stderr
    assert re.search(r"^Total duration|^Result: ", out, re.M), out[-3000:]
    return {re.sub(r"^test\.", "", path if path.endswith("." + name) else f"{path}.{name}") for name, path in FAILED.findall(out)}


def ran(done):
    """Number of tests that really ran."""
    return sum(map(int, re.findall(r"^Ran (\d+) tests? in", done.stdout + done.stderr, re.M)))


@pytest.mark.parametrize("module", MODULES)
def test_module(run_guest, native, module):
    command = ["python3", "-m", "test", "-v", "--timeout", "240", module]
    natively = native(*command, timeout=300)
    inside = run_guest(*command, timeout=600)
    new = failures(inside) - failures(natively)
    known = {name for name in EXCEPTIONS if name.startswith(module + ".")}
    assert not new - known, "\n".join(sorted(new - known)) + "\n" + (inside.stdout + inside.stderr)[-6000:]
    assert ran(inside) == ran(natively)
    assert not known - new, f"no longer failing, take them from the table: {sorted(known - new)}"
