"""Kinds of instruction data as files: what a teacher is told, shown, and must give back.

A kind is one YAML file. Those that ship are in ``prompts/``; a folder of one's own may hold others of the
same names, which take their places, and new names, which are new kinds.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pumice.errors import DataError, UsageError, suggest
from pumice.generate.language import LANGUAGES
from pumice.generate.protocol import SceneText
from pumice.generate.scenes import parse_scene

SHIPPED = Path(__file__).parent / "prompts"
AGREEMENT = "agreement"
"""The second pass: a file like those of kinds, and none."""
Form = Literal["dialogue", "text", "describe", "locate", "verdict"]
Part = Literal["captions", "objects", "texts", "regions", "mentions"]
Grounding = Literal["strict", "asserted", "absent", "existence", "phrase", "text", "none"]


class Example(BaseModel):
    """A scene, and the reply that is wanted for it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scene: dict[str, Any]
    second: dict[str, Any] | None = None
    written: str = ""
    reply: str

    @cached_property
    def scenes(self) -> tuple[SceneText, ...]:
        """What is shown: one scene, or two."""
        return tuple(_scene(one) for one in (self.scene, self.second) if one is not None)


class Spec(BaseModel):
    """One kind.

    Attributes:
        name: the file's, without its ending.
        about: one line for lists of kinds.
        form: how the reply is read. ``dialogue``: lines of Q: and A:. ``text``: the reply is the answer to
            one of ``questions``. ``describe`` and ``locate``: a phrase for each numbered box. ``verdict``:
            yes or no.
        like: another kind whose system and examples are this one's too, so that one reply serves both.
        shows: which parts of a scene are shown.
        needs: a scene must have at least one of these; others are passed over.
        pictures: how many scenes a row is about, 1 or 2.
        independent: whether turns stand alone, so that a bad one is left out and the others stay.
        balanced: whether yes and no must be equally frequent in a row.
        turns: fewest and most.
        words: of an answer, fewest and most; of languages without spaces, two characters are a word.
        grounding: what is checked against the scene; see ``pumice.generate.grounding``.
        max_tokens: the longest reply.
        temperature: of the teacher's sampling.
        suffix: by language, what stands behind every question: LLaVA's response-format prompts.
        questions: by language, what is asked where the teacher writes only answers.
        system: what the teacher is told.
        examples: what it is shown.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    about: str
    form: Form
    like: str | None = None
    shows: tuple[Part, ...]
    needs: tuple[Part, ...] = ()
    pictures: Literal[1, 2] = 1
    independent: bool = False
    balanced: bool = False
    turns: tuple[int, int]
    words: tuple[int, int]
    grounding: Grounding = "strict"
    max_tokens: int = Field(gt=0)
    temperature: float = Field(ge=0, le=2)
    suffix: dict[str, str] = {}
    questions: dict[str, tuple[str, ...]] = {}
    system: str = ""
    examples: tuple[Example, ...] = ()

    def fits(self, scene: SceneText) -> bool:
        """Whether a scene has anything of what this kind is made from."""
        there = {
            "captions": scene.captions,
            "objects": scene.instances,
            "texts": scene.texts,
            "regions": scene.regions,
            "mentions": scene.mentions,
        }
        return not self.needs or any(there[part] for part in self.needs)


def read_specs(folder: Path | None = None) -> dict[str, Spec]:
    """All kinds by name, in the order of their names, and the second pass under ``agreement``.

    Args:
        folder: files of one's own, which come before those that ship.

    Raises:
        UsageError: there is no such folder, or it holds no such file.
        DataError: a file is not as it should be; the key is named.
    """
    files = {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}
    if folder is not None:
        own = {path.stem: path for path in sorted(folder.glob("*.yaml"))} if folder.is_dir() else {}
        if not own and not (folder / "objects.txt").is_file():
            raise UsageError(
                "the folder holds no prompts",
                where=f"--prompts {folder}",
                remedy="write the ones that ship into it and edit them: pumice generate prompts DIR",
            )
        files |= own
    read = {name: _read(path) for name, path in sorted(files.items())}
    return {name: _spec(name, files[name], read, files) for name in read}


def objects_file(folder: Path | None) -> Path:
    """The list of words for things: one's own, or the one that ships."""
    own = None if folder is None else folder / "objects.txt"
    return own if own is not None and own.is_file() else SHIPPED / "objects.txt"


