"""Answers: the engine, generation without a thread, chat sessions."""

from pumice.infer.engine.requests import PromptTooLong
from pumice.infer.generate import Completion, Ended, Generator, Request
from pumice.infer.pictures import ImageSource
from pumice.infer.sampling import GREEDY, Sampling
from pumice.infer.session import ChatSession, Turn

__all__ = [
    "GREEDY",
    "ChatSession",
    "Completion",
    "Ended",
    "Generator",
    "ImageSource",
    "PromptTooLong",
    "Request",
    "Sampling",
    "Turn",
]
