"""Templates as data, and the one renderer."""

from __future__ import annotations

from pumice.text.chat import chat_template
from pumice.text.encoder import TextEncoder, text_encoder
from pumice.text.render import render, truncate
from pumice.text.templates import TEMPLATES, Template, get_template

__all__ = [
    "TEMPLATES",
    "Template",
    "TextEncoder",
    "chat_template",
    "get_template",
    "render",
    "text_encoder",
    "truncate",
]
