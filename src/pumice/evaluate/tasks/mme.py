"""MME: two questions to a picture, each answered yes or no."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pumice.errors import DataError
from pumice.evaluate.samples import Benchmark, Loaded
from pumice.evaluate.tasks.collected import Collected, picture, same_questions
from pumice.evaluate.tasks.official import Official, need
from pumice.evaluate.tasks.prompts import short
from pumice.score import Inputs
from pumice.score.answers import row_id
from pumice.score.files import Row, read, text_of
from pumice.score.mme import CATEGORIES, Asked, find, read_folder

RELEASE = Official(
    ("MME_Benchmark_release_version", "MME_Benchmark_release_version/MME_Benchmark"),
    "MME, github.com/BradyFU/Awesome-Multimodal-Large-Language-Models, branch Evaluation: folders CATEGORY "
    "with the pictures and questions_answers_YN",
)
LLAVA = Official(("llava_mme.jsonl",), "LLaVA, docs/Evaluation.md, eval.zip; may be left out")
ENDINGS = (".jpg", ".png", ".jpeg")


def _load(folder: Path, choices: Mapping[str, str]) -> Loaded:
    release = _release(need(folder, "mme", (RELEASE,))[0])
    asked = read_folder(release)
    llava = LLAVA.find(folder)
    rows = _rows(release, asked) if llava is None else _of_llava(llava, asked)
    samples = Collected()
    for name, row in rows.items():
        one, prompt = asked[name], str(row.value["text"])
        samples.add(
            name,
            prompt,
            [picture(release, row)],
            {"question_id": row.value["question_id"], "prompt": prompt, "category": one.category},
            row.where,
            truth=one.truth.capitalize(),
            group=one.category,
        )
    return Loaded(
        "mme", samples.done(release), lambda answers: Inputs(answers, labels=release), ("Yes", "No")
    )


def _release(path: Path) -> Path:
    """The folder of the categories, which the archive may have packed into one more."""
    inner = path / "MME_Benchmark"
    return inner if inner.is_dir() else path


def _rows(release: Path, asked: Mapping[str, Asked]) -> dict[str, Row]:
    """Every question in LLaVA's layout, the categories in MME's own order."""
    rows = {}
    for name in sorted(asked, key=lambda name: CATEGORIES.index(asked[name].category)):
        one = asked[name]
        image = _picture(release, one).relative_to(release).as_posix()
        rows[name] = Row({"question_id": image, "image": image, "text": short(one.words)}, one.where)
    return rows


def _picture(release: Path, one: Asked) -> Path:
    """Its picture, in ``images`` of the category or beside the text; the first guess where there is none."""
    places = [release / one.category / "images", release / one.category]
    guesses = [place / f"{one.picture}{ending}" for place in places if place.is_dir() for ending in ENDINGS]
    return next((guess for guess in guesses if guess.is_file()), guesses[0])


def _of_llava(path: Path, asked: Mapping[str, Asked]) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for row in read(path, "question file"):
        text_of(row.value, "text", row.where)
        name = find(row_id(row), row, "text", asked)
        if name in rows:
            raise DataError(
                f"the question stands twice, before in {rows[name].where}",
                where=row.where,
                remedy="take the file as it was published",
            )
        rows[name] = row
    same_questions(rows, asked, path)
    return rows


MME = Benchmark("mme", (RELEASE.told, LLAVA.told), _load)
