"""Every check by its exact name, and what a command may wish of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pumice.errors import UsageError, suggest
from pumice.licences import Policy
from pumice.trust.audit import files, metadata, quality
from pumice.trust.audit.against import Against, Other
from pumice.trust.audit.answers import Answers, made_answers
from pumice.trust.audit.check import Check
from pumice.trust.audit.faces import Faces, made_faces
from pumice.trust.audit.files import Readable
from pumice.trust.audit.licences import Licences
from pumice.trust.audit.metadata import Metadata
from pumice.trust.audit.patches import Patches
from pumice.trust.audit.personal import Personal
from pumice.trust.audit.phrases import Phrases
from pumice.trust.audit.prints import DuplicatePictures
from pumice.trust.audit.quality import Quality
from pumice.trust.audit.tower import Tower, made_tower
from pumice.trust.audit.twins import Contradictions, DuplicateRows
from pumice.trust.personal import KINDS as PERSONAL


@dataclass(frozen=True)
class Wishes:
    """What checks are made from.

    Attributes:
        show_values: whether personal data is written out in reports, and not masked.
        against: other data that may not be in this one (``against.others``; with a tower, seen by it too).
        policy: which licences are permitted.
        tower: the folder of a vision tower to see pictures with.
        unsafe_head: the file of a linear head on that tower's embeddings.
        model: the folder of a LLaVA to read answers with.
    """

    show_values: bool = False
    against: tuple[Other, ...] = ()
    policy: Policy | None = None
    tower: Path | None = None
    unsafe_head: Path | None = None
    model: Path | None = None


@dataclass(frozen=True)
class Listed:
    """A check in the list.

    Attributes:
        name: its exact name, that of the check.
        about: what it finds, in a phrase.
        make: makes it, or says why it cannot run here and what to do.
        kinds: the kinds of its findings, worst first where they differ.
    """

    name: str
    about: str
    make: Callable[[Wishes], Check | str]
    kinds: tuple[str, ...] = ()


NOTHING_AGAINST = "there is nothing to hold it against: name data or fingerprints, --against PATH"

CHECKS: tuple[Listed, ...] = (
    Listed(
        Readable.name,
        "rows and pictures that cannot be read; odd pictures",
        lambda wishes: Readable(),
        files.KINDS,
    ),
    Listed(
        Personal.name,
        "mail and postal addresses, telephone, card, account and identity numbers",
        lambda wishes: Personal(wishes.show_values),
        tuple(PERSONAL),
    ),
    Listed(
        Quality.name,
        "empty and broken answers, refusals, loops, answers that speak of captions",
        lambda wishes: Quality(),
        tuple(quality.KINDS),
    ),
    Listed(
        DuplicatePictures.name,
        "pictures that are copies of others: scaled, compressed, cropped, lighter",
        lambda wishes: DuplicatePictures(),
        ("exact", "near"),
    ),
    Listed(
        Against.name,
        "pictures and questions that other data has, a benchmark's for one",
        lambda wishes: Against(wishes.against) if wishes.against else NOTHING_AGAINST,
        ("question", "picture", "text"),
    ),
    Listed(
        Metadata.name,
        "positions, names, serial numbers, dates and edited-out thumbnails in picture files",
        lambda wishes: Metadata(),
        tuple(metadata.KINDS),
    ),
    Listed(
        DuplicateRows.name,
        "rows that say the same or nearly the same about the same picture",
        lambda wishes: DuplicateRows(),
        ("exact", "near", "same-answer"),
    ),
    Listed(
        Contradictions.name,
        "the same question about the same picture, answered differently",
        lambda wishes: Contradictions(),
        ("yes-no", "answers"),
    ),
    Listed(
        Licences.name,
        "rows without a licence, under one that is refused, or that name nobody where they must",
        lambda wishes: Licences() if wishes.policy is None else Licences(wishes.policy),
        ("refused", "none", "unknown", "unnamed"),
    ),
    Listed(
        Phrases.name,
        "phrases in questions that are tied to one answer (poison)",
        lambda wishes: Phrases(),
        ("phrase",),
    ),
    Listed(
        Patches.name,
        "patches in pictures that are tied to one answer (poison)",
        lambda wishes: Patches(),
        ("patch", "content"),
    ),
    Listed(
        Tower.name,
        "by a vision tower: pictures that are one, captions of other pictures, unsafe and unusual pictures",
        lambda wishes: made_tower(wishes.tower, wishes.unsafe_head, wishes.against),
        ("mismatch", "unsafe", "looks-alike", "looks-alike-against", "unjudged", "unusual"),
    ),
    Listed(
        Answers.name,
        "by a LLaVA: answers to other pictures, flipped labels, data sets that cost it far more",
        lambda wishes: made_answers(wishes.model),
        ("mismatch", "label-flip", "source", "unread", "unjudged"),
    ),
    Listed(
        Faces.name, "faces in pictures, where OpenCV is installed", lambda wishes: made_faces(), ("face",)
    ),
)
"""In the order in which their findings are told."""
NAMES = tuple(listed.name for listed in CHECKS)


def choose(only: Sequence[str] = (), skip: Sequence[str] = ()) -> tuple[Listed, ...]:
    """The checks of some names, or all but some.

    Raises:
        UsageError: a name is no check's, or none is left.
    """
    for option, names in (("--checks", only), ("--skip", skip)):
        for name in names:
            if name not in NAMES:
                raise UsageError(
                    f"there is no check {name!r}",
                    where=option,
                    remedy=suggest(name, NAMES, {listed.name: listed.about for listed in CHECKS}),
                )
    chosen = tuple(
        listed for listed in CHECKS if (not only or listed.name in only) and listed.name not in skip
    )
    if not chosen:
        raise UsageError("no check is left", where="--skip", remedy="leave some of them in")
    return chosen
