"""Models over HTTP: OpenAI's and Ollama's calls, for programs that are written for these.

Nothing here imports torch: the server answers ``/health`` before a model is in memory. What computes stands
behind the protocol in ``backend``.
"""
