"""Pictures that prompts come to next: found among those that were encoded before, or encoded now."""

from __future__ import annotations

import time
from collections.abc import Iterable

from pumice.infer.engine.features import FeatureCache
from pumice.infer.engine.prompt import Picture
from pumice.infer.engine.sequence import Sequence
from pumice.infer.engine.stats import Totals
from pumice.infer.pictures import PictureEncoder


def encode(
    running: Iterable[Sequence], pictures: PictureEncoder, features: FeatureCache, totals: Totals, chunk: int
) -> tuple[list[Sequence], Exception] | None:
    """Give running prompts the embeddings of the pictures that they come to next.

    Equal pictures of several prompts are encoded once, all in one pass of the tower.

    Args:
        running: sequences; each keeps what it was given until its first token.
        pictures: encodes them.
        features: those that are kept.
        totals: counts what was encoded and what was found.
        chunk: about so many tokens of pictures are encoded at once; one picture always is.

    Returns:
        Where the tower failed, the sequences that wanted the pictures, and the error; else None.
    """
    missing, wanting = _missing(running, features, totals, chunk)
    if not missing:
        return None
    begun = time.monotonic()
    for sequence in wanting:
        sequence.running.reach("pictures")
    try:
        embeds = pictures.embed_tiles([one.tiles for one in missing], [one.layout for one in missing])
    except Exception as error:
        return wanting, error
    seconds = time.monotonic() - begun
    totals.images_encoded += len(missing)
    for picture, embeds_TD in zip(missing, embeds, strict=True):
        features.put(picture.digest, embeds_TD)
        for sequence in wanting:
            if any(one.digest == picture.digest for one in sequence.prompt.pictures):
                sequence.features[picture.digest] = embeds_TD
    for sequence in wanting:
        sequence.image_seconds += seconds
    return None


def _missing(
    running: Iterable[Sequence], features: FeatureCache, totals: Totals, chunk: int
) -> tuple[list[Picture], list[Sequence]]:
    """Pictures to encode, and who wants them, each once; those that are kept are handed out."""
    missing: dict[bytes, Picture] = {}
    wanting: dict[Sequence, None] = {}
    tokens = 0
    for sequence in running:
        if sequence.left <= 1 and sequence.generated:
            continue
        for picture in sequence.pictures(sequence.computed, len(sequence.ids)):
            if picture.digest in sequence.features:
                continue
            found = features.get(picture.digest)
            if found is not None:
                sequence.features[picture.digest] = found
                totals.images_found += 1
            elif picture.digest in missing or not missing or tokens < chunk:
                tokens += picture.length if picture.digest not in missing else 0
                missing[picture.digest] = picture
                wanting[sequence] = None
    return list(missing.values()), list(wanting)
