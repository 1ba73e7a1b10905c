"""What pgbench works on: plain tables with the columns, the fill factor and the indices of respgres's own."""

import random
import string

from . import generators
from .settings import KEYS, SHARDS, VALUE_BYTES

CLIENTS = 16
"""For each database, so 48 in all."""

# pgbench makes a number random, and PostgreSQL takes its digits for the bytes of the key: 16, as many as in
# `key:000000000000`, and no function is called to make them.
FIRST_KEY = 10**15

TABLE = """
CREATE TABLE {table} (
    key bytea PRIMARY KEY,
    long_key bytea,
    value bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    stamp bigint NOT NULL DEFAULT (random() * 9223372036854775806)::bigint + 1
) WITH (fillfactor = 90);
CREATE INDEX ON {table} (expires_at) WHERE expires_at IS NOT NULL"""

# In no order, as keys come.
FILL = """
INSERT INTO {table} (key, value)
SELECT convert_to(({first} + number)::text, 'UTF8'), convert_to('{value}', 'UTF8')
FROM generate_series(0, {rows} - 1) AS number ORDER BY random()"""

UPDATE = """
ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at,
    expires_at = excluded.expires_at, stamp = excluded.stamp;
"""

HUNDRED = 100


class PlainTables:
    """Three databases beside those of respgres, on the same server, each with a third of the keys."""

    def __init__(self, settings, postgres):
        self._settings = settings
        self._postgres = postgres
        self._scripts = settings.scratch()
        self.databases = postgres.databases("plain")
        # The same bytes in every row would not be what anybody stores, but it is what redis-benchmark does.
        self._value = "".join(random.choices(string.ascii_letters, k=VALUE_BYTES))
        self._rows = {}
        self.make("kv", KEYS)

    def make(self, table, rows):
        """A table of so many rows in all."""
        share = -(-rows // SHARDS)
        self._rows[table] = share
        for database in self.databases:
            fill = FILL.format(table=table, first=FIRST_KEY, rows=share, value=self._value)
            self._postgres.sql(database, TABLE.format(table=table), fill)
        self._postgres.settle(self.databases)

    def upsert(self, **options):
        """One row a statement, one statement a transaction."""
        return self._run("upsert", f"INSERT INTO kv (key, value) VALUES (:key, :value){UPDATE}", "kv", 1, **options)

    def upsert_hundred(self, **options):
        """A hundred random keys a statement; in their order, so that two statements can't deadlock, and each once,
        since a statement can't update a row twice."""
        keys = ", ".join(f":key{number}" for number in range(HUNDRED))
        rows = f"SELECT DISTINCT key, :value::bytea FROM unnest(ARRAY[{keys}]::bytea[]) AS key ORDER BY key"
        statement = f"INSERT INTO kv (key, value) {rows}{UPDATE}"
        return self._run("upsert-hundred", statement, "kv", HUNDRED, **options)

    def select(self, table, **options):
        return self._run("select", f"SELECT value FROM {table} WHERE key = :key;\n", table, 1, **options)

    def _run(self, name, statement, table, keys, *, clients=CLIENTS, databases=None, **options):
        names = ["key"] if keys == 1 else [f"key{number}" for number in range(keys)]
        last = FIRST_KEY + self._rows[table] - 1
        script = self._scripts / f"{name}.sql"
        script.write_text("".join(f"\\set {key} random({FIRST_KEY}, {last})\n" for key in names) + statement)
        return generators.pgbench(
            self._settings,
            self._postgres,
            databases or self.databases,
            script,
            clients=clients,
            variables=[("value", self._value)],
            **options,
        )
