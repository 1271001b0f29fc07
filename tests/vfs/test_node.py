"""What a Directory keeps."""

from stat import S_IFDIR

from apppot.vfs.node import MAX_GIVEN_OUT, Directory, Mount, Node


class Fs:
    readonly = False


def test_names_that_guests_may_create_are_kept_within_bounds():
    mount = Mount(b"/", Fs())
    directory = Directory.of(mount.fs, Node.at(b"/tmp", b"/host/tmp", S_IFDIR, mount))
    for number in range(MAX_GIVEN_OUT):
        directory.give_out(b"%d" % number)
    assert b"7" in directory.given_out and b"other" not in directory.given_out
    for number in range(10):
        directory.give_out(b"more%d" % number)
    assert b"7" in directory.given_out and b"other" in directory.given_out
