"""CPython's own tests from Debian's libpython3.11-testsuite: what passes natively passes in a machine, test by test.

APPPOT_TEST_CPYTHON=more also runs the modules of MORE, which take some twenty minutes; APPPOT_TEST_CPYTHON=test_x,test_y
only those named.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from xml.etree import ElementTree

import pytest

MODULES = """
    test_os test_posix test_shutil test_tempfile test_subprocess test_glob test_pathlib test_signal test_socket test_mmap
    test_fcntl test_select test_threading test_tarfile test_stat test_pwd test_grp
""".split()
AS_ROOT = "test_os test_posix test_shutil test_pathlib test_stat test_tarfile test_tempfile".split()
MORE = """
    test_asyncio test_compileall test_concurrent_futures test_epoll test_faulthandler test_file test_fileio test_fileinput
    test_fork1 test_import test_importlib test_inspect test_io test_largefile test_logging
    test_multiprocessing_fork test_multiprocessing_forkserver test_multiprocessing_main_handling
    test_multiprocessing_spawn test_openpty test_pdb test_pipes test_pkgutil test_poll test_popen test_posixpath test_pty
    test_pydoc test_regrtest test_repl test_resource test_runpy test_selectors test_shelve test_site
    test_socketserver test_ssl test_sundry test_sys test_threadsignals test_time test_unicode_file
    test_uuid test_venv test_wait3 test_wait4 test_zipapp test_zipfile test_zipimport
""".split()

# What is another result in a machine than natively: module -> {test: reason}.
EXCEPTIONS = {}

# What only virtual root does otherwise than the same user without it: module -> {test: reason}.
EXCEPTIONS_AS_ROOT = {
    "test_shutil": {
        "test.test_shutil.TestCopy.test_copyxattr_symlinks":
            "trusted attributes are kept as user ones, which the host refuses to keep of a symlink",
    },
}

# What fails now and then natively too, when a thread of the test is slow: {test: reason}.
RACES = {
    "test.test_socket.NetworkConnectionAttributesTest.testSourceAddress":
        "the clean-up closes the socket that the client's thread is about to ask for its name",
}

COMMAND = """
python3 -m test -v --timeout 300 --junit-xml report.xml "$1" >log 2>&1
cat report.xml; tail -c 8000 log >&2
"""


def chosen():
    """The modules to run."""
    wanted = os.environ.get("APPPOT_TEST_CPYTHON", "")
    return [*dict.fromkeys(MODULES + MORE)] if wanted == "more" else wanted.split(",") if wanted else MODULES


def results(done):
    """{test: "passed", "failed" or "skipped"} of one run. The report lacks tests of which subtests failed."""
    assert done.stdout, "no report: " + done.stderr
    found = {}
    for case in ElementTree.fromstring(done.stdout).iter("testcase"):
        told = {child.tag for child in case}
        found[case.get("name")] = ("failed" if told & {"failure", "error"} else
                                   "skipped" if "skipped" in told else "passed")
    found.pop(None, None)          # failed subtests
    return found


def compare(module, native, run_guest, options=()):
    """(native results, results in a machine, the end of the machine's log). Both run at the same time."""
    command = ["sh", "-c", COMMAND, "sh", module]
    with ThreadPoolExecutor(1) as beside:
        natively = beside.submit(native, *command, timeout=600)
        inside = run_guest(*command, options=options, timeout=600)
        natively, here = results(natively.result()), results(inside)
    for name in natively.keys() ^ here.keys():
        natively.setdefault(name, "failed")
        here.setdefault(name, "failed")
    return natively, here, inside.stderr


def check(different, known, log):
    """Every difference is in the table, and everything in the table is one still."""
    new = sorted(different - known.keys() - RACES.keys())
    assert not new, "\n".join(new) + "\n" + log
    assert not known.keys() - different, f"as natively, take them from the table: {sorted(known.keys() - different)}"


@pytest.mark.parametrize("module", chosen())
def test_module(run_guest, native, module):
    natively, inside, log = compare(module, native, run_guest)
    check({name for name, result in natively.items() if result == "passed" and inside[name] != "passed"
           or result == "skipped" and inside[name] == "failed"}, EXCEPTIONS.get(module, {}), log)


@pytest.mark.parametrize("module", [module for module in chosen() if module in AS_ROOT])
def test_module_as_virtual_root(run_guest, native, module):
    """Root may leave out tests of what is forbidden to others, but nothing fails."""
    natively, inside, log = compare(module, native, run_guest, ["--root"])
    check({name for name, result in inside.items() if result == "failed" and natively[name] != "failed"},
          EXCEPTIONS_AS_ROOT.get(module, {}), log)
