"""Choosing the next token of one answer.

Legend: R answers, V size of the vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor

from pumice.infer.engine.requests import Likely, TokenLogprobs
from pumice.infer.engine.schema import Matcher
from pumice.infer.sampling import SEEDS, Sampling


class Sampler:
    """One answer's draws: its settings, its own generator (on the CPU), and what it has written so far.

    Each draw takes one random number for every token of the vocabulary. So which token a number belongs to
    hangs neither on the order of the scores nor on the rest of the batch.

    Args:
        sampling: the settings.
        index: which of a request's answers this is; it is added to the seed.
        prompt: the prompt's token ids, those of pictures left out.
        matcher: what an answer's schema allows.
    """

    def __init__(
        self,
        sampling: Sampling,
        index: int = 0,
        prompt: Collection[int] = (),
        matcher: Matcher | None = None,
    ) -> None:
        self.sampling = sampling
        self.matcher = matcher
        self._rng = torch.Generator().manual_seed((sampling.seed + index) % SEEDS)
        self._counts: Counter[int] = Counter()
        self._prompt = frozenset(prompt) if sampling.repetition_penalty != 1 else frozenset()

    @property
    def plain(self) -> bool:
        """Whether it always takes the model's most likely token."""
        return self.sampling.temperature == 0 and not self.sampling.changes_scores

    @property
    def done(self) -> bool:
        """Whether the schema lets nothing follow."""
        return self.matcher is not None and self.matcher.done

    def draw(self, logits_V: Tensor) -> int:
        """A token id drawn by the model's scores [V] (any float type, any device); ``take`` it then."""
        settings = self.sampling
        scores_V = self._adjusted(logits_V.detach().float().cpu())
        if settings.temperature == 0:
            return int(scores_V.argmax())
        scores_V = scores_V / settings.temperature
        kept_V = _kept(scores_V, settings.top_k, settings.top_p)
        noise_V = torch.empty_like(scores_V).exponential_(generator=self._rng)
        # The smallest of exponential times with these rates: a draw by the probabilities.
        return int((torch.softmax(kept_V, dim=0) / noise_V).argmax())

    def take(self, token: int) -> None:
        """Note a token as written."""
        self._counts[token] += 1
        if self.matcher is not None:
            self.matcher.take(token)

    def _adjusted(self, scores_V: Tensor) -> Tensor:
        """Scores after schema, penalties and bias; a new tensor where any of them applies."""
        settings = self.sampling
        if not settings.changes_scores:
            return scores_V
        scores_V = scores_V.clone()
        if self.matcher is not None:
            scores_V[~self.matcher.allowed(scores_V.numel())] = -torch.inf
        if settings.repetition_penalty != 1:
            ids = torch.tensor(sorted(self._prompt | self._counts.keys()), dtype=torch.int64)
            old = scores_V[ids]
            penalty = settings.repetition_penalty
            scores_V[ids] = torch.where(old > 0, old / penalty, old * penalty)
        if self._counts and (settings.presence_penalty or settings.frequency_penalty):
            ids = torch.tensor(list(self._counts), dtype=torch.int64)
            times = torch.tensor(list(self._counts.values()), dtype=scores_V.dtype)
            scores_V[ids] -= settings.presence_penalty + settings.frequency_penalty * times
        for token, bias in settings.logit_bias:
            scores_V[token] += bias
        return scores_V


def _kept(scores_V: Tensor, top_k: int, top_p: float) -> Tensor:
    """Scores of the tokens that can be drawn; -inf for all others."""
    if not top_k and top_p >= 1:
        return scores_V
    ordered_V, ids_V = torch.sort(scores_V, descending=True, stable=True)
    if top_k:
        ordered_V, ids_V = ordered_V[:top_k], ids_V[:top_k]
    chances_V = torch.softmax(ordered_V, dim=0)
    # A token stays while those before it do not reach top_p: the first always does.
    stays_V = chances_V.cumsum(dim=0) - chances_V < top_p
    kept_V = torch.full_like(scores_V, -torch.inf)
    kept_V[ids_V[stays_V]] = ordered_V[stays_V]
    return kept_V


def choose(logits_RV: Tensor, samplers: Sequence[Sampler]) -> list[int | Exception]:
    """The next token id of each answer: the plain ones at once, the others one by one.

    Where one cannot draw, as by a schema that allows nothing, the exception stands in its place.
    """
    if not samplers:
        return []
    chosen: list[int | Exception] = logits_RV.argmax(dim=1).tolist()
    for row, sampler in enumerate(samplers):
        if not sampler.plain:
            try:
                chosen[row] = sampler.draw(logits_RV[row])
            except Exception as error:
                chosen[row] = error
    return chosen


def logprobs_of(logits_V: Tensor, token: int, most: int, text_of: Callable[[int], str]) -> TokenLogprobs:
    """What the model itself held likely at one place, and how likely the token was that was drawn.

    Args:
        logits_V: the model's scores [V].
        token: the id that was drawn.
        most: how many of the most likely ones are told.
        text_of: the text of a token.
    """
    scores_V = torch.log_softmax(logits_V.detach().float(), dim=0)
    values, ids = (x.tolist() for x in scores_V.topk(min(most, scores_V.numel())))
    top = tuple(Likely(id_, text_of(id_), value) for id_, value in zip(ids, values, strict=True))
    return TokenLogprobs(Likely(token, text_of(token), float(scores_V[token])), top)
