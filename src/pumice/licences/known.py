"""The licences that Pumice knows, with the names they go by.

Facts are read from the texts of the licences at the addresses given, and ids are those of the SPDX list.
The Creative Commons family is made by rule (``creative_commons``): six kinds, every version, every port.
Of GNU's licences it is not kept whether a later version may be chosen, which changes no fact here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pumice.licences.licence import OWN, Licence

CC_VERSIONS = ("1.0", "2.0", "2.1", "2.5", "3.0", "4.0")
CC_KINDS = ("by", "by-sa", "by-nc", "by-nd", "by-nc-sa", "by-nc-nd")
_CC_WORDS = {"by": "Attribution", "nc": "NonCommercial", "sa": "ShareAlike", "nd": "NoDerivatives"}
_HUB_CC = {
    *("cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0"),
    *("cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0"),
    *("cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0"),
}


def creative_commons(kind: str, version: str = "", port: str = "") -> Licence:
    """A licence of the family; ``kind`` is one of ``CC_KINDS``, version and port may be missing."""
    tail = "".join(f"-{part}" for part in (version, port.upper()) if part)
    parts = kind.split("-")
    place = "/".join(part for part in (version, port) if part)
    hub = f"cc-{kind}-{version}"
    return Licence(
        f"CC-{kind.upper()}{tail}",
        " ".join(
            filter(
                None,
                ("Creative Commons", "-".join(_CC_WORDS[part] for part in parts), version, port.upper()),
            )
        ),
        f"https://creativecommons.org/licenses/{kind}/{place}/" if version else "",
        commercial="no" if "nc" in parts else "yes",
        derivatives="no" if "nd" in parts else "yes",
        share_alike="sa" in parts,
        remark="" if version else "which version is not told",
        family=f"CC-{kind.upper()}",
        hub=hub if hub in _HUB_CC else "cc" if not version and kind == "by" else "other",
    )


_LLAMA = (
    "an acceptable use policy binds, products with more than 700 million monthly users need another licence"
)
_RAIL = "uses that its list of restrictions names are forbidden, and so they must be to whoever gets it"
_NOT_RIVAL = "outputs must not be used to develop models that compete with the provider's"
_SPDX = "https://spdx.org/licenses/"


def _open(id: str, name: str, *, hub: str = "", **facts: object) -> Licence:
    return Licence(id, name, f"{_SPDX}{id}.html", hub=hub or id.lower(), **facts)  # type: ignore[arg-type]


def _own(id: str, name: str, url: str = "", **facts: object) -> Licence:
    return Licence(OWN + id, name, url, **facts)  # type: ignore[arg-type]


UNKNOWN = _own(
    "unknown", "unknown", commercial="unclear", derivatives="unclear", use="unclear", attribution=False
)
"""What has no licence, or one that cannot be told."""

_TABLE: tuple[tuple[Licence, str], ...] = (
    # Works given to all
    (
        _open("CC0-1.0", "Creative Commons Zero 1.0", attribution=False),
        "cc 0; cc zero; zero; publicdomain zero; cc publicdomain zero 1",
    ),
    (
        Licence(
            "CC-PDM-1.0",
            "Public Domain Mark 1.0",
            "https://creativecommons.org/publicdomain/mark/1.0/",
            attribution=False,
        ),
        "public domain mark; pdm; pdm 1; cc public domain mark; publicdomain mark",
    ),
    (
        _own("public-domain", "public domain", attribution=False, remark="whose law says so is not told"),
        "public domain; publicdomain; pd; cc publicdomain",
    ),
    (
        _own(
            "US-government-work",
            "United States Government Work",
            "https://www.usa.gov/government-copyright",
            attribution=False,
            remark="free of copyright in the United States",
        ),
        "us government work; united states government work; us gov work; usa gov government copyright",
    ),
    (
        _own(
            "no-known-copyright",
            "No known copyright restrictions",
            "https://www.flickr.com/commons/usage/",
            commercial="limited",
            attribution=False,
            remark="the institution knows of no rights and promises nothing",
        ),
        "no known copyright restrictions; flickr commons; flickr com commons usage",
    ),
    (_open("Unlicense", "The Unlicense", attribution=False), "unlicense"),
    (_open("0BSD", "BSD Zero Clause", attribution=False, hub="other"), "bsd 0 clause; bsd zero clause"),
    (_open("MIT-0", "MIT No Attribution", attribution=False, hub="other"), "mit no attribution"),
    # Data
    (
        _open("ODC-By-1.0", "Open Data Commons Attribution 1.0", hub="odc-by"),
        "odc by; opendatacommons by; opendatacommons by 1-0",
    ),
    (
        _open("ODbL-1.0", "Open Database License 1.0", hub="odbl", share_alike=True),
        "odc odbl; opendatacommons odbl; opendatacommons odbl 1-0; open data commons open database",
    ),
    (_open("PDDL-1.0", "ODC Public Domain Dedication 1.0", hub="pddl", attribution=False), "pddl; odc pddl"),
    (_open("CDLA-Permissive-1.0", "CDLA Permissive 1.0"), "community data agreement permissive 1"),
    (_open("CDLA-Permissive-2.0", "CDLA Permissive 2.0"), "cdla permissive"),
    (_open("CDLA-Sharing-1.0", "CDLA Sharing 1.0", share_alike=True), "cdla sharing"),
    (
        _open("C-UDA-1.0", "Computational Use of Data Agreement 1.0", hub="c-uda", commercial="limited"),
        "c uda; cuda 1; computational use of data agreement",
    ),
    (_open("O-UDA-1.0", "Open Use of Data Agreement 1.0", hub="other"), "o uda; open use of data agreement"),
    (_open("OGL-UK-3.0", "Open Government Licence 3.0 (United Kingdom)", hub="other"), "ogl; ogl 3; ogl uk"),
    (_open("etalab-2.0", "Etalab Open License 2.0"), "etalab"),
    (
        _own(
            "PhysioNet-credentialed",
            "PhysioNet Credentialed Health Data License 1.5.0",
            "https://physionet.org/content/mimic-cxr/view-license/2.0.0/",
            commercial="no",
            derivatives="limited",
            remark="for persons who signed the data use agreement; the data are not passed on",
        ),
        "physionet; physionet credentialed; physionet credentialed health data 1.5; mimic",
    ),
    # Software
    (_open("MIT", "MIT License"), "expat"),
    (_open("Apache-2.0", "Apache License 2.0"), "apache; apache 2"),
    (_open("BSD-2-Clause", "BSD 2-Clause"), "simplified bsd; freebsd"),
    (_open("BSD-3-Clause", "BSD 3-Clause"), "bsd; new bsd; modified bsd"),
    (_open("ISC", "ISC License"), ""),
    (_open("Zlib", "zlib License"), ""),
    (_open("BSL-1.0", "Boost Software License 1.0"), "boost software; boost"),
    (_open("Artistic-2.0", "Artistic License 2.0"), "artistic"),
    (_open("WTFPL", "Do What The F*ck You Want To Public License", attribution=False), ""),
    (
        _open("MPL-2.0", "Mozilla Public License 2.0", share_alike=True),
        "mpl; mozilla public 2; mozilla public",
    ),
    (_open("GPL-2.0", "GNU GPL 2", share_alike=True), "gnu gpl 2; gnu general public 2"),
    (_open("GPL-3.0", "GNU GPL 3", share_alike=True), "gnu gpl 3; gpl; gnu general public 3"),
    (_open("LGPL-3.0", "GNU LGPL 3", share_alike=True), "gnu lgpl 3; lgpl"),
    (_open("AGPL-3.0", "GNU AGPL 3", share_alike=True), "gnu agpl 3; agpl"),
    (
        _open("GFDL-1.3", "GNU Free Documentation License 1.3", hub="gfdl", share_alike=True),
        "gfdl; gnu fdl; gfdl 1.2; gnu free documentation",
    ),
    # Models
    (
        _own("OpenRAIL", "OpenRAIL", "https://www.licenses.ai/", remark=_RAIL, hub="openrail"),
        "open rail; openrail m",
    ),
    (
        _own(
            "OpenRAIL++",
            "CreativeML Open RAIL++-M",
            "https://huggingface.co/stabilityai/stable-diffusion-2/blob/main/LICENSE-MODEL",
            remark=_RAIL,
            hub="openrail++",
        ),
        "openrail ++; creativeml openrail ++ m; creativeml open rail ++ m",
    ),
    (
        _own(
            "CreativeML-OpenRAIL-M",
            "CreativeML OpenRAIL-M",
            "https://huggingface.co/spaces/CompVis/stable-diffusion-license",
            remark=_RAIL,
            hub="creativeml-openrail-m",
        ),
        "creativeml openrail m; creativeml",
    ),
    (
        _own(
            "BigScience-OpenRAIL-M",
            "BigScience OpenRAIL-M",
            "https://bigscience.huggingface.co/blog/bigscience-openrail-m",
            remark=_RAIL,
            hub="bigscience-openrail-m",
        ),
        "bigscience openrail m; bigscience bloom rail 1; bigcode openrail m",
    ),
    (
        _own(
            "LLaMA",
            "LLaMA Non-Commercial License (2023)",
            "https://github.com/meta-llama/llama/blob/llama_v1/LICENSE",
            commercial="no",
            derivatives="limited",
            remark="for research alone, to those whom Meta gave the weights",
        ),
        "llama 1; vicuna; vicuna 1.1; vicuna 1.3; llama non commercial; llama",
    ),
    *(
        (
            _own(
                f"Llama-{version}",
                f"Llama {version} Community License",
                f"https://www.llama.com/llama{place}/license/",
                commercial="limited",
                remark=_LLAMA + more,
                hub=f"llama{version}",
            ),
            f"llama {version}; llama {version} community; meta llama {version}; "
            f"meta llama {version} community"
            + ("; vicuna 1.5; vicuna 7b 1.5; vicuna 13b 1.5" if version == "2" else ""),
        )
        for version, place, more in (
            ("2", "2", "; not to be used to improve other language models"),
            ("3", "3", "; not to be used to improve other language models"),
            ("3.1", "3_1", "; derived models carry Llama in their names"),
            ("3.2", "3_2", "; derived models carry Llama in their names; its vision models not in the EU"),
            ("3.3", "3_3", "; derived models carry Llama in their names"),
            ("4", "4", "; derived models carry Llama in their names; not for those in the EU"),
        )
    ),
    (
        _own(
            "Gemma",
            "Gemma Terms of Use",
            "https://ai.google.dev/gemma/terms",
            commercial="limited",
            remark="a prohibited use policy binds, and must bind whoever gets it",
            hub="gemma",
        ),
        "gemma; gemma of use",
    ),
    (
        _own(
            "Qwen",
            "Tongyi Qianwen License",
            "https://huggingface.co/Qwen/Qwen2-VL-72B-Instruct/blob/main/LICENSE",
            commercial="limited",
            remark="more than 100 million monthly users need another licence",
        ),
        "qwen; tongyi qianwen",
    ),
    (
        _own(
            "Qwen-research",
            "Qwen Research License",
            "https://huggingface.co/Qwen/Qwen2.5-VL-3B-Instruct/blob/main/LICENSE",
            commercial="no",
        ),
        "qwen research",
    ),
    (
        _own(
            "DeepSeek",
            "DeepSeek License 1.0",
            "https://github.com/deepseek-ai/DeepSeek-LLM/blob/main/LICENSE-MODEL",
            commercial="limited",
            remark=_RAIL,
            hub="deepseek",
        ),
        "deepseek",
    ),
    (
        _own(
            "Mistral-research",
            "Mistral AI Research License",
            "https://mistral.ai/licenses/MRL-0.1.md",
            commercial="no",
        ),
        "mrl; mistral ai research; mistral research",
    ),
    # Terms of those who run services
    (
        _own(
            "OpenAI-terms",
            "OpenAI's terms of use",
            "https://openai.com/policies/row-terms-of-use/",
            commercial="limited",
            attribution=False,
            remark=_NOT_RIVAL,
        ),
        "openai; open ai; openai of use; openai policies row of use; openai policy; gpt 4; chatgpt; sharegpt",
    ),
    (
        _own(
            "Anthropic-terms",
            "Anthropic's terms",
            "https://www.anthropic.com/legal/commercial-terms",
            commercial="limited",
            attribution=False,
            remark=_NOT_RIVAL,
        ),
        "anthropic; claude",
    ),
    (
        _own(
            "Gemini-terms",
            "Gemini API Additional Terms of Service",
            "https://ai.google.dev/gemini-api/terms",
            commercial="limited",
            attribution=False,
            remark=_NOT_RIVAL,
        ),
        "gemini; gemini api",
    ),
    (
        _own(
            "Flickr-terms",
            "Flickr's terms of use",
            "https://www.flickr.com/help/terms",
            commercial="unclear",
            derivatives="unclear",
            remark="each photo is under the licence that its photographer chose",
        ),
        "flickr; flickr of use; flickr com help; coco images",
    ),
    (
        _own(
            "research-only",
            "for research alone",
            commercial="no",
            remark="the terms themselves are not told",
        ),
        "research only; research; academic; academic use only; non commercial; noncommercial; nc; "
        "research use only; non commercial research; academic research only; research purposes only",
    ),
    (
        _own(
            "proprietary",
            "all rights reserved",
            commercial="no",
            derivatives="no",
            use="no",
            remark="nothing is permitted but what an agreement says",
        ),
        "proprietary; all rights reserved; copyright; copyrighted; closed; confidential; arr",
    ),
    (
        UNKNOWN,
        "unknown; none; n a; na; no; null; other; unlicensed; not specified; unspecified; not known; tbd",
    ),
)

LICENCES: Mapping[str, Licence] = MappingProxyType({licence.id: licence for licence, _ in _TABLE})
"""By id, all but the Creative Commons family."""
NAMES: tuple[tuple[str, Licence], ...] = tuple(
    (name.strip(), licence) for licence, names in _TABLE for name in names.split(";") if name.strip()
)
"""What they are called beside their ids and names."""

SETS: Mapping[str, str] = MappingProxyType(
    {
        "coco": "CC-BY-4.0 AND LicenseRef-Flickr-terms",
        "ms coco": "CC-BY-4.0 AND LicenseRef-Flickr-terms",
        "coco annotations": "CC-BY-4.0",
        "visual genome": "CC-BY-4.0",
        "vg": "CC-BY-4.0",
        "scienceqa": "CC-BY-NC-SA-4.0",
        "science qa": "CC-BY-NC-SA-4.0",
        "llava instruct 150 k": "CC-BY-4.0 AND LicenseRef-OpenAI-terms",
    }
)
"""Names of data sets that rows give in the place of a licence, and what these are under: of COCO the
annotations and the images, which lie under different terms."""

NUMBERED: Mapping[int, str] = MappingProxyType(
    {
        0: OWN + "proprietary",
        1: "CC-BY-NC-SA-2.0",
        2: "CC-BY-NC-2.0",
        3: "CC-BY-NC-ND-2.0",
        4: "CC-BY-2.0",
        5: "CC-BY-SA-2.0",
        6: "CC-BY-ND-2.0",
        7: OWN + "no-known-copyright",
        8: OWN + "US-government-work",
        9: "CC0-1.0",
        10: "CC-PDM-1.0",
    }
)
"""The numbers that COCO's images (1 to 8) and Flickr's interface (all) give licences."""
