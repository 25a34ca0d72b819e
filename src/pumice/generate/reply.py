"""Replies of teachers, taken apart: questions with answers, phrases of boxes, verdicts."""

from __future__ import annotations

import re

THOUGHT = re.compile(r"\A\s*<think>.*?</think>\s*", re.S)
CHATTER = re.compile(
    r"\A(certainly|sure|of course|okay|absolutely|here(?: is|'s| are))\b[^\n]*[:!.]\s*(?:\n|here\b)"
    r"|\n[^\n]*\b(let me know|hope this helps|feel free to)\b[^\n]*\Z",
    re.I,
)
"""What assistants say around what they were asked to write."""
_FENCE = re.compile(r"\A```[a-z]*\n(.*?)\n?```\s*\Z", re.S)
_MARK = re.compile(
    r"^\s*[*_#>\-]*\s*(?:\d+[.)]\s*)?[*_]*(Q|A|Question|Answer)(?:\s*\d+)?\s*[*_]*\s*:[*_]*\s*", re.I
)
_NUMBERED = re.compile(r"^\s*[*\-]?\s*\(?(\d+)\s*[:.)]\s*(.+?)\s*$")
_VERDICT = re.compile(r"^[*_\"']*(yes|no)\b[*_\"']*[^\w]*(.*)$", re.I)


class Unread(Exception):
    """A reply that is not of the form that was asked for; its words say why."""


def bare(text: str) -> str:
    """A reply without thoughts before it and without a fence around it."""
    text = THOUGHT.sub("", text).strip()
    fenced = _FENCE.match(text)
    return (fenced[1] if fenced else text).strip()


def read_dialogue(text: str) -> list[tuple[str, str]]:
    """Questions with their answers, from lines that begin with Q: and A:.

    Raises:
        Unread: there are none, or they do not alternate.
    """
    turns: list[tuple[str, list[str]]] = []
    for line in bare(text).splitlines():
        mark = _MARK.match(line)
        if mark:
            turns.append((mark[1][0].upper(), [line[mark.end() :].strip()]))
        elif turns:
            turns[-1][1].append(line.strip())
        elif line.strip():
            raise Unread(f"it begins with {line.strip()[:60]!r}, not with Q:")
    said = [(who, "\n".join(lines).strip()) for who, lines in turns]
    if not said:
        raise Unread("it holds no question")
    if [who for who, _ in said] != ["Q", "A"] * (len(said) // 2):
        raise Unread("questions and answers do not alternate")
    return [(said[n][1], said[n + 1][1]) for n in range(0, len(said), 2)]


def read_text(text: str) -> str:
    """Running text.

    Raises:
        Unread: it is empty, or is questions and answers.
    """
    found = bare(text)
    if not found:
        raise Unread("it is empty")
    if chatter := CHATTER.search(found):
        raise Unread(f"it speaks to whoever asked: {chatter[0].strip()[:60]!r}")
    if _MARK.match(found):
        raise Unread("it is questions and answers, not a text")
    if len(found) > 1 and found[0] == found[-1] == '"' and '"' not in found[1:-1]:
        found = found[1:-1].strip()
    return found


def read_phrases(text: str, count: int) -> dict[int, str]:
    """A phrase by the number of its box, from 1; some may be missing.

    Raises:
        Unread: no line has a number and a phrase, or a number stands twice or belongs to no box.
    """
    found: dict[int, str] = {}
    for line in bare(text).splitlines():
        match = _NUMBERED.match(line)
        if match is None:
            if line.strip():
                raise Unread(f"the line {line.strip()[:60]!r} has no number")
            continue
        number = int(match[1])
        if not 1 <= number <= count:
            raise Unread(f"there is no number {number}")
        if number in found:
            raise Unread(f"the number {number} stands twice")
        found[number] = match[2].strip().strip('"').rstrip(".").strip()
    if not found:
        raise Unread("it holds no phrase")
    return found


def read_verdicts(text: str, count: int) -> dict[int, tuple[bool, str]]:
    """Whether each of so many answers is borne out, and the reason of a no, by number from 1.

    Raises:
        Unread: one is missing, or is neither yes nor no.
    """
    found: dict[int, tuple[bool, str]] = {}
    for number, words in read_phrases(text, count).items():
        match = _VERDICT.match(words)
        if match is None:
            raise Unread(f"number {number} is neither yes nor no")
        found[number] = match[1].lower() == "yes", match[2]
    if len(found) != count:
        raise Unread(f"it judges {len(found)} of {count}")
    return found
