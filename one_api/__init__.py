"""one_api: an OpenAI-compatible LLM gateway that people extend with `pip install`."""

__version__ = "0.1.0"
