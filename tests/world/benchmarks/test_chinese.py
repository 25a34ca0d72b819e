"""The world's questions in Chinese: every one that can be asked has its words."""

from __future__ import annotations

from itertools import islice

from pumice.world.benchmarks.chinese import MARK, chinese_options, chinese_question
from pumice.world.benchmarks.material import VALUES, Material
from pumice.world.embedded import resolve
from pumice.world.tokenize import load_tokenizer


def test_all_questions_and_options_have_words_and_the_embedded_tokenizer_holds_them() -> None:
    tokenizer = load_tokenizer(resolve("tiny"))
    seen = set()
    for view in islice(Material(0, 1).views(), 60):
        for turn in view.turns(*VALUES):
            text = chinese_question(turn.question)
            assert text.endswith(MARK)
            assert not any("a" <= letter <= "z" for letter in text), turn.question
            seen.add(turn.type)
            ids = tokenizer.encode(text, add_special_tokens=False)
            assert tokenizer.decode(ids) == text
    assert seen == set(VALUES)
    for kind, values in VALUES.items():
        told = chinese_options(values)
        assert len(set(told)) == len(values)
        assert (told == list(values)) is (kind == "count"), "numbers stay"


def test_a_place_stands_before_the_thing() -> None:
    asked = chinese_question("What color is the large object at the top left?")
    assert asked.removesuffix(MARK) == "左上方的大的物体是什么颜色"
    other = chinese_question("Where is the red star relative to the sign?")
    assert other.removesuffix(MARK) == "红色的星形在牌子的哪一边"
