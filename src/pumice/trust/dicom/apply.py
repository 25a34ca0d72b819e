"""The profile applied to a data set: what goes, is replaced, or stays, and a log of it without values."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

import pumice
from pumice.image.dicom import library, quiet
from pumice.image.dicom.frames import PIXELS
from pumice.trust.dicom.describe import modality_of
from pumice.trust.dicom.identify import TEXT, Identifiers, collect, each_of, is_class, is_registered, place_of
from pumice.trust.dicom.private import is_safe
from pumice.trust.dicom.profile import EDITION, MEANINGS, Action, Options, action_of, clean_words, rule_of
from pumice.trust.dicom.secret import Secret

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

_WORD, _NUMBER = "REMOVED", 0
DUMMIES: dict[str, Any] = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"), _WORD),
    **dict.fromkeys(("AT", "SL", "SS", "SV", "UL", "US", "UV"), _NUMBER),
    **dict.fromkeys(("OB", "OW", "UN"), b"\0\0"),
    **{
        "FD": 0.0,
        "FL": 0.0,
        "DS": "0",
        "IS": "0",
        "OF": bytes(4),
        "OL": bytes(4),
        "OD": bytes(8),
        "OV": bytes(8),
    },
    **{"AS": "000Y", "DA": "19000101", "DT": "19000101000000", "TM": "000000", "UR": "removed:"},
}
"""A value that is not empty and tells nothing, for each value representation."""
_PIXEL_GROUP = 0x7FE0
"""Pixels that are shown are at the root and written anew; what else is here goes."""
_FIRST_GROUP = 0x0008
"""Lower ones are of messages and media."""
_PATIENT_GROUPS = (0x0010, 0x0032, 0x0038, 0x4008)
_KEPT_OF_PATIENT = ("PatientSpeciesDescription", "PatientSpeciesCodeSequence")
OLDEST = 89
"""Years; the few people who are older are all given as one more (HIPAA, 45 CFR 164.514(b)(2)(i)(C))."""
_ALWAYS_REMOVED = frozenset({"AE", "PN", "UN", "UR", "LT", "ST", "UC", "UT"})
"""Kinds of attributes that go where the table does not name them."""
_BYTES = frozenset({"OB", "OD", "OF", "OL", "OV", "OW"})
_TABLES = ("LUTData", "LookupTableData")
"""Ends of the names of attributes whose bytes are kept: what stored values look like."""
_EXPLANATIONS = ("LUTExplanation", "WindowCenterWidthExplanation", "ModalityLUTType")
"""Short free texts of group 0028, which the table leaves out."""
_UID = re.compile(r"[0-9.]{1,64}")
_FORMS = {
    "AS": re.compile(r"(\d{1,3})([DWMY])"),
    "DA": re.compile(r"\d{8}|\d{4}\.\d{2}\.\d{2}"),
    "DT": re.compile(r"\d{4,14}(\.\d{1,6})?([+-]\d{4})?"),
    "TM": re.compile(r"\d{2,6}(\.\d{1,6})?|\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?"),
}
"""What ages, dates and times look like (PS3.5, 6.2); another value of these kinds is words, and goes."""
_CLOSED = {"PatientSex": frozenset({"M", "F", "O"})}
"""Attributes of a patient with a closed list of values (PS3.3, C.2.2)."""
_IN_A_YEAR = {"D": 365.25, "W": 52.18, "M": 12, "Y": 1}
_OURS = ("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence",
         "LongitudinalTemporalInformationModified")  # fmt: skip


@dataclass
class Log:
    """What was done to a data set; no value of it is here.

    Attributes:
        actions: place and keyword of an attribute, with what was done and by which rule.
        kept: keywords of what stayed because the table does not name it.
        private: how many private attributes were removed.
        warnings: what a person should look at.
        written: dates that shifting made, eight digits each, and new UIDs; they are no leaks.
    """

    actions: dict[str, str] = field(default_factory=dict)
    kept: Counter[str] = field(default_factory=Counter)
    private: int = 0
    warnings: list[str] = field(default_factory=list)
    written: set[str] = field(default_factory=set)


def patient_of(dataset: Dataset) -> str:
    """What tells a patient apart: number and its issuer, or else name and birth date, or else the study."""
    number = str(dataset.get("PatientID") or "").strip()
    if number:
        return f"id\0{number}\0{str(dataset.get('IssuerOfPatientID') or '').strip()}"
    name = str(dataset.get("PatientName") or "").strip().lower()
    if name:
        return f"name\0{name}\0{dataset.get('PatientBirthDate') or ''}"
    return f"study\0{dataset.get('StudyInstanceUID') or dataset.get('SOPInstanceUID') or ''}"


def deidentify(dataset: Dataset, secret: Secret, options: Options) -> tuple[Identifiers, Log]:
    """Apply the profile to a data set, in place. Its pixels stay as they are.

    Args:
        dataset: as it was read.
        secret: what replacements are computed with.
        options: what is done beyond the basic profile.

    Returns:
        What named somebody, and what was done.
    """
    with quiet():
        identifiers = collect(dataset, options)
        work = _Work(secret, options, identifiers, patient_of(dataset))
        work.walk(dataset, "")
        work.mark(dataset)
    return identifiers, work.log


class _Work:
    """One data set on its way."""

    def __init__(self, secret: Secret, options: Options, identifiers: Identifiers, patient: str) -> None:
        self.secret, self.options, self.identifiers, self.patient = secret, options, identifiers, patient
        self.log = Log()

    def walk(self, dataset: Dataset, path: str) -> None:
        """All attributes of a data set, or of an item of a sequence."""
        creators = {
            tag: str(dataset[tag].value)
            for tag in list(dataset.keys())
            if tag.is_private_creator and "private" in self.options.keep
        }
        kept_blocks: set[Any] = set()
        for tag in sorted(dataset.keys(), reverse=True):  # creators come after their attributes
            try:
                element = dataset[tag]
            except Exception as error:  # a value that is not as its kind must be
                del dataset[tag]
                self.log.actions[f"{path}{place_of(tag)}"] = f"X: could not be read ({type(error).__name__})"
                continue
            if tag.is_private:
                self._private(dataset, element, creators, kept_blocks, path)
            elif path or element.keyword not in (*_OURS, *PIXELS):
                self._public(dataset, element, path)

    def _private(
        self, dataset: Dataset, element: DataElement, creators: dict[Any, str], kept: set[Any], path: str
    ) -> None:
        tag = element.tag
        if tag.is_private_creator:
            if tag in kept:
                return
        else:
            creator = tag.private_creator
            safe = creator in creators and is_safe(creators[creator], tag, element.VR)
            if safe and not self.identifiers.origins(str(element.value)):
                kept.add(creator)
                self.log.actions[f"{path}{place_of(tag)}"] = "K: private"
                return
        self.log.private += 1
        del dataset[tag]

    def _public(self, dataset: Dataset, element: DataElement, path: str) -> None:
        rule = rule_of(element.tag)
        if rule is not None:
            action, why = action_of(rule, self.options)
        else:
            action, why = self._unlisted(element)
        place = f"{path}{place_of(element.tag)} {element.keyword or (rule.keyword if rule else '')}".rstrip()
        if element.tag.group >> 8 == 0x60:  # an overlay without its pixels is of no use
            action, why = "X", "X"
        if action == "X":
            del dataset[element.tag]
            self.log.actions[place] = f"X: removed ({why})"
        elif action == "Z":
            self._empty(element, place, why)
        elif action == "D":
            self._dummy(element, place, why)
        elif action == "U":
            self._uid(element, place, why, path)
        elif action == "C":
            self._clean(dataset, element, place, why, path)
        else:
            self._keep(dataset, element, place, why, path)

    def _unlisted(self, element: DataElement) -> tuple[Action, str]:
        """What is done to an attribute that the table does not name."""
        vr, group = element.VR, element.tag.group
        if group < _FIRST_GROUP or group == _PIXEL_GROUP or element.keyword in (*_OURS, "ICCProfile"):
            return "X", "not in the table, and no part of a picture's header"
        if group in _PATIENT_GROUPS and element.keyword not in _KEPT_OF_PATIENT:
            return "X", "not in the table, of the patient or a visit"
        if not element.keyword and vr not in ("SQ", "UI"):
            return "X", "not in the dictionary"
        if vr in _ALWAYS_REMOVED and not (self.options.clean and vr in ("LT", "ST", "UC", "UT")):
            return "X", f"not in the table, of kind {vr}"
        if vr in ("LT", "ST", "UC", "UT"):
            return "C", "descriptors"
        if vr in ("DA", "DT", "TM"):
            action: Action = (
                "X" if self.options.dates == "remove" else "C" if self.options.dates == "shift" else "K"
            )
            return action, "dates, not in the table"
        if vr == "UI":
            if is_class(element.keyword) and all(map(_UID.fullmatch, map(str, each_of(element.value)))):
                return "K", ""
            return ("K", "uids") if "uids" in self.options.keep else ("U", "not in the table")
        if element.keyword in _EXPLANATIONS:
            return "C", "free text"
        if vr in _BYTES and not (group == 0x0028 and element.keyword.endswith(_TABLES)):
            return "X", f"not in the table, of kind {vr}"
        return "K", ""

    def _empty(self, element: DataElement, place: str, why: str) -> None:
        if element.keyword in ("PatientName", "PatientID"):
            element.value = self.secret.pseudonym(self.patient)
            self.log.actions[place] = f"Z: replaced by a pseudonym ({why})"
            return
        element.value = [] if element.VR == "SQ" else None
        self.log.actions[place] = f"Z: emptied ({why})"

    def _dummy(self, element: DataElement, place: str, why: str) -> None:
        if element.keyword == "PatientID":
            self._empty(element, place, why)
            return
        if element.VR == "SQ":
            pydicom = library()
            item = pydicom.Dataset()
            if "Code" in element.keyword:
                item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = (
                    "REMOVED",
                    "99PUMICE",
                    "REMOVED",
                )
            element.value = [item]
        elif element.VR == "UI":
            element.value = self.secret.uid(str(element.value))
        else:
            element.value = DUMMIES[element.VR]
        self.log.actions[place] = f"D: replaced by a dummy ({why})"

    def _uid(self, element: DataElement, place: str, why: str, path: str) -> None:
        if element.VR == "SQ":
            self._items(element, path)
            self.log.actions[place] = f"U: its UIDs are replaced ({why})"
            return
        if element.VR != "UI" or not element.value:
            if element.VR != "UI":
                element.value = None
            return
        many = each_of(element.value)
        new = [str(uid) if is_registered(str(uid)) else self.secret.uid(str(uid)) for uid in many]
        if new == [str(uid) for uid in many]:
            return
        self.log.written.update(new)
        element.value = new if len(new) > 1 else new[0]
        self.log.actions[place] = f"U: replaced by new UIDs ({why})"

    def _clean(self, dataset: Dataset, element: DataElement, place: str, why: str, path: str) -> None:
        if element.VR == "SQ":
            self._items(element, path)
            self.log.actions[place] = f"C: its items are cleaned ({why})"
        elif element.VR in ("DA", "DT"):
            self._shift(dataset, element, place)
        elif element.VR == "TM":
            self._keep(dataset, element, place, "time of day, dates are shifted", path)
        elif element.VR in TEXT:
            many = each_of(element.value)
            cleaned = [clean_words(self.identifiers.without(str(one))[0], self.options.terms) for one in many]
            element.value = cleaned if len(cleaned) > 1 else (cleaned[0] if cleaned else None)
            self.log.actions[place] = f"C: only listed words are left ({why})"
        else:
            del dataset[element.tag]
            self.log.actions[place] = f"X: cannot be cleaned ({why})"

    def _shift(self, dataset: Dataset, element: DataElement, place: str) -> None:
        many = each_of(element.value)
        moved = []
        for one in many:
            text = str(one).strip()
            if not _FORMS[element.VR].fullmatch(text):
                text = ""
            text = text.replace(".", "") if element.VR == "DA" else text
            try:
                day = date(int(text[:4]), int(text[4:6]), int(text[6:8]))
                new = self.secret.shift(self.patient, day).strftime("%Y%m%d")
            except (ValueError, OverflowError):
                del dataset[element.tag]
                self.log.actions[place] = "X: no date that could be shifted"
                return
            self.log.written.add(new)
            # The zone of a date and time would tell a place.
            moved.append(new + (text[8:] if element.VR == "DT" else "").split("+")[0].split("-")[0])
        element.value = moved if len(moved) > 1 else (moved[0] if moved else None)
        self.log.actions[place] = "C: shifted by the patient's days (dates)"

    def _keep(self, dataset: Dataset, element: DataElement, place: str, why: str, path: str) -> None:
        many = [str(one).strip() for one in each_of(element.value)] if element.VR != "SQ" else []
        if element.VR == "SQ":
            self._items(element, path)
        elif element.VR in (*TEXT, "UI") and (origins := self.identifiers.origins("\n".join(many))):
            words = f"{place} held a value of {', '.join(origins)}"
            if element.VR == "UI":  # a date or a number within one that was to stay
                self._uid(element, place, words, path)
                self.log.warnings.append(f"{words} and was replaced")
                return
            del dataset[element.tag]
            self.log.actions[place] = f"X: it held a value of {', '.join(origins)}"
            self.log.warnings.append(f"{words} and was removed")
            return
        elif element.keyword == "Modality" and many and modality_of(dataset) is None:
            element.value = "OT"
            self.log.actions[place] = "D: no modality of the standard"
            return
        elif not _is_formed(element, many):
            if element.VR == "UI":
                self._uid(element, place, "it is no UID", path)
                return
            del dataset[element.tag]
            self.log.actions[place] = f"X: its value is not as its kind {element.VR} must be"
            return
        elif element.VR == "AS" and any(_is_old(one) for one in many):
            element.value = f"{OLDEST + 1:03d}Y"
            self.log.actions[place] = f"C: over {OLDEST} ({why or 'age'})"
            return
        if why:
            self.log.actions[place] = f"K: kept ({why})"
        else:
            self.log.kept[element.keyword or place_of(element.tag)] += 1

    def _items(self, element: DataElement, path: str) -> None:
        for item in element.value or []:
            self.walk(item, f"{path}{place_of(element.tag)}>")

    def mark(self, dataset: Dataset) -> None:
        """Say in the data set what was done to it (PS3.15, E.1.1)."""
        dataset.PatientIdentityRemoved = "YES"
        dataset.LongitudinalTemporalInformationModified = {
            "remove": "REMOVED", "shift": "MODIFIED", "keep": "UNMODIFIED"
        }[self.options.dates]  # fmt: skip
        set_method(dataset, self.options, masked=False)
        if not dataset.get(
            "PatientID"
        ):  # a header that lacks it, too, must tell whose pictures belong together
            dataset.PatientID = self.secret.pseudonym(self.patient)


def set_method(dataset: Dataset, options: Options, *, masked: bool) -> None:
    """Write the method of de-identification, in words and in codes (PS3.16, CID 7050)."""
    pydicom = library()
    items = []
    for code in options.codes(masked=masked):
        item = pydicom.Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "DCM", MEANINGS[code]
        items.append(item)
    dataset.DeidentificationMethod = [f"pumice {pumice.__version__}", f"DICOM PS3.15 {EDITION} Annex E"]
    dataset.DeidentificationMethodCodeSequence = items


def _is_formed(element: DataElement, values: list[str]) -> bool:
    """Whether values look as their kind must; those of free kinds do."""
    form = _UID if element.VR == "UI" else _FORMS.get(element.VR)
    closed = _CLOSED.get(element.keyword)
    return all((form is None or form.fullmatch(one)) and (closed is None or one in closed) for one in values)


def _is_old(age: str) -> bool:
    found = _FORMS["AS"].fullmatch(age)
    return found is not None and int(found[1]) / _IN_A_YEAR[found[2]] >= OLDEST + 1
