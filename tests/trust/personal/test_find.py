"""Personal data by its forms: numbers that issuers publish as valid, and text that only looks like it."""

from __future__ import annotations

import pytest

from pumice.trust.personal import KINDS, find, masked
from pumice.trust.personal import digits as check

FOUND = {
    "email": ["jane.doe@uni-hamburg.de", "a+b@mail.co.uk", "TU-tatu43@gmail.com", "o_neil99@sub.domain.io"],
    "phone": [
        "+44 20 7123 4567", "+1-212-664-7665", "+49 (0)30 901820", "+33 1 42 68 53 00", "+91 98765 43210",
        "+86 138 0013 8000", "+5511912345678", "0049 30 901820", "(212) 664-7665", "212-664-7665",
        "212.664.7665", "1-800-692-7753", "020 7123 4567", "07911 123456", "0161 496 0123", "01 42 68 53 00",
        "0171-1234561", "030/901820", "06-12345678", "(11) 91234-5678", "612 34 56 78",
    ],
    "card": ["4539 1488 0343 6467", "4539148803436467", "5425-2334-3010-9903", "3714 496353 98431",
             "6011 0009 9013 9424", "3566002020360505"],
    "iban": ["DE75512108001245126199", "FR76 3000 6000 0112 3456 7890 189", "NL91 ABNA 0417 1643 00",
             "GB29NWBK60161331926819", "BE68 5390 0754 7034"],
    "us-ssn": ["536-22-1234", "536 22 1234"],
    "uk-nino": ["JG 10 37 59 A", "CE123457D"],
    "de-steuer-id": ["86095742719", "86 095 742 719", "65929970489"],
    "fr-nir": ["2 55 08 14 168 025 38", "255081416802538"],
    "es-dni": ["12345679S", "12345679-S", "X1234567L", "Y-1234567-X"],
    "it-codice-fiscale": ["RSSMRA85T10A562S"],
    "br-cpf": ["529.982.247-25", "111.444.777-35"],
    "in-aadhaar": ["4991 1866 5246"],
    "cn-resident": ["11010519491231002X"],
    "ip": ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"],
    "address": ["1600 Amphitheatre Pkwy, Mountain View, CA 94043", "221B Baker Street, London NW1 6XE",
                "Torstraße 12, 10119 Berlin"],
}  # fmt: skip
CUED = {
    "phone": ["Phone: 555 1234567 2", "call me at 98450 12345", "Tel. 0123 456 7890", "手机:13800138001"],
    "nl-bsn": ["BSN 111222333", "burgerservicenummer: 1112.22.333"],
    "us-ssn": ["her SSN is 536221234"],
    "br-cpf": ["CPF: 52998224725"],
    "in-aadhaar": ["Aadhaar no. 499118665246"],
}
SENTENCES = ("{}", "Reach her at {}.", "({})", "It says {}, and more.", "Nr: {}\nnext line 12")
CLEAN = [
    "On 2021-03-04 at 12:30:45 the 3 people paid $1,234,567.89 for 12 x 34 cm.",
    "The box is at [0.123, 0.456, 0.789, 0.912] and [120, 340, 560, 780].",
    "ISBN 978-3-16-148410-0, ISBN 0-306-40615-2, ISSN 2049-3630.",
    "The population grew from 7 800 000 000 to 8 000 000 000 between 2020 and 2022.",
    "Pi is 3.14159265358979323846 and e is 2.718281828459045.",
    "Version v10.0.19.41, section 4.3.2.1, and Python 3.11.4 are meant.",
    "12345678 + 87654321 = 99999999; 2 ** 31 = 2147483648.",
    "img_20210304_123456789.jpg and COCO_val2014_000000123456.jpg, id 000000441147",
    "The order 1234-5678-9012-3456 has no valid sum.",
    "Call 911 or 112. Room 101, bus 42, 1990-2020, 100-200-300.",
    "The account DE00370400440532013000 fails its check.",
    "See https://example.org/@user and logo@2x.png at 10:20:30:40.",
    "Flight LH 400 leaves gate A12 at 0800; score 21-14-7.",
    "UPC 036000291452, EAN 4006381333931, serial SN-12-34-567.",
    "He walked down Main Street in London for 12 minutes.",
    "ABCDEF12G34H567I",
    "The text 2012 2013 2014 2015 2016 lists years.",
    "call it 3.5 million; the phone costs 12345678 dollars",
]
EXAMPLES = {
    "email": "jane@example.org", "phone": "(212) 555-0123", "card": "4111 1111 1111 1111",
    "iban": "DE89 3704 0044 0532 0130 00", "us-ssn": "123-45-6789", "ip": "192.168.178.20",
}  # fmt: skip


@pytest.mark.parametrize("kind", FOUND)
def test_each_kind_is_found_in_every_form_inside_sentences(kind: str) -> None:
    for value in FOUND[kind]:
        for sentence in SENTENCES:
            text = sentence.format(value)
            hits = [(hit.kind, text[hit.start : hit.end], hit.example) for hit in find(text)]
            assert [hit[0] for hit in hits] == [kind], (text, hits)
            assert value.strip("(") in hits[0][1] or hits[0][1] in value, hits
            assert value not in masked(text), text


@pytest.mark.parametrize("kind", CUED)
def test_what_has_no_form_of_its_own_is_found_behind_a_word(kind: str) -> None:
    for text in CUED[kind]:
        assert [hit.kind for hit in find(text)] == [kind], text


@pytest.mark.parametrize("text", CLEAN)
def test_other_numbers_are_left_alone(text: str) -> None:
    hits = [(hit.kind, text[hit.start : hit.end]) for hit in find(text)]
    assert not hits


@pytest.mark.parametrize("kind", EXAMPLES)
def test_what_is_kept_for_examples_is_marked(kind: str) -> None:
    (hit,) = find(f"It is {EXAMPLES[kind]}.")
    assert (hit.kind, hit.example) == (kind, True)


def test_one_wrong_digit_is_told() -> None:
    checks = {
        check.iban: "FR7630006000011234567890189", check.luhn: "4539148803436467",
        check.nir: "255081416802538", check.steuer_id: "86095742719", check.bsn: "111222333",
        check.cpf: "52998224725",
        check.aadhaar: "499118665246", check.dni: "12345679S", check.codice_fiscale: "RSSMRA85T10A562S",
        check.resident_id: "11010519491231002X",
    }  # fmt: skip
    for holds, number in checks.items():
        assert holds(number), holds.__name__
        place = 7 if holds is check.codice_fiscale else 5
        other = number[:place] + str((int(number[place]) + 1) % 10) + number[place + 1 :]
        assert not holds(other), holds.__name__


def test_masks_keep_too_little_to_find_anyone() -> None:
    assert masked("jane.doe@uni-hamburg.de or +44 20 7123 4567") == "j***@u***.de or +44***67"
    assert set(KINDS) == {*FOUND, *CUED}
