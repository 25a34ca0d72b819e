"""What was published of LLaVA on the benchmarks: figures with their sources, to lay beside one's own.

They are on the scale of ``pumice.score``: per cent, and points for MME. A figure that was got in another way
than this program's of the same name says so in ``caution``, and is no fair line in a plot. No figure is
here that was not found in a source; what a paper does not tell is absent.

``pumice.score.published`` is another thing: figures found again from published answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pumice.evaluate.results import TaskResult

SOURCES: dict[str, str] = {
    "zoo": "LLaVA's model zoo, github.com/haotian-liu/LLaVA, docs/MODEL_ZOO.md",
    "llava": "Liu et al. 2023, Visual Instruction Tuning, arXiv:2304.08485",
    "next": "Liu et al. 2024, LLaVA-NeXT, llava-vl.github.io/blog/2024-01-30-llava-next",
    "mm-vet": "Yu et al. 2023, MM-Vet, arXiv:2308.02490, table 2",
    "hacl": "Jiang et al. 2023, Hallucination Augmented Contrastive Learning, arXiv:2312.06968, table 3",
    "s2": "Shi et al. 2024, When Do We Not Need Larger Vision Models?, github.com/bfshi/scaling_on_scales",
    "med": "Li et al. 2023, LLaVA-Med, arXiv:2306.00890, table 4",
}

FINE_TUNED = "fine-tuned on this benchmark's training split"

SPLITS: dict[tuple[str, str], str] = {
    ("vqav2", "accuracy"): "test-dev, by the server; val has its annotations at hand",
    ("gqa", "accuracy"): "testdev-balanced",
    ("vizwiz", "accuracy"): "test, by the server; val has its annotations at hand",
    ("scienceqa", "accuracy"): "test, all questions",
    ("scienceqa", "accuracy_img"): "test, the questions with a picture",
    ("textvqa", "accuracy"): "val; LLaVA's prompt holds the words that an OCR system read",
    ("pope", "f1"): "COCO, the mean of F1 over random, popular and adversarial",
    ("mme", "perception"): "sum over ten categories",
    ("mme", "cognition"): "sum over four categories",
    ("mmbench", "accuracy"): "dev, by the server: all turns of a question's options must be right",
    ("mmbench-cn", "accuracy"): "dev, by the server: all turns of a question's options must be right",
    ("seed", "accuracy"): "pictures and the middle frame of videos",
    ("seed", "accuracy_image"): "pictures alone",
    ("llava-bench", "overall"): "in the wild; the judge was GPT-4, whose versions differ",
    ("llava-bench", "conv"): "in the wild; the judge was GPT-4, whose versions differ",
    ("llava-bench", "detail"): "in the wild; the judge was GPT-4, whose versions differ",
    ("llava-bench", "complex"): "in the wild; the judge was GPT-4, whose versions differ",
    ("mm-vet", "total"): "the judge was GPT-4, whose versions differ",
    ("mmmu", "accuracy"): "validation",
    ("vqa-rad", "open_recall"): "test",
    ("vqa-rad", "closed_accuracy"): "test",
    ("slake", "open_recall"): "test, English",
    ("slake", "closed_accuracy"): "test, English",
    ("pathvqa", "open_recall"): "test",
    ("pathvqa", "closed_accuracy"): "test",
}
"""Which questions a published figure is of, by task and figure; one's own may be of others."""

QUESTIONS: dict[str, int] = {
    "vqav2": 107_394,
    "gqa": 12_578,
    "vizwiz": 4_319,
    "scienceqa": 4_241,
    "textvqa": 5_000,
    "pope": 8_910,
    "mme": 2_374,
    "mmbench": 1_164,
    "mmbench-cn": 1_164,
    "seed": 14_232,
    "llava-bench": 60,
    "mm-vet": 218,
    "mmmu": 900,
    "vqa-rad": 451,
    "slake": 1_061,
    "pathvqa": 6_719,
}
"""How many questions a split of the official files has at least: figures of far fewer are of another test."""
WHOLE: dict[tuple[str, str], int] = {("seed", "accuracy"): 19_242}
"""The same of single figures: SEED-Bench's first one is of pictures and videos together."""
ENOUGH = 0.9
"""Of them; authors take single ones back."""


@dataclass(frozen=True, slots=True)
class Published:
    """A figure of a model.

    Attributes:
        model: as its authors call it, with its size.
        task: as ``pumice.score`` has it.
        metric: the name of the figure in its ``Result``.
        value: as printed, on the scale of ``pumice.score``.
        source: a key of ``SOURCES``.
        caution: how it differs from this program's figure of that name; empty where it does not.
    """

    model: str
    task: str
    metric: str
    value: float
    source: str
    caution: str = ""

    @property
    def split(self) -> str:
        """Which questions it is of."""
        return SPLITS[self.task, self.metric]


