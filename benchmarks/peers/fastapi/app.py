"""The side port's two calls as a FastAPI service of the same design would have them.

Shards are PostgreSQL databases, chosen by the MD5 of the key; a Redis in front is filled by reads and emptied by
writes. Everything that makes such a service fast is switched on: uvloop and httptools (see the command line in
benchmarks/runner/servers.py), pools, statements prepared once, no transaction around a single statement, a Redis
parser in C, and answers that Pydantic writes as JSON itself. It keeps no promises beyond that: a read that overlaps
with a write may leave the older value in the cache.
"""

import os
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from hashlib import md5

from fastapi import FastAPI, HTTPException, Request
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel
from redis.asyncio import Redis

CACHE_TTL_S = 300

TABLE = """
CREATE TABLE IF NOT EXISTS kv (
    key text PRIMARY KEY,
    value text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
)"""

# Workers start at once, and CREATE TABLE IF NOT EXISTS alone may fail when two do it together.
LOCK = "SELECT pg_advisory_xact_lock(1)"

SELECT = "SELECT value, created_at, updated_at FROM kv WHERE key = %s"

UPSERT = """
INSERT INTO kv (key, value) VALUES (%s, %s)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = now()"""


class Row(BaseModel):
    """What the cache has."""

    value: str
    created_at: datetime
    updated_at: datetime


class Write(BaseModel):
    key: str
    value: str


class Written(BaseModel):
    success: bool = True
    key: str
    shard_id: int
    message: str


class Read(BaseModel):
    success: bool = True
    key: str
    value: str
    created_at: datetime
    updated_at: datetime
    from_cache: bool
    shard_id: int


@asynccontextmanager
async def connections(app):
    async with AsyncExitStack() as stack:
        app.state.shards = [await stack.enter_async_context(pool(url)) for url in shard_urls()]
        app.state.cache = await stack.enter_async_context(Redis.from_url(os.environ["REDIS_URL"]))
        for shard in app.state.shards:
            async with shard.connection() as connection, connection.transaction():
                await connection.execute(LOCK)
                await connection.execute(TABLE)
        yield


def shard_urls():
    urls = []
    while url := os.environ.get(f"SHARD_{len(urls)}_URL"):
        urls.append(url)
    return urls


def pool(url):
    # prepare_threshold 0: a statement is prepared when it is first used, and not when it was used some times.
    return AsyncConnectionPool(
        url, min_size=2, max_size=10, open=False, kwargs={"autocommit": True, "prepare_threshold": 0}
    )


app = FastAPI(lifespan=connections)


def shard_of(key, shards):
    return int.from_bytes(md5(key.encode()).digest()) % len(shards)


@app.post("/write")
async def write(body: Write, request: Request) -> Written:
    state = request.app.state
    shard_id = shard_of(body.key, state.shards)
    async with state.shards[shard_id].connection() as connection:
        await connection.execute(UPSERT, (body.key, body.value))
    await state.cache.delete(body.key)
    return Written(key=body.key, shard_id=shard_id, message=f"Data written successfully to shard {shard_id}")


@app.get("/read/{key:path}")
async def read(key: str, request: Request) -> Read:
    state = request.app.state
    shard_id = shard_of(key, state.shards)
    cached = await state.cache.get(key)
    if cached is not None:
        row = Row.model_validate_json(cached)
        return answer(key, row, shard_id, from_cache=True)
    async with state.shards[shard_id].connection() as connection:
        found = await (await connection.execute(SELECT, (key,))).fetchone()
    if found is None:
        raise HTTPException(404, "Key not found")
    row = Row(value=found[0], created_at=found[1], updated_at=found[2])
    await state.cache.set(key, row.model_dump_json(), ex=CACHE_TTL_S)
    return answer(key, row, shard_id, from_cache=False)


def answer(key, row, shard_id, *, from_cache):
    return Read(
        key=key,
        value=row.value,
        created_at=row.created_at,
        updated_at=row.updated_at,
        from_cache=from_cache,
        shard_id=shard_id,
    )
