"""Templates as data, and the one renderer."""

from __future__ import annotations

from pumice.text.chat import chat_template
from pumice.text.encoder import TextEncoder, text_encoder
from pumice.text.ends import answer_ends
from pumice.text.learn import learn_template
from pumice.text.render import TooLong, count_turns, render, truncate
from pumice.text.resolve import resolve_template, template_of_chat
from pumice.text.template import Template, mark_images
from pumice.text.templates import ALIASES, TEMPLATES, check_template_name, get_template, template_names

__all__ = [
    "ALIASES",
    "TEMPLATES",
    "Template",
    "TextEncoder",
    "TooLong",
    "answer_ends",
    "chat_template",
    "check_template_name",
    "count_turns",
    "get_template",
    "learn_template",
    "mark_images",
    "render",
    "resolve_template",
    "template_names",
    "template_of_chat",
    "text_encoder",
    "truncate",
]
