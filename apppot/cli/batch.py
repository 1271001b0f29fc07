"""What the commands for jobs share."""

from apppot.cli.options import Option

QUIET = Option("--quiet", "-q", help="No notes.")


def records(words):
    """The records that words name."""
    from apppot.batch import record
    return [record.find(word) for word in words]
