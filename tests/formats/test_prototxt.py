"""Prototxts as fields and places, whatever their fields are; and text in any encoding."""

import hypothesis
import pytest
from hypothesis import strategies as st

from sparknet.formats.outline import cut
from sparknet.formats.prototxt import blanked, parsed


class Counted(str):
    """A text that counts the characters which are cut out of it."""

    __slots__ = ("cut",)

    def __new__(cls, text):
        self = super().__new__(cls, text)
        self.cut = 0
        return self

    def __getitem__(self, place):
        found = super().__getitem__(place)
        self.cut += len(found)
        return found


def test_a_text_is_iteration_hint_once_whatever_is_blanked_in_it():
    text = Counted("ab" * 1000)
    assert blanked(text, [(i, i + 1) for i in range(0, 2000, 2)]) == " b" * 1000
    assert text.cut == len(text)


TEXT = """name: "Le" 'Net'   # in two pieces, "
layer { name: 'a } #' top: ["x", 'y'] phase: TEST, }
shape: [{ dim: 1 }, < dim: -2.5e3; >] list: []
"""


def plain(nodes):
    """Return names and values without their places."""
    return [(n.name, [w.text for w in n.words], [plain(message) for message in n.messages]) for n in nodes]


def test_fields_have_their_words_and_messages():
    assert plain(parsed(TEXT)) == [
        ("name", ['"Le"'], []),
        ("layer", [], [[("name", ["'a } #'"], []), ("top", ['"x"', "'y'"], []), ("phase", ["TEST"], [])]]),
        ("shape", [], [[("dim", ["1"], [])], [("dim", ["-2.5e3"], [])]]),
        ("list", [], []),
    ]


def test_places_are_those_of_name_and_value_and_of_what_comes_after():
    name, layer, *_ = parsed(TEXT)
    assert TEXT[name.start : name.end] == "name: \"Le\" 'Net'"
    assert TEXT[name.value : name.value_end] == TEXT[name.words[0].start : name.words[0].end] == "\"Le\" 'Net'"
    phase = layer.messages[0][2]
    assert (TEXT[phase.value : phase.value_end], TEXT[phase.start : phase.end]) == ("TEST", "phase: TEST,")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((text, "expected a value") for text in ("a", "a: ", "a: }", "a: [1", "a: [1 }", "a: ,", 'a: "b', "a: 'b\n'")),
        *(
            (text, "expected the name of a field")
            for text in ("a {", "a { >", "1: 2", '"a": 1', "a: 1,, b: 2", "}", '# c\n"')
        ),
        ("a 1", "expected a colon"),
    ],
)
def test_other_texts_are_refused(text, expected):
    with pytest.raises(ValueError, match=rf"^no prototxt: character \d+, .*: {expected}"):
        parsed(text)


def test_messages_may_be_as_deep_as_protobuf_has_them():
    deepest = parsed("a { " * 100 + "}" * 100)
    assert len(deepest) == 1
    with pytest.raises(ValueError, match="more than 100 messages in one another"):
        parsed("a { " * 101 + "}" * 101)
    with pytest.raises(ValueError, match="more than 100"):
        parsed("a { " * 100_000)


def test_what_is_cut_takes_its_separator_along():
    assert cut('weights: "a", net: "b"', "weights") == (" " * 14 + 'net: "b"', ['"a"'])
    assert cut('weights: ["a",\n"b"]; net: "b"', "weights") == (" " * 14 + "\n" + " " * 6 + 'net: "b"', ['["a",\n"b"]'])


@hypothesis.given(st.text(alphabet="ab:{}<>[]\"'#\\\n, 1"))
def test_whatever_is_read_is_there_and_blanking_it_leaves_nothing(text):
    try:
        nodes = parsed(text)
    except ValueError:
        return
    rest = blanked(text, [(node.start, node.end) for node in nodes])
    assert parsed(rest) == ()
    assert rest.count("\n") == text.count("\n")
    assert [text[node.start :].startswith(node.name) for node in nodes] == [True] * len(nodes)
