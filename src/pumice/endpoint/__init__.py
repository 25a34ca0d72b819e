"""Other people's models: asking an OpenAI-compatible server, and keeping what it said."""

from pumice.endpoint.attachment import Attachment, attach
from pumice.endpoint.cache import Cache, key_of
from pumice.endpoint.client import Endpoint
from pumice.endpoint.reply import Reply
from pumice.endpoint.request import Request

__all__ = ["Attachment", "Cache", "Endpoint", "Reply", "Request", "attach", "key_of"]
