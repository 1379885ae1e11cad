"""The tables, in words that SQLite and PostgreSQL share.

Times are milliseconds since 1970 (UTC), credits are whole billionths: sums are exact in any order,
and no engine's idea of dates or decimals comes into it. A text that may be missing is empty.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

METADATA = MetaData()


def _text(name: str, length: int = 200) -> Column[str]:
    return Column(name, String(length), nullable=False, server_default="")


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default="0")


schema_version = Table(
    "schema_version",
    METADATA,
    Column("version", Integer, primary_key=True, autoincrement=False),
    _count("at"),
)

marks = Table(
    "marks",
    METADATA,
    Column("name", String(64), primary_key=True),
    _count("value"),
)
"""Counters that move when something changes, for those who keep a copy."""

client_keys = Table(
    "client_keys",
    METADATA,
    Column("id", String(64), primary_key=True),
    _text("name"),
    _text("owner"),
    Column("hash", String(64), nullable=False, unique=True),
    _text("hint", 32),
    Column("allowed_groups", Text, nullable=False),
    Column("models", Text, nullable=False),
    Column("limits", Text, nullable=False),
    Column("budgets", Text, nullable=False),
    Column("disabled", Boolean, nullable=False),
    _count("created_at"),
    Column("expires_at", BigInteger),
    Column("last_used_at", BigInteger),
    _text("old_hash", 64),
    Column("old_until", BigInteger),
)

group_budgets = Table(
    "group_budgets",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("budgets", Text, nullable=False),
)

usage = Table(
    "usage",
    METADATA,
    Column("id", String(64), primary_key=True),
    _count("time"),
    _text("trace_id", 128),
    _text("key_id", 64),
    _text("group_name", 64),
    _count("credential_id"),
    _text("dialect", 32),
    _text("model_asked"),
    _text("model"),
    Column("status", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("first_event_s", Float),
    Column("duration_s", Float, nullable=False),
    _count("input_tokens"),
    _count("output_tokens"),
    _count("cache_read_tokens"),
    _count("cache_write_tokens"),
    _text("usage_source", 32),
    _count("credits_nano"),
    _text("stop_reason", 64),
    Column("streamed", Boolean, nullable=False),
    _text("client", 64),
    _text("error_type", 64),
    Index("usage_by_time", "time", "id"),
    Index("usage_by_key", "key_id", "time"),
    Index("usage_by_group", "group_name", "time"),
    Index("usage_by_trace", "trace_id"),
)

rollups = Table(
    "rollups",
    METADATA,
    Column("level", String(8), primary_key=True),
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("key_id", String(64), primary_key=True),
    Column("group_name", String(64), primary_key=True),
    Column("credential_id", BigInteger, primary_key=True, autoincrement=False),
    Column("model", String(200), primary_key=True),
    _count("requests"),
    _count("errors"),
    _count("input_tokens"),
    _count("output_tokens"),
    _count("cache_read_tokens"),
    _count("cache_write_tokens"),
    _count("credits_nano"),
    _count("duration_ms"),
    _count("first_event_ms"),
    _count("first_events"),
)

audit = Table(
    "audit",
    METADATA,
    Column("id", String(64), primary_key=True),
    _count("time"),
    _text("who"),
    _text("client", 64),
    _text("action", 64),
    _text("target"),
    Column("before", Text, nullable=False),
    Column("after", Text, nullable=False),
    Index("audit_by_time", "time", "id"),
)
