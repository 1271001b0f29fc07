"""What AppPot says when it can't go on."""

# Exit statuses of every command. The guest's own status is passed on as it is.
STATUS_USAGE = 2            # the command line is wrong
STATUS_TIMEOUT = 124        # --timeout has ended the machine; as timeout(1)
STATUS_FAILED = 125         # AppPot itself failed: image, host, COW
STATUS_NOT_EXECUTABLE = 126  # the guest's command was found and can't be executed
STATUS_NOT_FOUND = 127      # the guest's command was not found


class AppPotError(Exception):
    """An end of the run that is explained by one line.

    The message names the file or option and the remedy; the command line prints it after its own name, without a
    traceback, and exits with `status`. `lines` are printed below: what another program said last.
    """

    def __init__(self, message, status=STATUS_FAILED, lines=()):
        super().__init__(message)
        self.message = message
        self.lines = tuple(lines)
        self.status = status
