"""kiroproxy: the Anthropic and OpenAI APIs on a Kiro subscription. Read `relay.py` first."""

__version__ = "0.1.0"