_TWELVE = (
    ("vqav2", "accuracy"), ("gqa", "accuracy"), ("vizwiz", "accuracy"), ("scienceqa", "accuracy_img"),
    ("textvqa", "accuracy"), ("pope", "f1"), ("mme", "perception"), ("mmbench", "accuracy"),
    ("mmbench-cn", "accuracy"),
)  # fmt: skip
_SEED, _IMAGES = ("seed", "accuracy"), ("seed", "accuracy_image")
_BENCH, _VET, _MMMU = ("llava-bench", "overall"), ("mm-vet", "total"), ("mmmu", "accuracy")
_COGNITION = ("mme", "cognition")


def _row(
    model: str, source: str, names: Sequence[tuple[str, str]], values: Sequence[float], caution: str = ""
) -> list[Published]:
    return [
        Published(model, task, metric, value, source, caution)
        for (task, metric), value in zip(names, values, strict=True)
    ]


_ONE_FIVE = (*_TWELVE, _SEED, _BENCH, _VET)
_ONE_SIX = (*_TWELVE, _IMAGES, _BENCH, _VET, _MMMU, _COGNITION)
_WILD = (("llava-bench", "conv"), ("llava-bench", "detail"), ("llava-bench", "complex"), _BENCH)
_MEDICAL = tuple(
    (task, metric)
    for task in ("vqa-rad", "slake", "pathvqa")
    for metric in ("open_recall", "closed_accuracy")
)

PUBLISHED: tuple[Published, ...] = (
    *_row("LLaVA-1.0-7B", "mm-vet", (_VET,), (23.8,)),
    *_row("LLaVA-1.0-7B", "hacl", (("mme", "perception"),), (502.82,)),
    *_row("LLaVA-1.0-7B", "med", _MEDICAL, (50.0, 65.07, 78.18, 63.22, 7.74, 63.2), FINE_TUNED),
    *_row("LLaVA-1.0-13B", "llava", _WILD, (57.3, 52.5, 81.7, 67.3)),
    *_row("LLaVA-1.0-13B", "llava", (("scienceqa", "accuracy"),), (90.92,), FINE_TUNED),
    *_row("LLaVA-1.0-13B", "mm-vet", (_VET,), (26.4,)),
    *_row(
        "LLaVA-1.5-7B",
        "zoo",
        _ONE_FIVE,
        (78.5, 62.0, 50.0, 66.8, 58.2, 85.9, 1510.7, 64.3, 58.3, 58.6, 65.4, 31.1),
    ),
    *_row("LLaVA-1.5-7B", "s2", (_IMAGES, _MMMU), (65.7, 36.2)),
    *_row(
        "LLaVA-1.5-13B",
        "zoo",
        _ONE_FIVE,
        (80.0, 63.3, 53.6, 71.6, 61.3, 85.9, 1531.3, 67.7, 63.6, 61.6, 72.5, 36.1),
    ),
    *_row("LLaVA-1.5-13B", "next", (_IMAGES, _MMMU), (68.2, 36.4)),
    *_row(
        "LLaVA-NeXT-7B",
        "zoo",
        _ONE_SIX,
        (81.8, 64.2, 57.6, 70.1, 64.9, 86.5, 1519.0, 67.4, 60.6, 70.2, 81.6, 43.9, 35.8, 332.0),
    ),
    *_row(
        "LLaVA-NeXT-13B",
        "zoo",
        _ONE_SIX,
        (82.8, 65.4, 60.5, 73.6, 67.1, 86.2, 1575.0, 70.0, 64.4, 71.9, 87.3, 48.4, 36.2, 326.0),
    ),
    *_row(
        "LLaVA-NeXT-34B",
        "zoo",
        _ONE_SIX,
        (83.7, 67.1, 63.8, 81.8, 69.5, 87.7, 1631.0, 79.3, 79.0, 75.9, 89.6, 57.4, 51.1, 397.0),
    ),
)
"""By model, in the order in which they appeared. 1.0 has Vicuna v0, NeXT-7B and -13B have Vicuna v1.5."""

MODELS: tuple[str, ...] = tuple(dict.fromkeys(figure.model for figure in PUBLISHED))


def comparable(result: TaskResult, metric: str | None = None) -> bool:
    """Whether published figures are a yardstick: about as many questions as theirs, and a judge like theirs.

    Args:
        result: of a task.
        metric: one of its figures, where one may be of other questions than the rest.
    """
    task = result["task"]
    least = QUESTIONS.get(task, 0) if metric is None else WHOLE.get((task, metric), QUESTIONS.get(task, 0))
    judge = result["judge"] or {}
    return result["total"] >= ENOUGH * least and judge.get("comparable", True) is True


def of_task(task: str, metric: str | None = None) -> tuple[Published, ...]:
    """What was published of a task, or of one of its figures; empty where nothing is known."""
    return tuple(figure for figure in PUBLISHED if figure.task == task and metric in (None, figure.metric))


def of_model(model: str) -> Mapping[tuple[str, str], Published]:
    """What was published of a model, by task and figure.

    Raises:
        KeyError: no figure of such a model is here.
    """
    found = {(figure.task, figure.metric): figure for figure in PUBLISHED if figure.model == model}
    if not found:
        raise KeyError(model)
    return found
