"""Pretraining of the tiny CLIP: captions against pictures, phrases against regions.

Three losses, as in region-aware contrastive pretraining:
  caption   the pooled picture against its caption, within the batch (CLIP)
  phrase    the last layer's patch at an object's centre against the object's phrase
  words     layer -2 (the one LLaVA reads) of every patch of an object against the object's words,
            whether an object's centre lies in the patch, and where in the picture the object is (for
            background the patch): left to itself the tower forgets places, and no language model can
            answer where a thing is
The heads of the third loss are thrown away; what is saved is a plain transformers CLIPModel.

Shapes: N pictures, P patches, V tower width, E embedding width, T caption tokens, K phrases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

from pumice.world import pretraining
from pumice.world.pictures import ATTRIBUTES, Pool
from pumice.world.scene import CHARACTERS, COLOURS, SHAPES, SIDE, SIGN, SIZES

WEIGHTS = {"words": 1.0, "place": 4.0, "caption": 0.5, "phrase": 0.5}
"""What each loss counts."""

PLACE_NEAR = 0.05
"""Error of a read place, as a share of the picture's side, under which it counts as right."""

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, slots=True)
class TowerPlan:
    """Sizes and schedule of the tower's pretraining."""

    patch: int = 14
    width: int = 144
    layers: int = 6
    heads: int = 4
    mlp: int = 432
    text_width: int = 96
    text_layers: int = 2
    embed: int = 96
    batch: int = 128
    steps: int = 4000
    warmup: int = 200
    lr: float = 1.5e-3
    weight_decay: float = 0.05
    seed: int = 0
    contrast_every: int = 4
    save_every: int = 500

    @property
    def grid(self) -> int:
        """Patches per side."""
        return SIDE // self.patch


def all_phrases() -> list[str]:
    """Every phrase a region can have: objects, then ``sign``, then characters."""
    objects = [f"{s} {c} {h}" for s in SIZES for c in COLOURS for h in SHAPES]
    return [*objects, SIGN, *CHARACTERS]


def phrase_numbers(classes_CA: np.ndarray) -> np.ndarray:
    """Numbers in ``all_phrases`` of what stands at objects' centres.

    Args:
        classes_CA: int8 [C, 4], the classes of those patches (``pictures.patch_classes``).

    Returns:
        int64 [C].
    """
    classes = classes_CA.astype(np.int64)
    number = (classes[:, 0] * len(COLOURS) + classes[:, 1]) * len(SHAPES) + classes[:, 2]
    # Without a size it is a sign; its centre may belong to one of its characters (no shape either).
    number[classes[:, 0] < 0] = len(SIZES) * len(COLOURS) * len(SHAPES)
    assert (number >= 0).all()
    return number


def build_clip(plan: TowerPlan, tokenizer: PreTrainedTokenizerFast) -> CLIPModel:
    """An untrained CLIPModel of the plan's sizes."""
    config = CLIPConfig(
        projection_dim=plan.embed,
        vision_config={
            "hidden_size": plan.width,
            "intermediate_size": plan.mlp,
            "num_hidden_layers": plan.layers,
            "num_attention_heads": plan.heads,
            "image_size": SIDE,
            "patch_size": plan.patch,
            "projection_dim": plan.embed,
        },
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": plan.text_width,
            "intermediate_size": plan.text_width * 3,
            "num_hidden_layers": plan.text_layers,
            "num_attention_heads": plan.text_width // 32,
            "max_position_embeddings": 96,
            "projection_dim": plan.embed,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
    )
    config._attn_implementation = "eager"  # the quicker one for bf16 on CPUs
    torch.manual_seed(plan.seed)
    return CLIPModel(config)


class WordHeads(nn.Module):
    """Linear readings of a normalised patch feature: each attribute, centre or not, and its place."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.words = nn.ModuleDict({name: nn.Linear(width, len(v)) for name, v in ATTRIBUTES.items()})
        self.center = nn.Linear(width, 1)
        self.place = nn.Linear(width, 2)

    def forward(self, patches_NPV: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Logits per attribute [N,P,classes] and of centre [N,P], and x and y in 0..1 [N,P,2]."""
        normed = self.norm(patches_NPV)
        words = {n: head(normed) for n, head in self.words.items()}
        return words, self.center(normed).squeeze(-1), self.place(normed)


