"""YAML: scalars are what they look like, and what is broken is one line."""

import pytest

from palaestra.training.settings.yaml_files import load_yaml, parse_yaml, yaml_word

from .usage_errors import error_of


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[
            ("on", "on"),
            ("off", "off"),
            ("no", "no"),
            ("true", True),
            ("false", False),
            ("~", None),
            ("", None),
        ],
        *[("1e5", 1e5), ("1e-3", 1e-3), ("3.", 3.0), (".5", 0.5), ("-.inf", float("-inf")), ("1_000", 1000)],
        *[("1:30", "1:30"), ("2024-01-01", "2024-01-01"), ("'1e5'", "1e5"), ("[1, 2]", [1, 2])],
    ],
)
def test_scalars_are_what_they_look_like(text, value):
    read = parse_yaml(f"key: {text}", "f.yaml")["key"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "f.yaml, line 2: 'a' stands twice"),
        ("x:\n  a: 1\n  b: 1\n  a: 2", "f.yaml, line 4: 'a' stands twice"),
        ("a: [1", "f.yaml, line 1: expected ',' or ']', but got '<stream end>'"),
        ("- 1", "f.yaml: expected a mapping at the top level, got [1]"),
        ("a: &x [*x]", "f.yaml, line 1: aliases are not supported"),
        ("a: &x {b: 1}\nc: {<<: *x}", "f.yaml, line 2: aliases are not supported"),
        ("[1]: 2", "f.yaml, line 1: found unhashable key"),
        ("a: " + "[" * 3000, "f.yaml: nested too deeply"),
        (
            "a: \x00",
            "f.yaml: unacceptable character #x0000: special characters are not allowed in "
            '"<unicode string>", position 3',
        ),
    ],
)
def test_broken_yaml_is_one_line_with_its_place(text, message):
    assert error_of(parse_yaml, text, "f.yaml") == message


def test_tags_that_make_objects_are_refused(tmp_path):
    marker = tmp_path / "made"
    text = f"a: !!python/object/apply:os.mkdir ['{marker}']"
    assert "could not determine a constructor" in error_of(parse_yaml, text, "f.yaml")
    assert not marker.exists()


def test_files_that_cannot_be_read(tmp_path):
    assert "No such file" in error_of(load_yaml, tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\xff")
    assert error_of(load_yaml, tmp_path / "binary.yaml").startswith("cannot read")
    (tmp_path / "empty.yaml").write_text("")
    assert load_yaml(tmp_path / "empty.yaml") == {}


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        -1.5,
        1e-05,
        1e300,
        float("inf"),
        "hard",
        "3",
        "null",
        "on",
        "a, b",
        "#x",
        "it's: so",
        "",
        " x ",
    ],
)
def test_a_word_is_read_as_the_value(value):
    for each in (value, [value, 1], {"key": value}):
        word = yaml_word(each)
        assert "\n" not in word and parse_yaml(f"name: {word}", "x") == {"name": each}


def test_words_stay_as_people_write_them():
    assert [yaml_word(x) for x in (8, 0.5, "hard", True, [1, 2])] == ["8", "0.5", "hard", "true", "[1, 2]"]
