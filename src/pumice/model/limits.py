"""What of a model transformers' LLaVA cannot say, and the card that tells a reader of the folder."""

from __future__ import annotations

from dataclasses import dataclass

from pumice.model.names import TRANSFORMERS_CONNECTOR
from pumice.model.quantized.forms import QUANTIZED
from pumice.model.quantized.language import form_of
from pumice.model.vlm import VisionLanguageModel


@dataclass(frozen=True, slots=True)
class Limit:
    """Something that plain transformers does not do as this model does.

    Attributes:
        tag: a short name, without blanks.
        what: a sentence about the model, without a full stop.
        refused: whether transformers must not load it: it would draw random weights or read other
            features. Otherwise it loads there and differs as the sentence says.
    """

    tag: str
    what: str
    refused: bool = True


def limits(model: VisionLanguageModel) -> tuple[Limit, ...]:
    """Everything of this model that transformers' layout has no place for."""
    own, tower = model.config, model.tower
    found = []
    form = form_of(model.lm)
    if form in QUANTIZED:
        found.append(Limit(form, f"The weights of its language model are quantised by Pumice ({form})"))
    if own.connector != TRANSFORMERS_CONNECTOR:
        found.append(
            Limit(
                own.connector,
                f"Its connector is {own.connector}; transformers' LLaVA has {TRANSFORMERS_CONNECTOR} alone",
            )
        )
    if len(tower.members) > 1:
        found.append(
            Limit("towers", f"It reads {len(tower.members)} vision towers at once: {_list(own.towers)}")
        )
    if own.scales:
        found.append(
            Limit("scales", f"It reads a picture at several scales (S2): {_list(own.scales)} pixels")
        )
    first = tower.members[0]
    if own.select_feature == "patch" and first.class_tokens > 1:
        found.append(
            Limit(
                "registers",
                f"It drops {first.class_tokens} class and register tokens; transformers drops one",
            )
        )
    if getattr(model.lm.get_output_embeddings(), "bias", None) is not None:
        found.append(Limit("head_bias", "The head of its language model has a bias"))
    if own.tiled and (own.aspect != "anyres" or own.merge_type != "spatial_unpad" or not own.newline):
        found.append(
            Limit(
                "tiles",
                f"It joins tiles by {own.aspect}, {own.merge_type}; transformers' LLaVA-NeXT has anyres, "
                "spatial_unpad alone",
            )
        )
    if own.newline and not own.tiled:
        found.append(Limit("newline", "It has an image_newline, but makes no tiles"))
    if getattr(model.lm.config, "final_logit_softcapping", None) is not None:
        found.append(
            Limit(
                "softcap",
                "Its language model caps the scores of tokens (final_logit_softcapping), which transformers' "
                "LLaVA leaves out: greedy answers are the same, probabilities are not",
                refused=False,
            )
        )
    if own.tiled and own.flavour == "original":
        found.append(
            Limit(
                "flavour",
                "It lays tiles out as the original LLaVA-NeXT does; transformers does so otherwise for small "
                "and for some odd shapes of pictures",
                refused=False,
            )
        )
    if own.tiled and own.multi_image == "pad":
        found.append(
            Limit(
                "multi_image",
                "Where a question shows several pictures, it sees each as one padded square; transformers "
                "cuts all of them into tiles",
                refused=False,
            )
        )
    if own.video is not None:
        found.append(
            Limit("video", "It also takes videos; transformers shows it pictures alone", refused=False)
        )
    return tuple(found)


def card(found: tuple[Limit, ...]) -> str:
    """``README.md`` of a checkpoint that plain transformers does not run as it is."""
    refused = any(limit.refused for limit in found)
    lead = (
        "This checkpoint lies in the layout of transformers' LLaVA, but transformers cannot run it as it was "
        "trained, and refuses its `projector_hidden_act`:"
        if refused
        else "This checkpoint loads in transformers' LLaVA. It differs there:"
    )
    points = "\n".join(f"- {limit.what}." for limit in found)
    return (
        f"# A Pumice checkpoint\n\n{lead}\n\n{points}\n\nLoad it with Pumice:\n\n"
        '```python\nimport pumice\n\nmodel, tokenizer, processor = pumice.load("THIS FOLDER")\n```\n'
    )


def _list(values: tuple[object, ...]) -> str:
    return ", ".join(str(value) for value in values)
