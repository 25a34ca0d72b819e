"""docs/templates.md says what the templates do: its table, its examples and its code."""

from __future__ import annotations

import copy
import dataclasses
import re
from pathlib import Path

import pytest

from pumice.text import ALIASES, TEMPLATES, Template, chat_template, get_template
from pumice.text.jinja import compile_jinja

from .families import family

PAGE = (Path(__file__).parents[2] / "docs" / "templates.md").read_text("utf-8")
SAID = [
    {"role": "system", "content": "SYSTEM"},
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "\nWhat is it?"}]},
    {"role": "assistant", "content": "A cat."},
    {"role": "user", "content": "Why?"},
    {"role": "assistant", "content": "It purrs."},
]


def rows() -> list[list[str]]:
    """The table of names, a list of cells a row."""
    table = PAGE.split("## The names")[1].split("\n\n| name |")[1].split("\n\n")[0]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()[2:]]


def examples() -> list[tuple[str, str]]:
    """(name, text) of each example; one text may stand under several names."""
    found = []
    for head, text in re.findall(
        r"\n(\*\*`[^\n]*(?:\n[^\n`][^\n]*|\n[^\n]*`[^\n]*)*)\n\n```text\n(.*?)\n```", PAGE, re.S
    ):
        found += [(name, text) for name in re.findall(r"\*\*`(\w+)`\*\*", head)]
    return found


def test_the_table_has_every_name_and_alias() -> None:
    names = {re.findall(r"`(\w+)`", row[0])[0]: re.findall(r"`(\w+)`", row[1]) for row in rows()}
    assert set(names) == {*TEMPLATES, "chat"}
    assert {alias: name for name, aliases in names.items() for alias in aliases} == dict(ALIASES)


@pytest.mark.parametrize("row", [row for row in rows() if "chat`" not in row[0]], ids=lambda row: str(row[0]))
def test_the_table_says_what_ends_an_answer(row: list[str]) -> None:
    template = get_template(row[0].strip("`"))
    ends = template.assistant_suffix.replace(" ", "blank, ").replace("\n", "newline") + "EOS" * template.eos
    assert row[3].strip("`").replace("\\", "") == ends
    assert (row[2] in ("none", "takes none")) == (not template.system)
    assert (row[2] == "takes none") == (template.images_only or not template.takes_system)


def shown(template: Template) -> str:
    said = SAID if template.takes_system else SAID[1:]
    if template.images_only:
        said = SAID[1:3]
    text = compile_jinja(chat_template(template))(messages=said, bos_token="<s>", eos_token="</s>")
    return text


@pytest.mark.parametrize(("name", "text"), examples(), ids=[name for name, _ in examples()])
def test_the_examples_are_what_is_written(name: str, text: str) -> None:
    assert shown(get_template(name)) == text


def test_every_way_to_write_has_an_example() -> None:
    """Names without one differ from one that has it by system prompt, tags or an example in the prompt."""

    def way(template: Template) -> Template:
        plain = {"system": "", "image_prefix": "", "image_suffix": "", "examples": (), "name": ""}
        return dataclasses.replace(template, **plain)

    known = {way(get_template(name)) for name, _ in examples()}
    assert {way(template) for template in TEMPLATES.values()} == known
    assert len(examples()) >= 11


def test_the_code_runs() -> None:
    jinja, tokenizer = family("qwen2.5")
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = jinja
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert len(blocks) == 2
    for block in blocks:
        exec(block, {"tokenizer": tokenizer})


def test_links_within_the_page_lead_somewhere() -> None:
    heads = {
        re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in re.findall(r"\n## (.*)", PAGE)
    }
    assert set(re.findall(r"\]\(#([\w-]+)\)", PAGE)) <= heads
