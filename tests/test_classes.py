"""Class lists as people write them, and as masks carry them."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segearth_cli import classes as class_lists
from segearth_cli.errors import ClassesError

WORDS = st.text(st.characters(categories=["L", "N"], include_characters=" &'<"), min_size=1, max_size=12).filter(
    lambda word: word.strip() and word.casefold() not in ("none", "background")
)
LISTS = st.lists(st.lists(WORDS, min_size=1, max_size=3), min_size=1, max_size=6).filter(
    lambda rows: (lambda flat: len(set(flat)) == len(flat))(
        [" ".join(p.split()).casefold() for row in rows for p in row]
    )
)


@given(LISTS)
def test_a_flag_is_read_as_it_was_written(rows):
    made = class_lists.parse(",".join("|".join(row) for row in rows))
    assert made.phrases == tuple(tuple(" ".join(phrase.split()) for phrase in row) for row in rows)
    assert made.names == tuple(phrases[0] for phrases in made.phrases)
    assert [made.query_class.count(code) for code in range(len(made))] == [len(row) for row in rows]


@given(LISTS)
def test_a_tag_gives_back_its_classes(rows):
    made = class_lists.with_background(class_lists.parse(",".join("|".join(row) for row in rows)), "background")
    assert class_lists.from_tag(class_lists.to_tag(made)) == made


def read(tmp_path, text):
    path = tmp_path / "classes.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return class_lists.read(path)


def test_a_file_has_a_class_a_line_with_comments_and_colours(tmp_path):
    made = read(
        tmp_path,
        "# ours\n\nwater, river,lake #1e5ab4\r\n  building,  roof # red ones\ntree #00FF00 broadleaved\n#ff0000\n",
    )
    assert made.phrases == (("water", "river", "lake"), ("building", "roof"), ("tree",))
    assert made.colors[0] == (0x1E, 0x5A, 0xB4)
    assert made.colors[2] == (0, 255, 0)


@pytest.mark.parametrize(
    "color", ["#zz", "#00F", "#12345", "#1234567", "#0000FF80", "#0000GG", "#00FF0O ours", "#blue"]
)
@pytest.mark.parametrize("before", ["water ", "water, lake", "water; description: Blue. "])
def test_a_colour_that_is_none_is_no_comment(tmp_path, before, color):
    with pytest.raises(ClassesError, match=f"line 2: '{color.split()[0]}' is no colour #RRGGBB"):
        read(tmp_path, f"tree #\n{before}{color}\n## roof ##\n")
    assert read(tmp_path, f"tree #\n{before}# {color}\n{color}\n").names == ("tree", "water")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_as_notepad_saves_it(tmp_path, encoding):
    assert read(tmp_path, "Straße\r\nwater\r\n".encode(encoding)).names == ("Straße", "water")


@given(st.lists(st.text(st.sampled_from('ab,"é '), min_size=1, max_size=6).map(str.strip), min_size=1, max_size=3))
def test_phrases_with_commas_and_quotes_stand_as_spreadsheets_write_them(tmp_path_factory, phrases):
    wanted = tuple(" ".join(phrase.split()) for phrase in phrases if phrase)
    line = io.StringIO()
    csv.writer(line).writerow(phrases)
    if wanted:
        assert read(tmp_path_factory.mktemp("csv"), line.getvalue()).phrases == (wanted,)


@pytest.mark.parametrize("line", ["1,water", "0: water", "7 = roof", '1,"water, fresh"'])
def test_codes_in_a_class_file_are_no_names(tmp_path, line):
    with pytest.raises(ClassesError, match=r"line 2: .* begins with a code"):
        read(tmp_path, f"tree\n{line}\n")
    assert read(tmp_path, "7\n2 wheelers\n").names == ("7", "2 wheelers")


def test_a_quote_without_an_end_is_told(tmp_path):
    with pytest.raises(ClassesError, match=r"line 1: .* a quote has no end"):
        read(tmp_path, '"water, fresh\nroof\n')


def test_every_class_gets_a_colour_of_its_own():
    made = class_lists.parse(",".join(f"thing {i}" for i in range(16)))
    assert len(set(made.colors)) == 16


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "no classes; name at least one"),
        (" , ", "no classes"),
        ("water,|", "class 2 is empty"),
        ("water,,roof", "class 2 is empty"),
        ("water,", "class 2 is empty"),
        ("wa\x1b[31mter", r"class 1 holds the character U\+001B"),
        ("water,ro\u202eof", r"class 2 holds the character U\+202E"),
        ("water|ri\udcffver", r"class 1 holds the character U\+DCFF"),
        ("water,river|Water", "the phrase 'Water' stands in two classes"),
        (",".join(map(str, range(256))), "256 classes, a mask holds at most 255"),
    ],
)
def test_a_list_that_cannot_be_meant_is_told(text, line):
    with pytest.raises(ClassesError, match=line) as caught:
        class_lists.parse(text)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"\xff\xfe\x00", b"caf\xe9\n"])
def test_a_file_that_is_no_class_list_is_told_with_its_name(tmp_path, content):
    with pytest.raises(ClassesError, match=r"classes\.txt: "):
        read(tmp_path, content)


def test_an_absent_file_is_told(tmp_path):
    with pytest.raises(ClassesError, match="cannot read the class file"):
        class_lists.read(tmp_path / "absent.txt")


@pytest.mark.parametrize(
    ("listed", "asked", "names", "background"),
    [
        ("water,roof", "background", ("background", "water", "roof"), 0),
        ("water,Background", "background", ("water", "Background"), 1),
        ("water,roof", "roof", ("water", "roof"), 1),
        ("water,roof", "none", ("water", "roof"), None),
        ("road,clutter|background", "background", ("road", "clutter"), 1),  # as the published set of Potsdam has it
        ("clutter|other,other thing", "other", ("clutter", "other thing"), 0),
    ],
)
def test_the_background_is_found_or_put_first(listed, asked, names, background):
    made = class_lists.with_background(class_lists.parse(listed), asked)
    assert (made.names, made.background) == (names, background)


@pytest.mark.parametrize(
    "other", ["CAFE\u0301  vert", "Café Vert", "cafe\u0301 vert", " café\u00a0vert", "café\u200b vert"]
)
def test_a_name_is_the_same_however_it_is_written(other):
    with pytest.raises(ClassesError, match="stands in two classes"):
        class_lists.parse(f"café vert,{other}")
    assert class_lists.with_background(class_lists.parse("water,café vert"), other).background == 1


@pytest.mark.parametrize("text", ["", "[1]", '[{"code": 0}]', "nonsense"])
def test_a_damaged_tag_is_told(text):
    with pytest.raises(ClassesError, match="damaged SEGEARTH_CLASSES tag"):
        class_lists.from_tag(text)


def test_a_tag_with_control_characters_is_damaged():
    tag = class_lists.to_tag(class_lists.parse("water,roof")).replace("roof", "ro\\u001b[31mof")
    with pytest.raises(ClassesError, match="damaged"):
        class_lists.from_tag(tag)


def test_joiners_of_letters_are_letters():
    assert class_lists.parse("می\u200cخواهم,👩\u200d🌾").names == ("می\u200cخواهم", "👩\u200d🌾")


# what a class file says of a class after its phrases


def test_a_class_file_says_more_of_a_class_after_its_phrases(tmp_path):
    text = (
        "# legend\nsynonyms: mean\nwater, river; description: A smooth, dark surface; synonyms: max  #0000ff\n"
        "building, roof # houses\ntree;description:Round crowns\n"
    )
    made = read(tmp_path, text.encode())
    assert made.phrases == (("water", "river"), ("building", "roof"), ("tree",))
    assert made.synonyms == ("max", "mean", "mean")
    assert made.descriptions == ("A smooth, dark surface", "", "Round crowns")
    assert made.colors[0] == (0, 0, 255)
    assert made.query_class == (0, 0, 0, 1, 2)
    assert class_lists.from_tag(class_lists.to_tag(made)) == made
    background = class_lists.with_background(made, "background")
    assert (background.names[1:], background.descriptions[1:]) == (made.names, made.descriptions)
    assert background.synonyms == ("max", *made.synonyms)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("water; mean", "line 2: 'mean': need 'synonyms: max|mean' or 'description: TEXT'"),
        ("water; synonym: mean", "did you mean synonyms?"),
        ("water; synonyms: sum", "synonyms sum: choose one of max, mean"),
        ("water; synonyms: max; synonyms: mean", "each once"),
        ("synonyms: mean", "put it above the first one"),
        ("; synonyms: mean", "class 2 is empty"),
    ],
)
def test_a_line_that_says_what_cannot_be_meant_is_told_with_its_place(tmp_path, line, told):
    with pytest.raises(ClassesError, match=r"classes\.txt") as caught:
        read(tmp_path, f"roof\n{line}\n".encode())
    assert told in str(caught.value)


# what a list does not name


@given(LISTS, st.sampled_from(["competing", "distractors", "threshold"]))
def test_a_background_that_is_not_named_is_code_0_and_changes_no_class(rows, rest):
    listed = class_lists.parse(",".join("|".join(row) for row in rows))
    made = class_lists.with_rest(listed, rest)
    assert (made.names, made.phrases[1:], made.colors[1:]) == (
        ("background", *listed.names), listed.phrases, listed.colors
    )  # fmt: skip
    assert made.background == 0
    assert class_lists.from_tag(class_lists.to_tag(made)) == made
    assert not set(made.phrases[0]) & {phrase.casefold() for phrase in listed.queries}
    assert [code - 1 for code in made.query_class if code] == list(listed.query_class)
