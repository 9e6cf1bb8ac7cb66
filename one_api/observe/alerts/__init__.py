"""Telling the operator what goes wrong, and that it is over: once, off the path of requests."""

from __future__ import annotations

from one_api.observe.alerts.board import Alert, Board, BoardRules
from one_api.observe.alerts.desk import Desk, DeskOptions
from one_api.observe.alerts.news import KINDS, News

__all__ = ["KINDS", "Alert", "Board", "BoardRules", "Desk", "DeskOptions", "News"]
