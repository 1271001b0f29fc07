"""apppot image inspect: tell what an image is."""

from apppot.cli.image.command import JSON, Command, image_path, print_json
from apppot.cli.progress import size_text
from apppot.messages import shown


def run(command, chosen, words):
    from apppot.making.about import describe
    facts = describe(image_path(words[0]), command.progress)
    if chosen["json"]:
        print_json(facts)
        return
    for key in ("image", "format", "digest", "size", "os", "autorun", "base"):
        value = facts.get(key)
        if value is not None:
            _print(key, size_text(value) if key == "size" else "yes" if value is True else value)
    for number, layer in enumerate(facts["layers"], 1):
        words = [layer["digest"] or layer["path"]]
        if layer.get("files") is not None:
            words.append(f"{layer['files']} files, {size_text(layer['size'])}")
        _print(f"layer {number}", ", ".join(words))
    for key, value in (facts["config"] or {}).items():
        _print(key, " ".join(value) if isinstance(value, list) else value)


def _print(key, value):
    print(shown(f"{key + ':':<12}{value}"))


main = Command(
    "inspect", run, "IMAGE [--json]",
    "Tell an image's format, size, layers (lowest first), operating system, recorded base of snapshots, autorun script and "
    "configuration.",
    [JSON], examples=("apppot image inspect root.tar.gz",))
