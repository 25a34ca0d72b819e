"""Which jobs there are: kinds, scenes, languages, pairs of pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pumice.generate.prompt import area
from pumice.generate.protocol import SceneText
from pumice.generate.spec import Spec
from pumice.generate.work import Job, numbered


@dataclass(frozen=True)
class Plan:
    """All jobs, by scene and in order.

    Attributes:
        scenes: what is known of each picture.
        kinds: what is written, in the order in which it is written.
        shares: by kind, the share of scenes it is written for.
        languages: each kind is written in each.
        seed: which scenes a share falls on.
        shard: which part of the scenes the jobs are about, from 0. What a job asks does not hang on it: pairs
            and shares are drawn among all scenes.
        shards: how many parts there are; each is a stretch of neighbours.
    """

    scenes: Sequence[SceneText]
    kinds: tuple[Spec, ...]
    shares: Mapping[str, float]
    languages: tuple[str, ...] = ("en",)
    seed: int = 0
    shard: int = 0
    shards: int = 1

    @property
    def places(self) -> range:
        """Where the scenes of this part stand among all."""
        total = len(self.scenes)
        return range(total * self.shard // self.shards, total * (self.shard + 1) // self.shards)

    def jobs(self) -> Iterator[Job]:
        """All jobs, those of a scene together, in the order of the scenes."""
        for group in self.groups():
            yield from group

    def groups(self) -> Iterator[list[Job]]:
        """The jobs of each scene; a pair's stand with its first picture."""
        partners = pairs(self.scenes) if any(spec.pictures == 2 for spec in self.kinds) else {}
        for place in self.places:
            scene = self.scenes[place]
            yield [
                job
                for spec in self.kinds
                if self._chosen(scene, spec)
                for job in self._of(scene, partners.get(place), spec)
            ]

    def passed_over(self) -> dict[str, int]:
        """By kind, how many scenes have nothing of what it is made from."""
        scenes = [self.scenes[place] for place in self.places]
        return {spec.name: sum(not spec.fits(scene) for scene in scenes) for spec in self.kinds}

    def _of(self, scene: SceneText, partner: int | None, spec: Spec) -> Iterator[Job]:
        if not spec.fits(scene):
            return
        scenes: tuple[SceneText, ...] = (scene,)
        if spec.pictures == 2:
            if partner is None or not spec.fits(self.scenes[partner]):
                return
            scenes = (scene, self.scenes[partner])
        for language in self.languages:
            job = Job(spec, scenes, language, len(self.languages) > 1)
            if spec.form not in ("describe", "locate") or numbered(job):
                yield job

    def _chosen(self, scene: SceneText, spec: Spec) -> bool:
        share = self.shares[spec.name]
        if share >= 1:
            return True
        rng = np.random.default_rng([self.seed, *scene.id.encode(), *f"share of {spec.name}".encode()])
        return bool(rng.random() < share)


def pairs(scenes: Sequence[SceneText]) -> dict[int, int]:
    """For half of the scenes, another that shows the same kinds of things, by place; each is in one pair.

    Scenes of exactly the same kinds are paired first, then those with the same largest thing, then those
    that have at least a thing in common, the rarest first; what is left is paired in order. So a comparison
    has something to go by.
    """
    kinds = [sorted({one.category for one in scene.instances}) for scene in scenes]
    often = Counter(kind for of in kinds for kind in of)
    left = sorted(range(len(scenes)), key=lambda n: (kinds[n], scenes[n].captions[:1], n))
    found: dict[int, int] = {}

    def pair(alike: Sequence[int]) -> None:
        for one, other in zip(alike[::2], alike[1::2], strict=False):
            if scenes[one].image != scenes[other].image:
                found[min(one, other)] = max(one, other)

    def remaining() -> list[int]:
        taken = {*found, *found.values()}
        return [n for n in left if n not in taken]

    for alike in _by(left, lambda n: tuple(kinds[n])):
        pair(alike)
    left = remaining()
    for alike in _by(left, lambda n: _largest(scenes[n])):
        pair(alike)
    left = remaining()
    having: dict[str, list[int]] = {}
    for n in left:
        for kind in kinds[n]:
            having.setdefault(kind, []).append(n)
    taken: set[int] = set()
    for kind in sorted(having, key=lambda kind: (often[kind], kind)):
        pair(alike := [n for n in having[kind] if n not in taken])
        taken.update(n for n in alike if n in found)
        taken.update(found[n] for n in alike if n in found)
    pair(remaining())
    return found


def _by(places: Sequence[int], key: Callable[[int], Any]) -> Iterable[list[int]]:
    """Places with the same key together; those whose key is empty stand with nobody."""
    alike: dict[Any, list[int]] = {}
    for n in places:
        if found := key(n):
            alike.setdefault(found, []).append(n)
    return alike.values()


def _largest(scene: SceneText) -> str:
    """The kind of the largest thing; empty where there is none."""
    return max(scene.instances, key=lambda one: area(one.box)).category if scene.instances else ""
