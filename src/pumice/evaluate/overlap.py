"""How much of a benchmark a training set has shown already: the same pictures, near ones, the same questions.

A score on questions that a model was trained on says little. Questions alone often repeat by chance ("what
color is the car"), and pictures may be shared by design (VQAv2 and COCO). What counts most is a question
that stood beside the same picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pumice.data.fingerprints import Fingerprint, Index, fingerprint, question_hash
from pumice.data.lookup import Found, Lookup
from pumice.evaluate.pictures import open_sight
from pumice.evaluate.results import Overlap
from pumice.evaluate.samples import Picture, Sample, Stored

Progress = Callable[[str, int, int], None]


EXAMPLES = 10


def overlap(samples: Sequence[Sample], indexes: Sequence[Index], progress: Progress | None = None) -> Overlap:
    """Hold the questions of a task against fingerprints of training data.

    Args:
        samples: of the task. Each of their pictures is decoded once.
        indexes: one or more.
        progress: told how many pictures were looked at.

    Raises:
        ImageError, DataError: a picture of the task cannot be read.
    """
    lookups = [Lookup(index) for index in indexes]
    pictures: dict[str, tuple[Fingerprint, list[Found]]] = {}
    names = {_name(image): image for sample in samples for image in sample.images}
    for number, (name, image) in enumerate(names.items(), 1):
        own = fingerprint(open_sight(image))
        pictures[name] = own, [lookup.find(own) for lookup in lookups]
        if progress:
            progress("pictures held against training", number, len(names))
    same = {own.pixels for own, found in pictures.values() if any(one.same is not None for one in found)}
    near = {own.pixels for own, found in pictures.values() if any(one.near for one in found)} - same
    asked = {sample.id: question_hash(sample.text) for sample in samples}
    known = [id for id, hash in asked.items() if any(lookup.has_question(hash) for lookup in lookups)]

    def met(sample: Sample, *, near: bool) -> bool:
        return any(
            lookup.asked_of(found if near else Found(found.same, ()), asked[sample.id])
            for image in sample.images
            for lookup, found in zip(lookups, pictures[_name(image)][1], strict=True)
        )

    both = [sample.id for sample in samples if met(sample, near=True)]
    return Overlap(
        pictures=len({own.pixels for own, _ in pictures.values()}),
        pictures_same=len(same),
        pictures_near=len(near),
        questions=len(samples),
        questions_same=len(known),
        questions_with_picture=len(both),
        questions_with_same_picture=sum(met(sample, near=False) for sample in samples),
        examples=both[:EXAMPLES],
        training=[source for index in indexes for source in index.head["sources"]],
    )


def verdict(found: Overlap) -> str:
    """What overlaps, what share of it, and what that means; the first word says which of five cases it is.

    Fingerprints hold no answers, so what was answered in training is not known.
    """
    questions, pictures = found["questions"], found["pictures"]
    exact, both = found.get("questions_with_same_picture", 0), found["questions_with_picture"]
    if exact:
        return (
            f"seen: {_share(exact, questions)} of the questions stood in training beside the same picture; "
            "what was answered there is not known, and their score may be memory"
        )
    if both:
        return (
            f"alike: {_share(both, questions)} of the questions stood in training beside a near picture, "
            "none beside the same; copies are near, and so are many drawings and charts that are none (those "
            "of the embedded world, say)"
        )
    if found["pictures_same"]:
        return (
            f"pictures: {_share(found['pictures_same'], pictures)} of the pictures stood in training, with "
            "other questions: the model knows the pictures and not these questions"
        )
    if found["questions_same"]:
        return (
            f"words: {_share(found['questions_same'], questions)} of the questions stood in training with "
            "other pictures: wordings repeat, and no answer can be known from that"
        )
    if found["pictures_near"]:
        return (
            f"alike: {_share(found['pictures_near'], pictures)} of the pictures are near to one in training, "
            "none is the same, and none of the questions stood there"
        )
    return "none: no picture and no question stood in training"


def _share(some: int, every: int) -> str:
    return f"{100 * some / max(every, 1):.1f}%"


def _name(image: Picture) -> str:
    return f"stored {image.name}" if isinstance(image, Stored) else str(image)
