"""MMBench and MMBench-CN: options in every order, pictures inside the table."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from pumice.errors import DataError, UsageError
from pumice.evaluate.samples import Benchmark, Choice, Loaded, Stored
from pumice.evaluate.tasks.collected import Collected
from pumice.evaluate.tasks.official import Official, missing, need
from pumice.evaluate.tasks.prompts import LETTER, LETTER_CN, lettered
from pumice.evaluate.tasks.vqa import SERVER
from pumice.score import Inputs
from pumice.score.answers import by_id, row_id
from pumice.score.files import Row, read, text_of
from pumice.score.mmbench import LETTERS, ROTATIONS, options_of

_SOURCE = "MMBench, github.com/open-compass/MMBench, Data"
INSTRUCTIONS = {"en": LETTER, "cn": LETTER_CN}
REFERENCE = 64
"""A field of a picture that is shorter names the row whose picture it is."""


def _table(names: str) -> Official:
    return Official(tuple(f"{name}.tsv" for name in names.split()), _SOURCE)


TABLES = {
    "mmbench": {
        "dev": _table(
            "mmbench_dev_20230712 mmbench_dev_en_20231003 MMBench_DEV_EN MMBench_DEV_EN_legacy "
            "MMBench_DEV_EN_V11"
        ),
        "test": _table(
            "mmbench_test_20230712 mmbench_test_en_20231003 MMBench_TEST_EN MMBench_TEST_EN_legacy "
            "MMBench_TEST_EN_V11"
        ),
    },
    "mmbench-cn": {
        "dev": _table("mmbench_dev_cn_20231003 MMBench_DEV_CN MMBench_DEV_CN_legacy MMBench_DEV_CN_V11"),
        "test": _table("mmbench_test_cn_20231003 MMBench_TEST_CN MMBench_TEST_CN_legacy MMBench_TEST_CN_V11"),
    },
}
"""By task and split; of several tables the first is taken, which is LLaVA's."""


def _load(task: str, folder: Path, choices: Mapping[str, str]) -> Loaded:
    tables, split = TABLES[task], choices["split"]
    if split == "auto":
        split = next((name for name, one in tables.items() if one.find(folder) is not None), "")
        if not split:
            hint = f"or, for a submission, {tables['test'].told}"
            raise missing(folder, task, (tables["dev"],), hint)
    path = need(folder, task, (tables[split],))[0]
    rows = by_id(read(path, "question table"))
    every = choices["rounds"] == "all"
    if every and any(_number(name) >= ROTATIONS for name in rows):
        raise UsageError(
            "the table has every question in all orders already",
            where=f"--set {task}.rounds=all",
            remedy="leave it out",
        )
    pictures = _Pictures(rows)
    samples = Collected()
    for name, row in rows.items():
        _add(samples, name, row, pictures.of(row), every, INSTRUCTIONS[choices["lang"]])
    scored = "answer" in next(iter(rows.values())).value
    notes = [f"the questions of {path.name}"]
    if not scored:
        notes.append(SERVER)
    return Loaded(
        task, samples.done(path), lambda answers: Inputs(answers, path), LETTERS, tuple(notes), scored=scored
    )


def _number(name: str) -> int:
    return int(name) if name.isdecimal() else 0


def _add(samples: Collected, name: str, row: Row, picture: Stored, every: bool, instruction: str) -> None:
    """A question, in one round or in as many as it has options: each takes the first option to the end."""
    options = options_of(row)
    truth = text_of(row.value, "answer", row.where).strip() if "answer" in row.value else ""
    if truth and truth not in LETTERS[: len(options)]:
        raise DataError(
            f"the answer is {truth!r} of {len(options)} options",
            where=row.where,
            remedy="take the table as it was published",
        )
    for number in range(len(options) if every else 1):
        turned = options[number:] + options[:number]
        letters = [*LETTERS[number : len(options)], *LETTERS[:number]]
        asked = mmbench_question(row, turned)
        right = LETTERS[letters.index(truth)] if truth else ""
        samples.add(
            _id(name, number),
            f"{asked}\n{instruction}",
            [picture],
            {
                "question_id": int(name) if name.isdecimal() else name,
                "round_id": number,
                "prompt": asked,
                "options": turned,
                "option_char": letters,
            },
            row.where,
            truth=right,
            group=str(row.value.get("category", "")),
        )


def _id(name: str, number: int) -> str:
    """The question's index; of its other orders, rows of the table or rounds, their own behind a #."""
    base = str(_number(name) % ROTATIONS) if name.isdecimal() else name
    parts = [base, *([name] if name != base else []), *([f"round{number}"] if number else [])]
    return "#".join(parts)


def mmbench_question(row: Row, options: list[str]) -> str:
    """The hint where there is one, the question, and the options on a line each."""
    question = text_of(row.value, "question", row.where)
    hint = str(row.value.get("hint", ""))
    if hint.lower() not in ("", "nan", "none"):
        question = f"{hint}\n{question}"
    return lettered(question, options)


class _Pictures:
    """The pictures of a table, each once: the orders of a question share theirs."""

    def __init__(self, rows: Mapping[str, Row]) -> None:
        self._rows = rows
        self._known: dict[bytes, Stored] = {}

    def of(self, row: Row) -> Stored:
        """The picture of a row.

        Raises:
            DataError: there is none, or it is no base64.
        """
        text = text_of(row.value, "image", row.where)
        source = row
        if len(text) <= REFERENCE and text in self._rows:
            source = self._rows[text]
            text = text_of(source.value, "image", source.where)
        key = hashlib.sha256(text.encode()).digest()
        if key not in self._known:
            _decoded(text, row.where)
            self._known[key] = Stored(
                f"{row_id(source)}.jpg", partial(_decoded, text, row.where), key.hex()[:16]
            )
        return self._known[key]


def _decoded(text: str, where: str) -> bytes:
    try:
        found = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise DataError(
            f"the picture is no base64 ({error})",
            where=where,
            remedy="the table may have been cut off or changed: fetch it again",
        ) from error
    if not found:
        raise DataError("the row has no picture", where=where, remedy="fetch the table again")
    return found


def _benchmark(task: str, langs: tuple[str, ...]) -> Benchmark:
    load: Callable[[Path, Mapping[str, str]], Loaded] = partial(_load, task)
    return Benchmark(
        task,
        tuple(one.told for one in TABLES[task].values()),
        load,
        max_new_tokens=1024,
        choices=(
            Choice(
                "split",
                ("auto", "dev", "test"),
                "which table; auto takes dev where it lies there, else test, which only the server scores",
            ),
            Choice(
                "rounds", ("one", "all"), "each question once, or once with every option in the first place"
            ),
            Choice("lang", langs, "the language of the instruction"),
        ),
    )


MMBENCH = _benchmark("mmbench", ("en", "cn"))
MMBENCH_CN = _benchmark("mmbench-cn", ("cn", "en"))