def pixels_to_input(pixels_NHWC: np.ndarray) -> Tensor:
    """uint8 pictures to CLIP's normalised float32 [N,3,H,W]."""
    x = torch.from_numpy(np.ascontiguousarray(pixels_NHWC)).permute(0, 3, 1, 2).float().div_(255)
    return (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def _contrast(a_NE: Tensor, b_NE: Tensor, scale: Tensor) -> Tensor:
    logits = scale.exp().clamp(max=100) * F.normalize(a_NE, dim=-1) @ F.normalize(b_NE, dim=-1).T
    target = torch.arange(len(a_NE))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


class TowerTrainer(pretraining.Trainer):
    """A tower in training; every step is a function of the seed and its number."""

    NAME, UNIT, FLOOR = "tower", "pictures", 0.0
    FIGURES = tuple(WEIGHTS)

    def __init__(self, plan: TowerPlan, tokenizer: PreTrainedTokenizerFast, pool: Pool) -> None:
        self.plan, self.tokenizer, self.pool = plan, tokenizer, pool
        self.clip = build_clip(plan, tokenizer)
        self.heads = WordHeads(plan.width)
        self.phrases = tokenizer(all_phrases(), padding=True, return_tensors="pt")
        super().__init__(plan, {"pictures": len(pool)}, {"clip": self.clip, "heads": self.heads})

    def _word_loss(self, logits: dict[str, Tensor], center_NP: Tensor, rows: np.ndarray) -> Tensor:
        classes_NPA = torch.from_numpy(self.pool.classes[rows].astype(np.int64))
        centers_NP = torch.from_numpy(self.pool.centers[rows])
        # Background patches learn only that they are no centre: nothing else is asked of them.
        weight_NP = torch.where(centers_NP, 4.0, 1.0)
        loss = F.binary_cross_entropy_with_logits(center_NP.float(), centers_NP.float(), weight_NP) * 2
        for column, (name, logit_NPC) in enumerate(logits.items()):
            target_NP = classes_NPA[..., column]
            known = target_NP >= 0
            if known.any():
                part = F.cross_entropy(logit_NPC[known].float(), target_NP[known])
                loss = loss + part * (0.5 if name == "size" else 1.0)
        return loss

    def _place_loss(self, place_NP2: Tensor, rows: np.ndarray) -> Tensor:
        # Absolute, not squared: what is asked later is on which side of a line a thing lies, so small
        # errors must still count.
        off_NP = (place_NP2.float() - torch.from_numpy(self.pool.places[rows])).abs().sum(dim=-1)
        weight_NP = torch.where(torch.from_numpy(self.pool.shown(rows)), 1.0, 0.2)
        return (off_NP * weight_NP).sum() / weight_NP.sum()

    def _phrase_loss(self, last_NPV: Tensor, rows: np.ndarray) -> Tensor:
        centers = self.pool.centers[rows]
        number = phrase_numbers(self.pool.classes[rows][centers])
        wanted, target = np.unique(number, return_inverse=True)
        text = self.clip.get_text_features(
            input_ids=self.phrases["input_ids"][wanted], attention_mask=self.phrases["attention_mask"][wanted]
        )
        text_KE = text if isinstance(text, Tensor) else text.pooler_output
        regions = last_NPV[torch.from_numpy(centers)]
        regions = self.clip.visual_projection(self.clip.vision_model.post_layernorm(regions))
        scale = self.clip.logit_scale.exp().clamp(max=100)
        logits = scale * F.normalize(regions, dim=-1) @ F.normalize(text_KE, dim=-1).T
        return F.cross_entropy(logits.float(), torch.from_numpy(target))

    def _rows(self, step: int) -> tuple[np.random.Generator, np.ndarray]:
        """The generator of a step, and the pictures that it drew."""
        rng = np.random.default_rng([self.plan.seed, 1, step])
        return rng, np.sort(rng.integers(0, len(self.pool), self.plan.batch))

    def drawn(self, step: int) -> list[str]:
        """Numbers of pictures in the pool."""
        return [f"picture {row}" for row in self._rows(step)[1]]

    def losses(self, step: int) -> dict[str, Tensor]:
        """The losses of one step, before weighting."""
        rng, rows = self._rows(step)
        x = pixels_to_input(self.pool.pixels[rows])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = self.clip.vision_model(pixel_values=x, output_hidden_states=True)
            logits, center, place = self.heads(out.hidden_states[-2][:, 1:])
            result = {
                "words": self._word_loss(logits, center, rows),
                "place": self._place_loss(place, rows),
            }
            if step % self.plan.contrast_every == 0:
                texts = [self.pool.captions[r][int(rng.integers(5))] for r in rows]
                tokens = self.tokenizer(
                    texts, padding=True, truncation=True, max_length=96, return_tensors="pt"
                )
                text = self.clip.get_text_features(
                    input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
                )
                text_NE = text if isinstance(text, Tensor) else text.pooler_output
                image_NE = self.clip.visual_projection(out.pooler_output)
                result["caption"] = _contrast(image_NE.float(), text_NE.float(), self.clip.logit_scale)
                result["phrase"] = self._phrase_loss(out.last_hidden_state[:, 1:], rows)
        return result

    def gradients(self, step: int) -> dict[str, float]:
        """Those of the weighted sum; returns it, its parts, and how many pictures were seen."""
        parts = self.losses(step)
        total = sum((WEIGHTS[name] * loss for name, loss in parts.items()), start=torch.zeros(()))
        torch.autograd.backward(total)
        told = {name: float(loss.detach()) for name, loss in parts.items()}
        return {"loss": float(total.detach()), **told, "pictures": float(self.plan.batch)}

    @torch.no_grad()
    def accuracy(self, pool: Pool, count: int = 512) -> dict[str, float]:
        """Share of right readings at object centres (characters: every patch) on other pictures."""
        x = pixels_to_input(pool.pixels[:count])
        hits: dict[str, float] = {}
        features = torch.cat(
            [
                self.clip.vision_model(pixel_values=part, output_hidden_states=True).hidden_states[-2][:, 1:]
                for part in torch.split(x, 128)
            ]
        )
        logits, center, place = self.heads(features)
        centers = torch.from_numpy(pool.centers[:count])
        classes = torch.from_numpy(pool.classes[:count].astype(np.int64))
        for column, (name, logit) in enumerate(logits.items()):
            known = classes[..., column] >= 0
            if name != "character":
                known &= centers
            hits[name] = (logit[known].argmax(-1) == classes[..., column][known]).float().mean().item()
        hits["center"] = ((center > 0) == centers).all(dim=1).float().mean().item()
        off = (place - torch.from_numpy(pool.places[:count])).abs().amax(dim=-1)[centers]
        hits["place"] = (off < PLACE_NEAR).float().mean().item()
        return hits


def run(
    trainer: TowerTrainer,
    held_out: Pool,
    work: Path,
    report: Callable[[int, int, dict[str, float]], None],
    stop: Callable[[], bool],
) -> dict[str, float]:
    """As ``pretraining.run``; returns accuracies on all pictures held out."""
    pretraining.run(trainer, work, lambda: trainer.accuracy(held_out), report, stop)
    return trainer.accuracy(held_out, len(held_out))
