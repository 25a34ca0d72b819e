"""Do pictures and their captions find each other, without any training for it?

Three spaces are looked at:
  connector  what the connector makes of a picture, against the language model's own word embeddings
  hidden     states inside the language model, of the picture's tokens and of the caption's
  tower      the tower's own space of pictures and texts, where its text encoder is at hand

Legend: N pictures, M captions, P tokens of a picture, W words (tokens) of a caption, D width of the language
model, E width of the tower's space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pumice.evaluate.dimensions.asked import file_digest
from pumice.evaluate.dimensions.captions import CAPTIONS, Captions, read_captions, some_of
from pumice.evaluate.dimensions.dimension import Dimension, Measured, Progress, Subject, Terms
from pumice.evaluate.dimensions.intervals import group, share
from pumice.evaluate.dimensions.ranks import Floats, by_chance, hits, relevant, standard
from pumice.evaluate.dimensions.towers import tower_likeness
from pumice.evaluate.results import Baseline, Scores
from pumice.infer import Generator

TOPS = (1, 5)
AT_ONCE = 64
STANDARD = "_standard"
DIRECTIONS = {"i2t": "captions by pictures", "t2i": "pictures by captions"}


def measure(subject: Subject, folder: Path, out: Path, terms: Terms, progress: Progress) -> Measured:
    """Top-1 and top-5 in each space: i2t, captions by pictures, and t2i, pictures by captions."""
    whole = read_captions(folder)
    captions = some_of(whole, terms.limit, terms.seed)
    relevant_NM = relevant(captions.texts, captions.of, len(captions.pictures))
    spaces: dict[str, Callable[[], Floats]] = {}
    generator = subject.load()
    embedded = _Embedded(generator, captions, progress)
    # The first stands for the dimension. What is aligned in training is the connector's output, so it is the
    # connector's; and the standardised one, for without that terse captions are near every picture, and the
    # figure says more of the captions than of the alignment (hubness: Radovanovic et al. 2010, JMLR 11).
    spaces[f"connector{STANDARD}"] = embedded.words_likeness
    spaces["connector"] = embedded.words_likeness
    spaces[f"hidden{STANDARD}"] = embedded.hidden_likeness
    spaces["hidden"] = embedded.hidden_likeness
    notes = [
        "connector_standard_i2t_top1 stands for the dimension: training aligns the connector's output, and"
        " without the standard the same few captions are found by every picture",
        "connector: the mean over a caption's tokens of the nearest picture token (cosine, both centred); "
        "hidden: cosine of mean states in the middle layer, centred",
        "standard: each candidate's likeness in standard deviations of its own over all queries, as some"
        " captions are near every picture",
        "what two pictures have word for word is right for both; intervals: bootstrap over pictures",
    ]
    if subject.text_side is not None:
        side = subject.text_side
        spaces["tower"] = lambda: tower_likeness(side, generator, captions, progress)
    else:
        notes.append(
            "the tower's own space is not looked at: it takes the checkpoint that the tower is of, with its"
            " text encoder (--text-side DIR)"
        )
    metrics: dict[str, float] = {}
    interval: dict[str, list[float]] = {}
    groups: dict[str, Any] = {}
    chance: dict[str, float] = {}
    for name, likeness in spaces.items():
        likeness_NM = likeness()
        standardised = name.endswith(STANDARD)
        for direction, k, values, keys, luck in _figures(
            likeness_NM, relevant_NM, captions, standardised=standardised
        ):
            label = f"{name}_{direction}_top{k}"
            metrics[label], ends = share(keys, values)
            interval[label], chance[label] = list(ends), 100 * luck
            title = f"{name.replace('_', ' ')}, {DIRECTIONS[direction]}"
            groups.setdefault(title, group(len(values), {}, ends))
            groups[title][f"top{k}"] = round(metrics[label], 6)
    by_luck = Scores(metrics=chance, interval={}, n=len(captions.pictures), groups={}, counts={}, notes=[])
    counts = {"pictures": len(captions.pictures), "captions": len(captions.texts)}
    return Measured(
        Scores(
            metrics=metrics,
            interval=interval,
            n=len(captions.pictures),
            groups=groups,
            counts=counts,
            notes=[],
        ),
        len(captions.pictures),
        len(whole.pictures),
        Baseline(how="a random order", scores=by_luck, uniform=None),
        tuple(notes),
    )


def _figures(
    likeness_NM: Floats, relevant_NM: Any, captions: Captions, *, standardised: bool
) -> list[tuple[str, int, list[bool], list[int], float]]:
    """Direction, k, hits, the picture of each query, and chance."""
    found = []
    for direction in DIRECTIONS:
        forth = direction == "i2t"
        table = likeness_NM if forth else likeness_NM.T
        table = standard(table) if standardised else table
        true = relevant_NM if forth else relevant_NM.T
        keys = list(range(len(captions.pictures))) if forth else list(captions.of)
        for k in TOPS:
            if k < table.shape[1]:
                found.append((direction, k, hits(table, true, k).tolist(), keys, by_chance(true, k)))
    return found


class _Embedded:
    """Pictures and captions inside a model."""

    def __init__(self, generator: Generator, captions: Captions, progress: Progress) -> None:
        self.generator, self.captions = generator, captions
        model, tokenizer = generator.model, generator.tokenizer
        self.pictures: list[Tensor] = []
        for start in range(0, len(captions.pictures), AT_ONCE):
            part = captions.pictures[start : start + AT_ONCE]
            shown = [generator.pictures.lay_out([source])[0] for source in part]
            embeds = generator.pictures.embed(shown)
            self.pictures += [embeds[one.key].float() for one in shown]
            progress("retrieval", start + len(part), len(captions.pictures))
        # A space before a text, as words have inside a sentence.
        ids = [tokenizer.encode(" " + text, add_special_tokens=False) for text in captions.texts]
        with torch.inference_mode():
            table = model.lm.get_input_embeddings()
            self.words = [table(torch.tensor(one, device=model.device)).float() for one in ids]
            start_ids = [tokenizer.bos_token_id] if tokenizer.bos_token_id is not None else []
            self.start_SD = table(torch.tensor(start_ids, dtype=torch.int64, device=model.device)).float()

    def words_likeness(self) -> Floats:
        """[N, M]: how well the tokens of a picture cover the words of a caption."""
        pictures = _centred(self.pictures)
        words = _centred(self.words)
        columns = []
        stacked = _padded(pictures)
        lengths_N = torch.tensor([len(one) for one in pictures], device=stacked.device)
        beyond_NP = torch.arange(stacked.shape[1], device=stacked.device)[None] >= lengths_N[:, None]
        for own_WD in words:
            near_NPW = stacked @ own_WD.T
            near_NPW = near_NPW.masked_fill(beyond_NP[..., None], -2.0)
            columns.append(near_NPW.amax(dim=1).mean(dim=1))
        return np.asarray(torch.stack(columns, dim=1).cpu().numpy(), dtype=np.float64)

    def hidden_likeness(self) -> Floats:
        """[N, M]: cosine of mean states in the middle layer."""
        pictures_ND = self._states(self.pictures)
        captions_MD = self._states(self.words)
        pictures_ND, captions_MD = (
            F.normalize(one - one.mean(dim=0), dim=1) for one in (pictures_ND, captions_MD)
        )
        return np.asarray((pictures_ND @ captions_MD.T).cpu().numpy(), dtype=np.float64)

    def _states(self, rows: Sequence[Tensor]) -> Tensor:
        """Mean states of rows of embeddings behind the start token, float32 [rows, D]."""
        from pumice.evaluate.dimensions.ablate import layers_of

        model = self.generator.model
        layers = layers_of(self.generator)
        kept: list[Tensor] = []

        def keep(module: Any, args: Any, output: Any) -> None:
            kept.append(output[0] if isinstance(output, tuple) else output)

        found: list[Tensor] = []
        hook = layers[(len(layers) - 1) // 2].register_forward_hook(keep)
        lead = len(self.start_SD)
        try:
            for start in range(0, len(rows), AT_ONCE):
                part = [torch.cat([self.start_SD, row]) for row in rows[start : start + AT_ONCE]]
                embeds_BTD = _padded(part).to(model.dtype)
                size = embeds_BTD.shape[1]
                places_T = torch.arange(size, device=embeds_BTD.device)
                mask_TT = places_T[:, None] >= places_T[None, :]
                kept.clear()
                with torch.inference_mode():
                    model.hidden(
                        embeds_BTD,
                        places_T.expand(len(part), -1),
                        mask_TT.expand(len(part), -1, -1),
                    )
                (states_BTD,) = kept
                found += [
                    states_BTD[row, lead : len(own)].float().mean(dim=0) for row, own in enumerate(part)
                ]
        finally:
            hook.remove()
        return torch.stack(found)


def _centred(rows: Sequence[Tensor]) -> list[Tensor]:
    """Tokens without what all have in common, each of length one."""
    mean_D = torch.cat(list(rows)).mean(dim=0)
    return [F.normalize(row - mean_D, dim=1) for row in rows]


def _padded(rows: Sequence[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)


def _digest(subject: Subject, folder: Path) -> str:
    side = subject.text_side
    own = file_digest(folder)
    return own if side is None else f"{own} {side.name} {(side / 'model.safetensors').stat().st_size}"


RETRIEVAL = Dimension(
    "retrieval",
    "Feature alignment",
    "Zero-shot retrieval of captions by pictures and the reverse, behind the connector and on the tower.",
    "retrieval",
    (f"{CAPTIONS}: COCO's images and annotations, pictures beside it or in images",),
    measure,
    _digest,
)
