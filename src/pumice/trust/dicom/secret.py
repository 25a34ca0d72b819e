"""One secret of a hospital, from which all that takes the place of names, UIDs and dates is computed.

With the same key the same patient gets the same pseudonym in every run, and nobody without the key can
compute it or try guesses. Each use has a purpose in what is hashed, so that no result tells anything about
another.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import uuid
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from pumice.errors import UsageError

BYTES = 32
FIRST_DAY, LAST_DAY = 366, 3650
"""Days by which dates of a patient go back: one to ten years."""


@dataclass(frozen=True)
class Secret:
    """What is computed with a key."""

    key: bytes = field(repr=False)

    def _hash(self, purpose: str, text: str) -> bytes:
        # Names of files need not be UTF-8; their bytes are what is hashed then.
        whole = f"{purpose}\0{text}".encode(errors="surrogateescape")
        return hmac.new(self.key, whole, hashlib.sha256).digest()

    def uid(self, old: str) -> str:
        """The UID that takes the place of one, below 2.25 (PS3.5, B.2), the same for the same."""
        number = bytearray(self._hash("uid", old.strip(" \0"))[:16])
        number[6] = number[6] & 0x0F | 0x80  # a UUID of version 8: made by a rule of one's own (RFC 9562)
        number[8] = number[8] & 0x3F | 0x80
        return f"2.25.{uuid.UUID(bytes=bytes(number)).int}"

    def pseudonym(self, patient: str) -> str:
        """What stands for a patient."""
        return "P" + self._hash("patient", patient).hex()[:16].upper()

    def code(self, path: str) -> str:
        """What stands for the name of an input file."""
        return self._hash("file", path).hex()[:16]

    def shift(self, patient: str, day: date) -> date:
        """A date of a patient, moved back by as many days as all others of the same patient.

        Raises:
            OverflowError: there is no such day.
        """
        drawn = int.from_bytes(self._hash("dates", patient)[:8], "big")
        return day - timedelta(days=FIRST_DAY + drawn % (LAST_DAY - FIRST_DAY + 1))


def open_key(path: Path) -> tuple[Secret, bool]:
    """The secret in a file, and whether the file was made now.

    Raises:
        UsageError: the file is no key, or others than its owner may read it.
    """
    try:
        place = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return Secret(_read(path)), False
    except OSError as error:
        raise UsageError(
            f"the key cannot be made ({error.strerror})",
            where=f"--key {path}",
            remedy="name a file in a folder of yours",
        ) from error
    key = secrets.token_bytes(BYTES)
    with os.fdopen(place, "w", encoding="ascii") as file:
        file.write(key.hex() + "\n")
    return Secret(key), True


def _read(path: Path) -> bytes:
    try:
        mode, text = path.stat().st_mode, path.read_text("ascii").strip()
        key = bytes.fromhex(text)
    except (OSError, ValueError) as error:
        raise UsageError(
            "the key cannot be read",
            where=f"--key {path}",
            remedy="name a file that pumice made, or a new one",
        ) from error
    if len(key) != BYTES:
        raise UsageError(
            f"the key has {len(key)} bytes, not {BYTES}",
            where=f"--key {path}",
            remedy="name a file that pumice made",
        )
    if os.name == "posix" and mode & 0o077:
        raise UsageError("others may read the key", where=f"--key {path}", remedy=f"chmod 600 {path}")
    return key
