"""The conversation template of a checkpoint is told by its files, or asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pumice.errors import CheckpointError, TemplateError
from pumice.model.template import own_chat_template, template_name
from pumice.text.chat import chat_template


def test_what_is_asked_for_wins(tmp_path: Path) -> None:
    assert template_name("v1", "tiny", tmp_path, "x") == "v1"
    assert template_name(None, "tiny", tmp_path, "x") == "tiny"


def test_a_wrong_name_lists_the_right_ones(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="'v2'"):
        template_name("v2", None, tmp_path, "x")


@pytest.mark.parametrize("name", ["v1", "tiny", "plain"])
@pytest.mark.parametrize(
    "place", ["chat_template.jinja", "chat_template.json", "processor_config.json", "tokenizer_config.json"]
)
def test_from_the_chat_template_wherever_it_lies(tmp_path: Path, name: str, place: str) -> None:
    text = chat_template(name)
    content = text if place.endswith("jinja") else json.dumps({"chat_template": text})
    (tmp_path / place).write_text(content)
    assert own_chat_template(tmp_path) == text
    assert template_name(None, None, tmp_path, "x") == name


def test_a_template_in_other_words_is_told_by_what_it_writes(tmp_path: Path) -> None:
    """Another program's Jinja for ``tiny``."""
    text = (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}Q: {% for p in m.content %}"
        "{% if p.type == 'image' %}<image>{% else %}{{ p.text }}{% endif %}{% endfor %}{{ '\\n' }}A:"
        "{% else %} {{ m.content[0].text }}{{ eos_token }}{% endif %}{% endfor %}"
    )
    (tmp_path / "chat_template.jinja").write_text(text)
    assert template_name(None, None, tmp_path, "x") == "tiny"


def test_the_published_template_of_llava_1_5(tmp_path: Path) -> None:
    """As transformers' converter wrote it: no default prompt, no tokens at the ends, pictures first."""
    text = (
        "{% for message in messages %}{% if message['role'] != 'system' %}"
        "{{ message['role'].upper() + ': ' }}{% endif %}"
        "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}"
        "{{ '<image>\\n' }}{% endfor %}"
        "{% if message['role'] != 'assistant' %}"
        "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}"
        "{{ part['text'] + ' ' }}{% endfor %}{% else %}"
        "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}"
        "{% generation %}{{ part['text'] + ' ' }}{% endgeneration %}{% endfor %}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
    )
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": text}))
    assert template_name(None, None, tmp_path, "renamed") == "v1"


@pytest.mark.parametrize("text", ["{{ messages }}", "{{ broken", "{% for x in 5 %}{% endfor %}", ""])
def test_others_are_asked_for(tmp_path: Path, text: str) -> None:
    (tmp_path / "chat_template.jinja").write_text(text)
    with pytest.raises(CheckpointError) as caught:
        template_name(None, None, tmp_path, "x")
    assert "v1" in str(caught.value)


def test_a_template_cannot_reach_out_of_its_sandbox(tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    (tmp_path / "chat_template.jinja").write_text(
        "{{ ''.__class__.__mro__[1].__subclasses__() }}{{ cycler.__init__.__globals__.os.mkdir('"
        + str(proof)
        + "') }}"
    )
    with pytest.raises(CheckpointError):
        template_name(None, None, tmp_path, "x")
    assert not proof.exists()


def test_published_names_are_known(tmp_path: Path) -> None:
    assert template_name(None, None, tmp_path, "llava-v1.5-7b") == "v1"
    with pytest.raises(CheckpointError):
        template_name(None, None, tmp_path, "my-llava-v1.5-7b")
