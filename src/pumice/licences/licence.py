"""What a licence lets one do, as far as training on data is concerned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["yes", "no", "limited", "unclear"]
"""``limited`` is yes under conditions that no program can check; ``unclear`` says that the terms do not tell,
or that there are none."""

OWN = "LicenseRef-"
"""Begins the id of terms that SPDX has no id for (its own way to write them)."""


@dataclass(frozen=True, slots=True)
class Licence:
    """Terms, and the facts that decide what may be done under them.

    This is a reading of published texts for people who must decide, and no legal advice.

    Attributes:
        id: its SPDX id, or ``LicenseRef-`` and a name.
        name: what it calls itself.
        url: where its text is; "" where there is none.
        commercial: whether it may serve commercial ends.
        derivatives: whether what is made from it may be shared.
        share_alike: whether that must be shared under the same terms.
        attribution: whether whoever made it must be named.
        use: whether it may be used at all by those who share nothing.
        remark: limits to fields of use, and what else a reader should know.
        family: the id of all versions together, which a policy may name; "" where there is one.
        hub: what Hugging Face's model cards call it; "other" where they have no name for it.
    """

    id: str
    name: str
    url: str = ""
    commercial: Verdict = "yes"
    derivatives: Verdict = "yes"
    share_alike: bool = False
    attribution: bool = True
    use: Verdict = "yes"
    remark: str = ""
    family: str = ""
    hub: str = "other"
