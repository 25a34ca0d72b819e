"""Words by which an answer shows that its writer read a text about a picture and did not see the picture."""

from __future__ import annotations

import re

_WORDS = {
    "en": r"\b(captions?|bounding box(es)?|(the|these|given|provided) (notes|annotations|coordinates)|"
    r"(based on|according to|from) the (\w+ )?(descriptions?|text|information|notes|sentences)|"
    r"(descriptions?|sentences?|notes|annotations) (\w+ )?"
    r"(says?|mentions?|states?|describes?|indicates?|provided)|"
    r"(is|are|was|were|not) (\w+ )?(mentioned|specified|stated|described|noted) (in|by|here)|"
    r"(does|do) not (say|mention|specify)|(can ?not|can't|unable to) (see|view) the (image|picture|photo)|"
    r"as an ai\b|language model)",
    "de": r"\b(bildunterschrift(en)?|bildbeschreibung(en)?|laut (der|den) (beschreibung|text|notizen)|"
    r"(die|den|der) notizen|wird (nicht )?erwähnt|als ki\b|sprachmodell)",
    "fr": r"\b(légendes?|selon (la|les|le) (description|texte|notes)|(les|des) notes|n'est pas mentionn\w*|"
    r"modèle de langage)",
    "es": r"\b(pies? de foto|leyendas?|según (la|el|las|los) (descripción|texto|notas)|(las|de) notas|"
    r"no se menciona|modelo de lenguaje)",
    "it": r"\b(didascali[ae]|secondo (la|il|le|gli) (descrizione|testo|note|appunti)|(gli|degli) appunti|"
    r"non (è|viene) menzionat\w|modello linguistico)",
    "pt": r"\b(legendas?|segundo (a|o|as|os) (descrição|texto|notas)|(as|das) notas|não (é|foi) mencionad\w|"
    r"modelo de linguagem)",
    "zh": r"(标题|说明文字|笔记|根据描述|描述中|未提及|边界框|语言模型)",
    "ja": r"(キャプション|注釈|メモ|説明文|記述によ|バウンディングボックス|言語モデル)",
}
LEAKS = {code: re.compile(pattern, re.I) for code, pattern in _WORDS.items()}
"""By language."""
COORDINATES = re.compile(r"\[\s*\d*\.?\d+\s*(,\s*\d*\.?\d+\s*){3}\]")
"""Boxes as teachers are given them."""