def choose(specs: Mapping[str, Spec], wanted: str) -> dict[str, float]:
    """Kinds with the share of scenes that each is written for, from ``all`` or ``detail,short=0.5``.

    Raises:
        UsageError: a name or share that is none.
    """
    kinds = [name for name in specs if name != AGREEMENT]
    if wanted.strip() == "all":
        return dict.fromkeys(kinds, 1.0)
    found: dict[str, float] = {}
    for word in filter(None, (word.strip() for word in wanted.split(","))):
        name, _, said = word.partition("=")
        if name not in kinds:
            raise UsageError(f"there is no kind {name!r}", where="--kinds", remedy=suggest(name, kinds))
        try:
            share = float(said) if said else 1.0
        except ValueError:
            share = -1.0
        if not 0 < share <= 1 or name in found:
            what = "stands twice" if name in found else f"has the share {said!r}"
            raise UsageError(
                f"{name} {what}", where="--kinds", remedy="name each once; a share is over 0, and 1 at most"
            )
        found[name] = share
    if not found:
        raise UsageError("no kind is named", where="--kinds", remedy=suggest("", kinds))
    return found


def check_languages(
    specs: Mapping[str, Spec], kinds: Mapping[str, float], languages: tuple[str, ...]
) -> None:
    """Make sure that every kind has its fixed words in every language.

    Raises:
        UsageError: a language is not known, or a kind has none of its words in it.
    """
    for language in languages:
        if language not in LANGUAGES:
            raise UsageError(
                f"there is no language {language!r}",
                where="--language",
                remedy=suggest(language, LANGUAGES, LANGUAGES),
            )
        for name in kinds:
            for key in ("questions", "suffix"):
                said = getattr(specs[name], key)
                if said and language not in said:
                    raise UsageError(
                        f"the kind {name} has no {key} in {LANGUAGES[language]}",
                        where=f"--language {language}",
                        remedy=f"add them to {name}.yaml in a folder of your own (--prompts), "
                        f"or leave the kind out",
                    )


def _read(path: Path) -> dict[str, Any]:
    try:
        value = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"the prompt file cannot be read ({reason})", where=str(path), remedy="mend it, or remove it"
        ) from error
    if not isinstance(value, dict):
        raise DataError("the prompt file holds no keys", where=str(path), remedy="see docs/generation.md")
    return value


def _spec(name: str, path: Path, read: Mapping[str, dict[str, Any]], files: Mapping[str, Path]) -> Spec:
    value = dict(read[name])
    like = value.get("like")
    if like is not None:
        if like not in read or "like" in read[like]:
            raise DataError(
                f"it is like {like!r}, which is no kind with prompts of its own",
                where=str(path),
                remedy=suggest(str(like), read),
            )
        value = {key: read[like][key] for key in ("system", "examples") if key in read[like]} | value
    unknown = [key for key in value if key not in Spec.model_fields or key == "name"]
    if unknown:
        raise DataError(
            f"unknown key {unknown[0]!r}", where=str(path), remedy=suggest(str(unknown[0]), Spec.model_fields)
        )
    try:
        spec = Spec.model_validate(value | {"name": name})
        shown = [example.scenes for example in spec.examples]
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise DataError(f"{key}: {first['msg']}", where=str(path), remedy="see docs/generation.md") from error
    except DataError as error:
        error.where = f"{path}, {error.where}"
        raise
    faults = []
    if not spec.system.strip():
        faults.append("system is empty")
    if any(len(scenes) != spec.pictures for scenes in shown) and name != AGREEMENT:
        faults.append(f"an example has not {spec.pictures} scene(s)")
    if spec.form != "dialogue" and spec.form != "verdict" and not spec.questions:
        faults.append("questions are missing")
    if spec.turns[0] < 1 or spec.turns[0] > spec.turns[1] or spec.words[0] > spec.words[1]:
        faults.append("turns and words are [fewest, most]")
    if faults:
        raise DataError(faults[0], where=str(path), remedy="see docs/generation.md")
    return spec


def _scene(record: dict[str, Any]) -> SceneText:
    return parse_scene({"id": "0", "image": "0", "captions": [], "instances": []} | record, "an example")
