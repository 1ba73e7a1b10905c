"""What a program that uses the asyncio side of redis-py (or valkey-py, its fork) does with its server.

    python check_asyncio.py MODULE HOST PORT [--pure-python] [--cacert FILE [--cert FILE --key FILE]] [SECTION ...]

Every section is run over RESP2 and RESP3. The server is emptied.
"""

import asyncio
import importlib

from common import ANY_BYTES, arguments, run_sections, secured

options = arguments()
library = importlib.import_module(options.module)
asynchronous = importlib.import_module(f"{options.module}.asyncio")
Client = getattr(asynchronous, "Redis", None) or asynchronous.Valkey
ResponseError = library.exceptions.ResponseError
WatchError = library.exceptions.WatchError


async def connect(client, new):
    assert await client.ping()
    assert await client.client_id() > 0
    assert (await client.info())["redis_version"].startswith("7.")
    async with new(client_name="worker", decode_responses=True) as named:
        assert await named.client_getname() == "worker"


async def errors(client, new):
    await client.set("word", "one")
    for command, text in [
        (["NOSUCH"], "unknown command 'NOSUCH'"),
        (["GET"], "wrong number of arguments for 'get' command"),
        (["INCR", "word"], "value is not an integer or out of range"),
        (["SET", "word", "two", "PX", "0"], "invalid expire time in 'set' command"),
    ]:
        try:
            await client.execute_command(*command)
        except ResponseError as error:
            assert text in str(error), error
        else:
            raise AssertionError(f"{command} got no error")
    assert await client.get("word") == b"one"


async def strings(client, new):
    assert await client.set("key", "value", ex=100)
    assert await client.get("key") == b"value"
    assert await client.get("nosuch") is None
    assert 90 < await client.ttl("key") <= 100
    assert await client.append("key", "s") == 6
    assert await client.getdel("key") == b"values"
    assert await client.exists("key") == 0


async def binary(client, new):
    await client.set(ANY_BYTES, ANY_BYTES * 4096)
    assert await client.get(ANY_BYTES) == ANY_BYTES * 4096


async def expiry(client, new):
    await client.set("long", "x", px=100_000)
    assert 90_000 < await client.pttl("long") <= 100_000
    await client.set("short", "x", px=60)
    await asyncio.sleep(0.08)
    assert await client.get("short") is None and await client.ttl("short") == -2


async def counters(client, new):
    # Over as many connections as there are tasks.
    await asyncio.gather(*[client.incr("n") for _ in range(20)])
    assert await client.get("n") == b"20"
    assert await client.incrbyfloat("f", 1.5) == 1.5


async def many(client, new):
    assert await client.mset({f"key:{n}": n for n in range(100)})
    assert await client.mget("key:1", "nosuch", "key:99") == [b"1", None, b"99"]


async def pipeline(client, new):
    pipe = client.pipeline(transaction=False)
    for n in range(100):
        pipe.set(f"key:{n}", n).get(f"key:{n}")
    answers = await pipe.execute()
    assert answers[1::2] == [b"%d" % n for n in range(100)]


async def transaction(client, new):
    async with client.pipeline(transaction=True) as pipe:
        assert await pipe.set("key", "1").incr("key").get("key").execute() == [True, 2, b"2"]


async def watch(client, new):
    await client.set("sum", 0)

    async def add():
        async with client.pipeline() as pipe:
            while True:
                try:
                    await pipe.watch("sum")
                    now = int(await pipe.get("sum"))
                    pipe.multi()
                    await pipe.set("sum", now + 1).execute()
                    return
                except WatchError:
                    continue

    await asyncio.gather(*[add() for _ in range(10)])
    assert await client.get("sum") == b"10"


async def scan(client, new):
    await client.mset({f"user:{n}": n for n in range(1000)})
    await client.set("other", "x")
    found = [key async for key in client.scan_iter(match="user:*", count=100)]
    assert set(found) == {b"user:%d" % n for n in range(1000)}


async def pubsub(client, new):
    async with client.pubsub(ignore_subscribe_messages=True) as listener:
        await listener.subscribe("news")
        await listener.psubscribe("sport.*")
        # Its confirmation is the last of what subscribing answers.
        for _ in range(2):
            assert await listener.get_message(timeout=30) is None
        await client.publish("news", ANY_BYTES)
        await client.publish("sport.chess", "e4")
        got = []
        async for message in listener.listen():
            got.append((message["type"], message["channel"], message["data"]))
            if len(got) == 2:
                break
        # Two channels have no order between them.
        assert sorted(got) == [
            ("message", b"news", ANY_BYTES),
            ("pmessage", b"sport.chess", b"e4"),
        ]


SECTIONS = [
    connect,
    errors,
    strings,
    binary,
    expiry,
    counters,
    many,
    pipeline,
    transaction,
    watch,
    scan,
    pubsub,
]


def main():
    for protocol in (2, 3):

        def new(**more):
            return Client(host=options.host, port=options.port, protocol=protocol, socket_timeout=30, **secured(options), **more)

        async def run(section):
            async with new() as client:
                await client.flushdb()
                await section(client, new)

        run_sections(
            f"{options.module}.asyncio {library.__version__}, RESP{protocol}",
            SECTIONS,
            options.sections,
            lambda section: asyncio.run(run(section)),
        )


main()
