"""apppot-snap outside of machines: base, changes and merge on a copy-on-write directory. Inside, see syscalls/snap.py."""

import os
import sys
from contextlib import closing

from apppot.cli import imagefile, progress, report
from apppot.cli.options import UsageError
from apppot.errors import AppPotError

PROGRAM = "apppot-snap"


def snap(argv):
    from apppot.snap import request as requests
    try:
        request = requests.parse([os.fsencode(word) for word in argv])
    except requests.Wrong as wrong:
        raise UsageError(wrong.text) from None
    if request.command is None:
        sys.stdout.write(requests.HELP)
        return 0
    if request.cow is None:
        raise UsageError("which copy-on-write directory? Outside of a machine name it with --cow DIR")
    path, shown = _file(request, requests)
    return _work(request, path, shown)


def _file(request, requests):
    """(host path, name for messages) of the request's file."""
    name = request.file
    if request.command == "base":
        return None, ""
    if request.command == "merge":
        name = name or requests.default_merge(os.listdir(b"."))
    elif name == b"-":
        sys.stdout.flush()
        return 1, "-"
    else:
        name = name or requests.default_changes()
    return os.path.abspath(name), os.fsdecode(name)


def _work(request, path, shown):
    from apppot.image.cow import Cow
    from apppot.image.opening import open_image
    from apppot.snap import request as requests
    from apppot.snap.snapshots import Snapshots
    from apppot.vfs.ownership import Ownership
    out = sys.stderr if path == 1 else sys.stdout
    with closing(Cow.open(request.cow, create=False)) as cow, open_image(_image(request, cow)) as image:
        ownership = Ownership(cow.upper, cow.ownership_log)
        snapshots = Snapshots(cow, image, ownership, warn=lambda line: report.say(PROGRAM, line))
        snapshots.progress = progress.for_command(PROGRAM, request.quiet, plain=request.verbose or request.dry)
        try:
            if requests.first_half(request, snapshots, path, shown, out) is not None:
                snapshots.commit()
        finally:
            ownership.close()
    return 0


def _image(request, cow):
    if request.image is not None:
        return imagefile.choose(request.image, os.environb, os.getcwdb())[0]
    name = cow.data.get("image")
    if name is None:
        raise AppPotError(f"COW {os.fsdecode(request.cow)} does not say what image it was made on; name it with --image")
    return os.fsencode(name)


def main(argv=None):
    return report.guard(PROGRAM, snap, sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
