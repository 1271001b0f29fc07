"""apppot image remove: free the cache."""

from apppot.cli import values
from apppot.cli.image.command import Command, UsageError
from apppot.cli.options import Option
from apppot.cli.progress import size_text


def run(command, chosen, words):
    from apppot.image import contents
    if bool(words) == (chosen["all"] or chosen["unused"] is not None):
        raise UsageError("say either names, --all or --unused TIME")
    if "" in words:
        raise UsageError("an image's name is empty")
    freed, kept = contents.remove(words, chosen["all"], chosen["unused"])
    if not words:
        from apppot.making.build.kept import Steps
        more, lines = Steps().remove(chosen["unused"])
        freed, kept = freed + more, kept + lines
    for line in kept:
        command.note(line)
    command.note(f"{size_text(freed)} freed")
    return 125 if kept and words else 0


main = Command(
    "remove", run, "NAME...|--all|--unused TIME",
    "Remove images and archives of changes from the cache: by the name or the beginning of the digest that apppot image "
    "list shows, or by the path of the file. What other images or running machines use stays. The patched copies that "
    "machines made of C libraries and static programs go when their originals do, or by the name patched.",
    [Option("--all", help="Remove everything that no machine is using, the steps of builds as well."),
     Option("--unused", metavar="TIME", convert=values.duration,
            help="Remove what was not started for TIME, like 30d or 12h.")],
    words=(0, None), examples=("apppot image remove --unused 30d",))
