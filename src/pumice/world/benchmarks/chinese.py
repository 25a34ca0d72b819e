"""The world's short questions in Chinese, word for word out of the English ones."""

from __future__ import annotations

from collections.abc import Sequence

_WORDS = {
    "red": "红色", "orange": "橙色", "yellow": "黄色", "green": "绿色", "blue": "蓝色", "purple": "紫色",
    "white": "白色", "black": "黑色",
    "circle": "圆形", "square": "正方形", "triangle": "三角形", "star": "星形", "cross": "十字形",
    "ring": "圆环", "sign": "牌子", "object": "物体",
    "small": "小", "medium": "中等", "large": "大",
    "top left": "左上方", "top center": "正上方", "top right": "右上方", "middle left": "左侧中间",
    "center": "正中间", "middle right": "右侧中间", "bottom left": "左下方", "bottom center": "正下方",
    "bottom right": "右下方",
    "left": "左边", "right": "右边", "above": "上面", "below": "下面",
}  # fmt: skip
_PLURAL = {"crosses": "cross"} | {
    f"{word}s": word for word in ("circle", "square", "triangle", "star", "ring", "sign", "object")
}
MARK = "\uff1f"
"""The full-width question mark."""
_ATTRIBUTES = {"color": "是什么颜色", "shape": "是什么形状", "size": "是多大的"}


def chinese_options(options: Sequence[str]) -> list[str]:
    """Options in Chinese; numbers stay."""
    return [_WORDS.get(option, option) for option in options]


def chinese_question(question: str) -> str:
    """A short question of the teacher in Chinese.

    >>> chinese_question("How many red rings are there?").removesuffix(MARK)
    '图中有几个红色的圆环'
    """
    return _sentence(question) + MARK


def _sentence(question: str) -> str:
    words = question.removesuffix("?")
    if words.startswith("What "):
        attribute, _, thing = words.removeprefix("What ").partition(" is ")
        return f"{_thing(thing)}{_ATTRIBUTES[attribute]}"
    if words.startswith("How many "):
        return f"图中有几个{_thing(words.removeprefix('How many ').removesuffix(' are there'))}"
    assert words.startswith("Where is "), f"no such question: {question}"
    one, _, other = words.removeprefix("Where is ").partition(" relative to ")
    return f"{_thing(one)}在{_thing(other)}的哪一边" if other else f"{_thing(one)}在图中的什么位置"


def _thing(words: str) -> str:
    """``the small red circle at the top left`` -> 左上方的小的红色的圆形."""
    name, _, place = words.removeprefix("the ").partition(" at the ")
    if not place and name.endswith(" in the center"):
        name, place = name.removesuffix(" in the center"), "center"
    parts = [place] if place else []
    parts += [_PLURAL.get(word, word) for word in name.split()]
    return "的".join(_WORDS[part] for part in parts)
