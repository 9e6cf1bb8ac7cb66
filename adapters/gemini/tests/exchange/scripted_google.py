"""What the scripted Google is asked for, and what it answers."""

from __future__ import annotations

from pathlib import Path

import orjson

from tests.scripted_upstream import Reply, json_reply

REPLIES = Path(__file__).parent.parent / "replies"
KEY = "AIza-scripted-key"
MODEL = "gemini-3.8-flash"
MODELS = "/v1beta/models"
TOOL = {"type": "function", "function": {"name": "get_weather"}}


def told(name: str, status: int = 200) -> Reply:
    return json_reply(status, orjson.loads((REPLIES / f"{name}.json").read_bytes()))
