"""What outlives a request: keys, budgets, the ledger and the log, in SQLite or PostgreSQL.

A `Database` is opened by URL and brought up to date by `upgrade`; everything else here is given
one. Nothing in this package waits for a database longer than it says.
"""

from __future__ import annotations

from one_api.storage.budgets import BudgetReport
from one_api.storage.database import Database
from one_api.storage.entries import Reservation, Settlement
from one_api.storage.journal import Journal
from one_api.storage.keys import KeySpec, KeyStore, StoredKey
from one_api.storage.ledger import Ledger
from one_api.storage.request_log import RequestLog
from one_api.storage.schema import current, upgrade
from one_api.storage.secret import key_secret
from one_api.storage.usage import UsageReport

__all__ = [
    "BudgetReport",
    "Database",
    "Journal",
    "KeySpec",
    "KeyStore",
    "Ledger",
    "RequestLog",
    "Reservation",
    "Settlement",
    "StoredKey",
    "UsageReport",
    "current",
    "key_secret",
    "upgrade",
]
