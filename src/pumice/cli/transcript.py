"""A conversation as a file, with what gives the same answers again: Markdown to read, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pumice import __version__
from pumice.errors import UsageError
from pumice.files import write_text
from pumice.types import Video

if TYPE_CHECKING:
    from pumice.infer import ChatSession, ImageSource, Turn

FORMS = (".json", ".md")


def check_name(path: Path) -> None:
    """Raises UsageError for a file whose ending names no form."""
    if path.suffix not in FORMS:
        raise UsageError(
            f"a conversation is saved as {' or '.join(FORMS)}", where=str(path), remedy="end the name so"
        )


def save(session: ChatSession, model: str, path: Path) -> None:
    """Write a conversation so far.

    Raises:
        UsageError: another ending than .json or .md, no turn yet, or no such folder.
    """
    check_name(path)
    if not session.turns:
        raise UsageError("nothing was said yet", remedy="ask something first")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}", where=str(path), remedy="make it first")
    content = conversation(session, model)
    text = (
        json.dumps(content, ensure_ascii=False, indent=2) + "\n" if path.suffix == ".json" else _page(content)
    )
    write_text(path, text)


def conversation(session: ChatSession, model: str) -> dict[str, Any]:
    """All of it, ready for JSON."""
    from pumice.model.quantized.language import form_of

    sampling, form = session.sampling, form_of(session.generator.model.lm)
    return {
        "model": model,
        "pumice": __version__,
        "template": session.generator.template.name,
        "settings": {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "seed": sampling.seed,
            "max_new_tokens": session.max_new_tokens,
            "dtype": str(session.generator.model.dtype).removeprefix("torch."),
            **({} if form is None else {"weights": form}),
            "device": session.generator.model.device.type,
        },
        "system": session.system,
        "turns": [turn_row(turn) for turn in session.turns],
    }


def turn_row(turn: Turn) -> dict[str, Any]:
    """One turn, ready for JSON; ``finish`` is stop, length or abort."""
    usage = turn.ended.usage
    row: dict[str, Any] = {
        "question": turn.question,
        "images": [_name(image) for image in turn.images],
        "answer": turn.answer,
        "finish": turn.ended.finish,
        "seed": turn.seed,
    }
    if usage is not None:
        row |= {
            "prompt_tokens": usage.prompt_tokens,
            "cached_tokens": usage.cached_tokens,
            "completion_tokens": usage.completion_tokens,
            "first_token_seconds": round(usage.first_token_seconds, 4),
            "seconds": round(usage.seconds, 4),
        }
    return row


def stats_line(turn: Turn, *, drawn: bool) -> str:
    """What a turn took, in words; with the seed where it decided something."""
    usage = turn.ended.usage
    assert usage is not None
    after = usage.seconds - usage.first_token_seconds
    words = [f"{usage.completion_tokens} tokens"]
    if usage.completion_tokens > 1 and after > 0:
        words[0] += f", {(usage.completion_tokens - 1) / after:.1f} a second"
    words.append(f"the first after {usage.first_token_seconds:.2f} s")
    known = f", {usage.cached_tokens} of them read before" if usage.cached_tokens else ""
    words.append(f"prompt {usage.prompt_tokens}{known}")
    if drawn:
        words.append(f"seed {turn.seed}")
    return "; ".join(words)


def _name(image: ImageSource) -> str:
    if isinstance(image, Video):
        return str(image.path)
    return str(image) if isinstance(image, Path) else "(a picture in memory)"


def _page(content: Mapping[str, Any]) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in content["settings"].items())
    lines = [
        f"# Conversation with {content['model']}",
        "",
        f"Pumice {content['pumice']}, template {content['template']}, {settings}.",
    ]
    if content["system"] is not None:
        lines += ["", f"System: {content['system']}"]
    for turn in content["turns"]:
        lines += ["", "## Question", "", *(f"- shown: `{name}`" for name in turn["images"])]
        lines += ([""] if turn["images"] else []) + [turn["question"], "", "## Answer", "", turn["answer"]]
        if turn["finish"] != "stop":
            lines += ["", f"({'stopped' if turn['finish'] == 'abort' else 'cut at its longest'})"]
    return "\n".join(lines) + "\n"
