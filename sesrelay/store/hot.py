"""The statements of the hot path: each does its work for a whole batch, whatever its size, on one table.

They are text, made once for each number of rows, and run on the driver's own cursor. The two databases differ in how
many rows reach a statement (``_rows``) and in a few words; ``hot_sqlite`` and ``hot_postgres`` have those. Rows are
plain tuples in the order of the columns named here, sorted by primary key by the caller, so that two processes never
wait for each other crosswise. Nothing here knows what the values mean.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Float, Integer, LargeBinary, SmallInteger, Table, Text

from sesrelay.model.clock import Micros
from sesrelay.store import schema

Row = tuple[Any, ...]
Rows = Sequence[Row]

MESSAGE_COLUMNS: Final = (
    "message_id", "account_id", "region", "origin", "access_key_id", "mail_from", "header_from", "subject",
    "accepted_at", "recipient_count", "segment", "body_offset", "body_length", "body_crc32", "header_length",
    "eight_bit", "hops", "body_hash", "tags",
)  # fmt: skip
RECIPIENT_COLUMNS: Final = (
    "message_id", "number", "account_id", "address", "domain", "state", "attempts", "claimed_by", "due_at", "sequence",
    "changed_at",
)  # fmt: skip
COUNTERS: Final = (
    "accepted", "sent", "captured", "delivered", "bounced", "suppressed", "rejected", "expired", "cancelled",
    "hard_bounces", "complaints",
)  # fmt: skip
"""Of the statistics, in the order of their rows."""
SETTLE_COLUMNS: Final = (
    ("message_id", "bytea"), ("number", "int"), ("state", "smallint"), ("attempts", "int"), ("held", "smallint"),
    ("in_doubt", "smallint"), ("due_at", "bigint"), ("smtp_response", "text"), ("bounce_type", "text"),
    ("bounce_sub_type", "text"), ("sequence", "int"),
)  # fmt: skip
"""``attempts`` is what is added: 0, or -1 for what was no attempt; ``sequence`` is that of the claim."""
CLAIM_COLUMNS: Final = (
    "r.message_id, r.number, r.address, r.domain, r.account_id, r.attempts, r.in_doubt, m.region, m.origin, "
    "m.mail_from, m.header_from, m.accepted_at, m.eight_bit, m.hops, m.header_length, m.segment, m.body_offset, "
    "m.body_length, m.body_crc32, r.sequence"
)

_ACCOUNT_REGION: Final = (("account_id", "text"), ("region", "text"))
_RECIPIENT: Final = (("message_id", "bytea"), ("number", "int"))
_CLAIM: Final = (*_RECIPIENT, ("sequence", "int"))
_MINUTE_COLUMNS: Final = (*_ACCOUNT_REGION, ("minute", "bigint"), ("recipients", "bigint"))
_LANE_COLUMNS: Final = (("domain", "text"), ("account_id", "text"), ("due_at", "bigint"))
_LIMIT_COLUMNS: Final = (
    *_ACCOUNT_REGION, ("tokens", "bigint"), ("token_at", "bigint"), ("used_24_hours", "bigint"),
    ("used_minute", "bigint"),
)  # fmt: skip
_STATISTICS_COLUMNS: Final = (*_ACCOUNT_REGION, ("quarter", "bigint"), *((name, "bigint") for name in COUNTERS))
_ADD_COUNTERS: Final = "SET " + ", ".join(f"{name} = statistics.{name} + excluded.{name}" for name in COUNTERS)

_TYPES: Final = {LargeBinary: "bytea", Text: "text", Float: "float8", SmallInteger: "smallint", Integer: "bigint"}


@lru_cache(maxsize=64)
def column_types(table: Table, names: tuple[str, ...]) -> tuple[str, ...]:
    """PostgreSQL's names of the types of a table's columns."""
    return tuple(next(_TYPES[kind] for kind in _TYPES if isinstance(table.c[name].type, kind)) for name in names)


@lru_cache(maxsize=64)
def _names_and_types(columns: tuple[tuple[str, str], ...]) -> tuple[str, tuple[str, ...]]:
    return ", ".join(name for name, _ in columns), tuple(kind for _, kind in columns)


class Hot(ABC):
    """The statements on one connection, inside a transaction that somebody else began."""

    least: str
    """The function that takes the smaller of two values."""
    lock: str
    """What makes a SELECT take its rows' locks."""
    skip_locked: str
    """The same, but passing over rows that another transaction has."""

    def __init__(self) -> None:
        self.statements = 0
        """How many were run on this connection; counted by tests and told to operators."""

    @abstractmethod
    def run(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Runs one statement with ``?`` for each parameter; its rows, if it gives any."""

    @abstractmethod
    def _rows(self, types: tuple[str, ...], count: int) -> str:
        """The SQL that stands for ``count`` rows of these types."""

    @abstractmethod
    def _flat(self, rows: Rows) -> list[Any]:
        """The parameters that belong to ``_rows``."""

    def _insert(self, table: Table, columns: tuple[str, ...], rows: Rows, tail: str = "") -> None:
        if rows:
            source = self._rows(column_types(table, columns), len(rows))
            self.run(f"INSERT INTO {table.name} ({', '.join(columns)}) {source}{tail}", self._flat(rows))

    def _with(self, columns: tuple[tuple[str, str], ...], rows: Rows) -> str:
        """``WITH v (…) AS (the rows)``; columns are (name, type)."""
        names, types = _names_and_types(columns)
        return f"WITH v ({names}) AS ({self._rows(types, len(rows))}) "

    # Gather

    def lock_limits(self, keys: Rows) -> list[Row]:
        """Locks the rows of (account, region): key, opened, facts_version, tokens, token_at, used, used_minute."""
        return self.run(
            self._with(_ACCOUNT_REGION, keys)
            + "SELECT a.account_id, a.region, a.opened, a.facts_version, a.tokens, a.token_at, a.used_24_hours, "
            "a.used_minute FROM account_regions a JOIN v ON a.account_id = v.account_id AND a.region = v.region "
            f"ORDER BY a.account_id, a.region {self.lock}",
            self._flat(keys),
        )

    def sum_minutes(self, keys: Rows, first_minute: int) -> list[Row]:
        """(account, region, recipients since that minute) of those that have any."""
        return self.run(
            self._with(_ACCOUNT_REGION, keys)
            + "SELECT s.account_id, s.region, sum(s.recipients) FROM v JOIN sent_minutes s "
            "ON s.account_id = v.account_id AND s.region = v.region WHERE s.minute >= ? GROUP BY 1, 2",
            [*self._flat(keys), first_minute],
        )

    def take_minutes_after(self, keys: Rows, minute: int) -> list[Row]:
        """Deletes the minutes after that one; (account, region, recipients) of each."""
        return self.run(
            self._with(_ACCOUNT_REGION, keys) + "DELETE FROM sent_minutes WHERE (account_id, region) IN "
            "(SELECT account_id, region FROM v) AND minute > ? RETURNING account_id, region, recipients",
            [*self._flat(keys), minute],
        )

    def find_invocations(self, keys: Rows) -> list[Row]:
        """(access key, invocation id, request hash, message id) of those that are known."""
        return self.run(
            self._with((("access_key_id", "text"), ("invocation_id", "text")), keys)
            + "SELECT i.access_key_id, i.invocation_id, i.request_hash, i.message_id FROM v JOIN idempotency i "
            "ON i.access_key_id = v.access_key_id AND i.invocation_id = v.invocation_id",
            self._flat(keys),
        )

    def take_outbox(self, ids: Rows) -> set[int]:
        """Deletes outbox rows; the ids of those that were there."""
        rows = self.run(
            self._with((("outbox_id", "bigint"),), ids)
            + "DELETE FROM outbox WHERE outbox_id IN (SELECT outbox_id FROM v) RETURNING outbox_id",
            self._flat(ids),
        )
        return {row[0] for row in rows}

    def find_key(self, access_key_id: str, region: str) -> Row | None:
        """(access key, account, user, status, master key, nonce, sealed secret, created_at) of a key, and the
        facts_version of its account in that region, NULL where there is none.
        """
        rows = self.run(
            "SELECT k.access_key_id, k.account_id, k.user_name, k.status, k.master_key_id, k.nonce, k.secret, "
            "k.created_at, a.facts_version FROM access_keys k LEFT JOIN account_regions a "
            "ON a.account_id = k.account_id AND a.region = ? WHERE k.access_key_id = ?",
            (region, access_key_id),
        )
        return rows[0] if rows else None

    def known_messages(self, ids: Rows) -> set[bytes]:
        """Those of the message ids that are in the database."""
        rows = self.run(
            self._with((("message_id", "bytea"),), ids)
            + "SELECT m.message_id FROM messages m JOIN v ON m.message_id = v.message_id",
            self._flat(ids),
        )
        return {bytes(row[0]) for row in rows}

    def known_history(self, keys: Rows) -> int:
        """How many of (message, number, sequence, at) stand in the history."""
        columns = (("message_id", "bytea"), ("number", "int"), ("sequence", "int"), ("at", "bigint"))
        rows = self.run(
            self._with(columns, keys) + "SELECT count(*) FROM history h JOIN v ON h.message_id = v.message_id "
            "AND h.number = v.number AND h.sequence = v.sequence AND h.at = v.at",
            self._flat(keys),
        )
        return int(rows[0][0])

    # Apply: accept

    def insert_bodies(self, rows: Rows) -> None:
        """(message, chunk, content)."""
        self._insert(schema.bodies, ("message_id", "chunk", "content"), rows)

    def delete_bodies(self, messages: Rows) -> None:
        """Of messages that were never accepted."""
        self.run(
            self._with((("message_id", "bytea"),), messages)
            + "DELETE FROM bodies WHERE message_id IN (SELECT message_id FROM v)",
            self._flat(messages),
        )

    def insert_messages(self, rows: Rows) -> None:
        """In the order of MESSAGE_COLUMNS."""
        self._insert(schema.messages, MESSAGE_COLUMNS, rows)

    def insert_recipients(self, rows: Rows) -> None:
        """In the order of RECIPIENT_COLUMNS."""
        self._insert(schema.recipients, RECIPIENT_COLUMNS, rows)

    def insert_invocations(self, rows: Rows) -> None:
        """(access key, invocation id, request hash, message, created_at)."""
        columns = ("access_key_id", "invocation_id", "request_hash", "message_id", "created_at")
        self._insert(schema.idempotency, columns, rows)

    def store_limits(self, rows: Rows) -> None:
        """(account, region, tokens, token_at, used_24_hours, used_minute) of rows that are locked."""
        if len(rows) == 1:  # as in nearly every batch; a join would take four times as long
            account_id, region, *values = rows[0]
            self.run(
                "UPDATE account_regions SET tokens = ?, token_at = ?, used_24_hours = ?, used_minute = ? "
                "WHERE account_id = ? AND region = ?",
                (*values, account_id, region),
            )
            return
        if not rows:
            return
        self.run(
            self._with(_LIMIT_COLUMNS, rows) + "UPDATE account_regions SET tokens = v.tokens, token_at = v.token_at, "
            "used_24_hours = v.used_24_hours, used_minute = v.used_minute FROM v "
            "WHERE account_regions.account_id = v.account_id AND account_regions.region = v.region",
            self._flat(rows),
        )

    def add_minutes(self, rows: Rows) -> None:
        """Adds (account, region, minute, recipients) to the minutes."""
        self._upsert(
            schema.sent_minutes,
            _MINUTE_COLUMNS,
            rows,
            3,
            "SET recipients = sent_minutes.recipients + excluded.recipients",
        )

    def add_statistics(self, rows: Rows) -> None:
        """Adds (account, region, quarter, …COUNTERS) to the statistics."""
        self._upsert(schema.statistics, _STATISTICS_COLUMNS, rows, 3, _ADD_COUNTERS)

    def raise_lanes(self, rows: Rows) -> None:
        """(domain, account, due_at): the lane exists and is due no later than that."""
        self._upsert(schema.lanes, _LANE_COLUMNS, rows, 2, f"SET due_at = {self.least}(lanes.due_at, excluded.due_at)")

    def _upsert(self, table: Table, columns: tuple[tuple[str, str], ...], rows: Rows, keys: int, update: str) -> None:
        if not rows:
            return
        names, _ = _names_and_types(columns)
        key, _ = _names_and_types(columns[:keys])
        # WHERE true: without it SQLite takes ON CONFLICT for a join's condition.
        self.run(
            f"{self._with(columns, rows)}INSERT INTO {table.name} ({names}) SELECT * FROM v WHERE true "
            f"ON CONFLICT ({key}) DO UPDATE {update}",
            self._flat(rows),
        )

    # Apply: settle

    def settle(self, claimed_by: int, now: Micros, rows: Rows) -> list[Row]:
        """Writes rows of SETTLE_COLUMNS where the claim is still ours; their (message, number, sequence)."""
        # The plus sign keeps the planner from walking over everything that we have claimed.
        return self.run(
            self._with(SETTLE_COLUMNS, rows) + "UPDATE recipients SET state = v.state, held = v.held, "
            "attempts = recipients.attempts + v.attempts, in_doubt = v.in_doubt, due_at = v.due_at, changed_at = ?, "
            "smtp_response = v.smtp_response, bounce_type = v.bounce_type, bounce_sub_type = v.bounce_sub_type, "
            "claimed_by = NULL, sequence = recipients.sequence + 1, deaths = 0 FROM v "
            "WHERE recipients.message_id = v.message_id AND recipients.number = v.number "
            "AND +recipients.claimed_by = ? AND recipients.sequence = v.sequence "
            "RETURNING recipients.message_id, recipients.number, recipients.sequence",
            [*self._flat(rows), now, claimed_by],
        )

    def insert_history(self, rows: Rows) -> None:
        """(message, number, sequence, at, kind, detail)."""
        self._insert(schema.history, ("message_id", "number", "sequence", "at", "kind", "detail"), rows)

    def insert_outbox(self, rows: Rows) -> None:
        """(kind, account, region, message, payload, created_at, due_at)."""
        columns = ("kind", "account_id", "region", "message_id", "payload", "created_at", "due_at")
        self._insert(schema.outbox, columns, rows)

    # The queue

    def due_lanes(self, now: Micros, limit: int) -> list[Row]:
        """(domain, account, deficit) of lanes that are due, the longest due first."""
        return self.run(
            "SELECT domain, account_id, deficit FROM lanes WHERE due_at <= ? ORDER BY due_at, domain, account_id "
            f"LIMIT ? {self.skip_locked}",
            (now, limit),
        )

    def waiting(self, lanes: Rows, now: Micros, limit: int) -> list[Row]:
        """CLAIM_COLUMNS of up to ``limit`` due recipients of each (domain, account), the longest due first."""
        one = (
            f"SELECT * FROM (SELECT {CLAIM_COLUMNS} FROM recipients r JOIN messages m ON m.message_id = r.message_id "
            "WHERE r.domain = ? AND r.account_id = ? AND r.due_at <= ? AND r.state = 0 AND r.claimed_by IS NULL "
            f"AND r.held = 0 ORDER BY r.due_at LIMIT ?{self._skip_locked_of('r')}) AS lane"
        )
        parameters = [value for lane in lanes for value in (lane[0], lane[1], now, limit)]
        return self.run(" UNION ALL ".join([one] * len(lanes)), parameters)

    def _skip_locked_of(self, table: str) -> str:
        return f" {self.skip_locked} OF {table}" if self.skip_locked else ""

    def held(self, accepted_before: Micros, limit: int) -> list[Row]:
        """CLAIM_COLUMNS of up to ``limit`` held recipients of messages that are older than that."""
        return self.run(
            f"SELECT {CLAIM_COLUMNS} FROM recipients r JOIN messages m ON m.message_id = r.message_id WHERE r.held = 1 "
            f"AND m.accepted_at <= ? ORDER BY r.account_id, r.domain LIMIT ?{self._skip_locked_of('r')}",
            (accepted_before, limit),
        )

    def claim(self, claimed_by: int, keys: Rows) -> None:
        """(message, number): ours from now on, and tried once more."""
        self.run(
            self._with(_RECIPIENT, keys)
            + "UPDATE recipients SET claimed_by = ?, held = 0, attempts = recipients.attempts + 1 FROM v "
            "WHERE recipients.message_id = v.message_id AND recipients.number = v.number",
            [*self._flat(keys), claimed_by],
        )

    def give_back(self, claimed_by: int, due_at: Micros, keys: Rows) -> list[Row]:
        """Unclaims (message, number, sequence) that are still ours, as if never tried; (domain, account) of each."""
        # The sequence goes on, although nothing is told: given back a second time it must not touch a newer claim.
        return self.run(
            self._with(_CLAIM, keys) + "UPDATE recipients SET claimed_by = NULL, attempts = recipients.attempts - 1, "
            "sequence = recipients.sequence + 1, due_at = ? FROM v "
            "WHERE recipients.message_id = v.message_id AND recipients.number = v.number AND "
            "+recipients.claimed_by = ? AND recipients.sequence = v.sequence "
            "RETURNING recipients.domain, recipients.account_id",
            [*self._flat(keys), due_at, claimed_by],
        )

    def release(self, dead: int, now: Micros, died: int, deaths: int, limit: int) -> list[Row]:
        """Unclaims what an incarnation had in hand; (message, number, sequence, domain, account, held) of each."""
        return self.run(
            "UPDATE recipients SET claimed_by = NULL, due_at = ?, changed_at = ?, sequence = sequence + 1, "
            "held = CASE WHEN deaths + ? >= ? THEN 1 ELSE held END, deaths = deaths + ? "
            "WHERE (message_id, number) IN (SELECT r.message_id, r.number FROM recipients r WHERE r.claimed_by = ? "
            f"ORDER BY r.message_id, r.number LIMIT ?{self._skip_locked_of('r')}) "
            "RETURNING message_id, number, sequence, domain, account_id, held",
            (now, now, died, deaths, died, dead, limit),
        )

    def refresh_lanes(self, now: Micros, lanes: Rows) -> None:
        """(domain, account, deficit): the lane goes behind the others that are due, or waits for its next recipient."""
        columns = (("domain", "text"), ("account_id", "text"), ("deficit", "bigint"))
        first = (
            "(SELECT min(r.due_at) FROM recipients r WHERE r.domain = lanes.domain AND r.account_id = lanes.account_id "
            "AND r.state = 0 AND r.claimed_by IS NULL AND r.held = 0)"
        )
        self.run(
            f"{self._with(columns, lanes)}UPDATE lanes SET due_at = {self.greatest}(coalesce({first}, 0), ?), "
            "deficit = v.deficit FROM v WHERE lanes.domain = v.domain AND lanes.account_id = v.account_id",
            [*self._flat(lanes), now],
        )

    def postpone_lanes(self, due_at: Micros, lanes: Rows) -> None:
        """(domain, account): nobody looks there before that time, whoever waits."""
        self.run(
            f"{self._with((('domain', 'text'), ('account_id', 'text')), lanes)}UPDATE lanes SET "
            f"due_at = {self.greatest}(lanes.due_at, ?) FROM v "
            "WHERE lanes.domain = v.domain AND lanes.account_id = v.account_id",
            [*self._flat(lanes), due_at],
        )

    def drop_empty_lanes(self, lanes: Rows) -> None:
        """(domain, account): gone unless somebody waits there."""
        self.run(
            self._with((("domain", "text"), ("account_id", "text")), lanes)
            + "DELETE FROM lanes WHERE EXISTS (SELECT 1 FROM v WHERE lanes.domain = v.domain "
            "AND lanes.account_id = v.account_id) AND NOT EXISTS (SELECT 1 FROM recipients r "
            "WHERE r.domain = lanes.domain AND r.account_id = lanes.account_id AND r.state = 0 "
            "AND r.claimed_by IS NULL AND r.held = 0)",
            self._flat(lanes),
        )

    greatest: str
    """The function that takes the larger of two values."""

    def next_due(self) -> Micros | None:
        """When the first lane is due."""
        return self.run("SELECT min(due_at) FROM lanes")[0][0]  # type: ignore[no-any-return]
