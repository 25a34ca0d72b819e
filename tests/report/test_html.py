from __future__ import annotations

from pumice.report.html import Markup, escape, join, tag


def test_plain_text_is_escaped_wherever_it_gets_in() -> None:
    hostile = "<script>\"'&"
    escaped = "&lt;script&gt;&quot;&#x27;&amp;"
    assert tag("p", hostile) == f"<p>{escaped}</p>"
    assert tag("p", [hostile, [hostile]]) == f"<p>{escaped}{escaped}</p>"
    assert tag("p", title=hostile) == f'<p title="{escaped}"></p>'
    assert join(hostile, Markup("<b>")) == f"{escaped}<b>"


def test_elements_nest_without_being_escaped_twice() -> None:
    assert tag("p", tag("b", "a&b"), 3, None) == "<p><b>a&amp;b</b>3</p>"
    assert (
        tag("img", src="a", alt="", class_="x", hidden=True, id=None)
        == '<img src="a" alt="" class="x" hidden>'
    )
    assert tag("svg", viewBox="0", aria_label="l") == '<svg viewBox="0" aria-label="l"></svg>'


def test_what_utf8_cannot_carry_is_replaced() -> None:
    assert escape("a\x00\ud800\x1bb\nc") == "a\ufffd\ufffd\ufffdb\nc"
    escape("\udfff").encode("utf-8")
