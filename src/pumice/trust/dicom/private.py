"""Private attributes that are known to name nobody: a part of PS3.15, Table E.3.10-1.

Only numbers and codes are here, of the makers' blocks that the table names; what is not here is removed.
"""

from __future__ import annotations

from typing import Any

_NUMBERS = frozenset({"DS", "IS", "FD", "FL", "SL", "SS", "UL", "US", "CS"})
SAFE: dict[str, frozenset[int]] = {
    "Philips PET Private Group": frozenset({0x705300, 0x705309}),
    "ELSCINT1": frozenset({0x00E121, 0x00E150, 0x01E126, 0x01F101, 0x01F107, 0x01F126, 0x01F127}),
    "GEMS_ACQU_01": frozenset({0x001923, 0x001924, 0x001925, 0x001926, 0x001927}),
    "GEMS_SERS_01": frozenset({0x002507}),
    "GEMS_PARM_01": frozenset({0x004339, 0x00436F}),
    "GEMS_HELIOS_01": frozenset({0x004501, 0x004502}),
    "SIEMENS MR HEADER": frozenset({0x00190C, 0x00190D, 0x00190E, 0x001927}),
    "Philips Imaging DD 001": frozenset({0x200103, 0x200104}),
    "Philips MR Imaging DD 001": frozenset({0x2005B0, 0x2005B1, 0x2005B2}),
}
"""By creator: group and the last two digits of the element."""


def is_safe(creator: str, tag: Any, vr: str) -> bool:
    """Whether a private attribute of a creator may stay.

    Args:
        creator: what the block says of itself.
        tag: the attribute's.
        vr: how its value is written; text of any other kind than codes never stays.
    """
    return vr in _NUMBERS and (tag.group << 8 | tag.element & 0xFF) in SAFE.get(creator.strip(), frozenset())
