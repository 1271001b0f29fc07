"""The option parser by itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apppot.cli.options import Option, UsageError, help_text, parse
from apppot.errors import STATUS_USAGE

OPTIONS = [
    Option("--root", help="switch"),
    Option("--verbose", "-v", help="counted switch", repeat=True),
    Option("--quiet", "-q", help="switch"),
    Option("--image", "--apppot", metavar="PATH", help="value"),
    Option("--env", "-e", metavar="K=V", help="values", repeat=True),
    Option("--trace", metavar="[FILE]", help="value that may be left out"),
    Option("--count", metavar="N", help="converted", convert=int),
]


def words(text):
    return parse(OPTIONS, text.split())


def test_options_end_at_the_first_word_that_is_none():
    values, _, rest = words("--root ls --root -l")
    assert values["root"] is True
    assert rest == ["ls", "--root", "-l"]


def test_two_dashes_end_options_too():
    assert words("--root -- --root")[2] == ["--root"]
    assert words("-- --")[2] == ["--"]


def test_a_single_dash_is_a_word():
    assert words("- x")[2] == ["-", "x"]


@pytest.mark.parametrize("text", ["--image a", "--image=a", "--apppot a", "--apppot=a"])
def test_values_follow_or_are_joined(text):
    assert words(text)[0]["image"] == "a"


def test_a_value_may_look_like_an_option():
    assert words("--image --root x") == ({**words("x")[0], "image": "--root"}, ["--image"], ["x"])


def test_a_joined_value_may_be_empty_or_hold_an_equals_sign():
    assert words("--env= --env=a=b=c")[0]["env"] == ["", "a=b=c"]


def test_an_optional_value_is_only_joined():
    assert words("--trace ls")[0]["trace"] is True
    assert words("--trace ls")[2] == ["ls"]
    assert words("--trace=log ls")[0]["trace"] == "log"


def test_short_switches_can_be_bundled_and_counted():
    values, _, rest = words("-vqv -eA=1 -e B=2 x")
    assert (values["verbose"], values["quiet"], values["env"], rest) == (2, True, ["A=1", "B=2"], ["x"])


def test_the_last_of_several_values_counts():
    assert words("--image a --image b")[0]["image"] == "b"


@pytest.mark.parametrize("text, message", [
    ("--imag x", "unknown option --imag; did you mean --image?"),
    ("--zzzz", "unknown option --zzzz; --help lists the options"),
    ("-z", "unknown option -z; --help lists the options"),
    ("-image x", "unknown option -image; did you mean --image?"),
    ("-it", "unknown option -it; --help lists the options"),
    ("-vz", "unknown option -z; --help lists the options"),
    ("--image", "--image needs a value: --image PATH"),
    ("-e", "-e needs a value: -e K=V"),
    ("--root=yes", "--root takes no value"),
])
def test_errors(text, message):
    with pytest.raises(UsageError) as caught:
        words(text)
    assert caught.value.message == message
    assert caught.value.status == STATUS_USAGE


def test_the_converters_complaint_is_shown_with_the_name_that_was_given():
    with pytest.raises(UsageError, match="^--count: invalid literal"):
        words("--count x")


def test_help_shows_every_name_in_79_columns():
    text = help_text("x [options]", "Summary. " * 20, [("Group", OPTIONS)])
    assert all(name in text for option in OPTIONS for name in option.names)
    assert all(len(line) <= 79 for line in text.splitlines())


@given(st.lists(st.text(max_size=8), max_size=6))
def test_any_words_are_parsed_or_refused(argv):
    try:
        values, given_names, rest = parse(OPTIONS, argv)
    except (UsageError, ValueError):
        return
    assert set(values) == {option.key for option in OPTIONS}
    assert rest == argv[len(argv) - len(rest):]
