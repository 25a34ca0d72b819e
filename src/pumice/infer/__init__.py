"""Answers: sampling, batched generation with shared picture prefixes, chat sessions."""

from pumice.infer.engine.requests import PromptTooLong
from pumice.infer.generate import Completion, Generator, Request
from pumice.infer.pictures import ImageSource
from pumice.infer.sampling import GREEDY, Sampling
from pumice.infer.session import ChatSession

__all__ = [
    "GREEDY",
    "ChatSession",
    "Completion",
    "Generator",
    "ImageSource",
    "PromptTooLong",
    "Request",
    "Sampling",
]
