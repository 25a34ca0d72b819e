"""Measuring: questions with true answers, rules that score them, intervals, and the baselines beside."""

from pumice.evaluate.measure import measure
from pumice.evaluate.predictor import MEAN_GREY, Predictor, Prompt, blind, wrong_image
from pumice.evaluate.questions import Question, QuestionSet, by_picture, read_questions
from pumice.evaluate.run import Variant, evaluate, model_digest, standard_variants
from pumice.evaluate.samples import Benchmark, Loaded, Sample, Scorer
from pumice.evaluate.scores import Scores, read_scores
from pumice.evaluate.table import pope_table, scores_table

__all__ = [
    "MEAN_GREY",
    "Benchmark",
    "Loaded",
    "Predictor",
    "Prompt",
    "Question",
    "QuestionSet",
    "Sample",
    "Scorer",
    "Scores",
    "Variant",
    "blind",
    "by_picture",
    "evaluate",
    "measure",
    "model_digest",
    "pope_table",
    "read_questions",
    "read_scores",
    "scores_table",
    "standard_variants",
    "wrong_image",
]
