"""What a program that uses redis-py (or valkey-py, its fork) does with its server.

    python check_blocking.py MODULE HOST PORT [--pure-python] [--cacert FILE [--cert FILE --key FILE]] [SECTION ...]

Every section is run over the protocol that the library takes by default, and over the other of RESP2 and RESP3. The server
is emptied.
"""

import contextlib
import importlib
import threading
import time

from common import ANY_BYTES, arguments, run_sections, secured

options = arguments()
library = importlib.import_module(options.module)
# valkey-py has another parser in C, which is not installed.
in_c = options.module == "redis" and library.utils.HIREDIS_AVAILABLE
assert in_c == (options.module == "redis" and not options.pure_python)
Client = getattr(library, "Redis", None) or library.Valkey
ResponseError = library.exceptions.ResponseError
WatchError = library.exceptions.WatchError


def raises(error, call):
    """The error that the call raises."""
    try:
        call()
    except error as raised:
        return raised
    raise AssertionError(f"no {error.__name__}")


def connect(client, new):
    assert client.ping()
    assert client.echo("hello") == b"hello"
    assert client.client_id() > 0
    assert client.info()["redis_version"].startswith("7.")
    assert client.info("server")["tcp_port"] == options.port
    assert client.select(0)
    assert client.time()[0] > 1_700_000_000
    with new(client_name="worker", db=0, decode_responses=True, health_check_interval=1) as named:
        assert named.client_getname() == "worker"
        assert named.client_info()["name"] == "worker"
        assert "worker" in [other["name"] for other in named.client_list()]
    assert "maxmemory" in client.config_get("maxmemory")
    assert client.command_count() > 50


def errors(client, new):
    error = raises(ResponseError, lambda: client.execute_command("NOSUCH", "a"))
    assert "unknown command 'NOSUCH'" in str(error), error
    error = raises(ResponseError, lambda: client.execute_command("GET"))
    assert "wrong number of arguments for 'get' command" in str(error), error
    client.set("word", "one")
    error = raises(ResponseError, lambda: client.incr("word"))
    assert "value is not an integer or out of range" in str(error), error
    assert client.get("word") == b"one"


def strings(client, new):
    assert client.set("key", "välue") is True
    assert client.get("key") == "välue".encode()
    assert client.get("nosuch") is None
    assert client.set("key", "other", nx=True) is None
    assert client.set("nosuch", "other", xx=True) is None
    assert client.set("key", "second", get=True) == "välue".encode()
    assert client.getset("key", "third") == b"second"
    assert client.setnx("key", "x") is False
    assert client.append("key", " time") == 10
    assert client.strlen("key") == 10
    assert client.getrange("key", 0, 4) == b"third"
    assert client.setrange("key", 6, "part") == 10
    assert client.get("key") == b"third part"
    assert client.exists("key", "nosuch", "key") == 2
    assert client.type("key") == b"string"
    assert client.getdel("key") == b"third part"
    assert client.delete("key", "nosuch") == 0
    assert client.setbit("bits", 7, 1) == 0
    assert client.getbit("bits", 7) == 1
    assert client.bitcount("bits") == 1
    assert client.keys("bi*") == [b"bits"]
    assert client.unlink("bits") == 1
    with new(decode_responses=True) as decoding:
        decoding.set("key", "text")
        assert decoding.get("key") == "text"


def binary(client, new):
    key = b"\x00key\r\n" + ANY_BYTES
    big = ANY_BYTES * 4096
    for value in (b"", b"\r\n", ANY_BYTES, b"$-1\r\n", big):
        client.set(key, value)
        assert client.get(key) == value
    assert client.mget(key, "nosuch") == [big, None]
    assert list(client.scan_iter(match=b"\x00key*")) == [key]


def expiry(client, new):
    client.set("short", "x", px=60)
    client.set("long", "x", ex=1000)
    assert 990 < client.ttl("long") <= 1000
    assert 990_000 < client.pttl("long") <= 1_000_000
    assert client.ttl("nosuch") == -2
    assert client.expire("long", 2000) and client.ttl("long") > 1990
    assert client.expire("long", 1000, gt=True) is False
    assert client.persist("long") is True
    assert client.ttl("long") == -1
    at = int(time.time()) + 500
    assert client.expireat("long", at) and client.expiretime("long") == at
    assert client.getex("long", persist=True) == b"x" and client.ttl("long") == -1
    client.set("set", "y", ex=100)
    client.set("set", "z", keepttl=True)
    assert 90 < client.ttl("set") <= 100
    time.sleep(0.08)
    assert client.get("short") is None and client.exists("short") == 0


def counters(client, new):
    assert client.incr("n") == 1
    assert client.incrby("n", 41) == 42
    assert client.decr("n") == 41
    assert client.decrby("n", 50) == -9
    assert client.incrbyfloat("f", 0.25) == 0.25
    assert client.incrbyfloat("f", "1e2") == 100.25
    assert client.get("n") == b"-9" and client.get("f") == b"100.25"

    def count():
        with new() as own:
            for _ in range(10):
                own.incr("shared")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.get("shared") == b"40"


def many(client, new):
    assert client.mset({f"key:{n}": n for n in range(100)})
    assert client.mget([f"key:{n}" for n in range(101)]) == [b"%d" % n for n in range(100)] + [None]
    assert client.msetnx({"key:0": "x"}) is False
    assert client.msetnx({"fresh": "x"}) is True
    assert client.dbsize() == 101
    assert client.delete(*[f"key:{n}" for n in range(100)]) == 100


def pipeline(client, new):
    pipe = client.pipeline(transaction=False)
    for n in range(100):
        pipe.set(f"key:{n}", n)
        pipe.get(f"key:{n}")
    answers = pipe.execute()
    assert answers[::2] == [True] * 100
    assert answers[1::2] == [b"%d" % n for n in range(100)]
    for n in range(1000):
        pipe.set(f"key:{n}", -n)
    for n in range(1000):
        pipe.get(f"key:{n}")
    assert pipe.execute() == [True] * 1000 + [b"%d" % -n for n in range(1000)]
    with client.pipeline(transaction=False) as pipe:
        pipe.get("key:1").execute_command("NOSUCH").get("key:2")
        one, error, two = pipe.execute(raise_on_error=False)
    assert (one, two) == (b"-1", b"-2") and isinstance(error, ResponseError)


def transaction(client, new):
    with client.pipeline() as pipe:
        answers = pipe.set("key", "1").incr("key").get("key").expire("key", 100).ttl("key").execute()
    assert answers == [True, 2, b"2", True, 100]
    with client.pipeline(transaction=True) as pipe:
        pipe.set("key", "word").incr("key").append("key", "s")
        done, error, length = pipe.execute(raise_on_error=False)
    assert done is True and isinstance(error, ResponseError) and length == 5
    assert client.get("key") == b"words"
    # What can't be queued: nothing is done.
    with client.pipeline() as pipe:
        pipe.set("key", "x").execute_command("NOSUCH")
        raises(ResponseError, pipe.execute)
    assert client.get("key") == b"words"


def transaction_of_several_keys(client, new):
    keys = [f"key:{n}" for n in range(20)]
    pipe = client.pipeline()
    for key in keys:
        pipe.set(key, "x")
    try:
        assert pipe.execute() == [True] * 20
    except ResponseError as error:
        # Keys on different shards that can't commit together: then not one of them is written.
        assert "CROSSSHARD" in str(error), error
        assert client.exists(*keys) == 0
    else:
        assert client.exists(*keys) == 20


def watch(client, new):
    client.set("key", "1")
    with client.pipeline() as pipe, new() as other:
        pipe.watch("key")
        assert pipe.get("key") == b"1"
        other.set("key", "2")
        pipe.multi()
        pipe.set("key", "mine")
        raises(WatchError, pipe.execute)
        assert client.get("key") == b"2"

        pipe.watch("key")
        pipe.multi()
        assert pipe.set("key", "mine").execute() == [True]
        pipe.watch("key")
        other.set("key", "theirs")
        pipe.unwatch()
        pipe.multi()
        assert pipe.get("key").execute() == [b"theirs"]

    # Optimistic locking: everyone reads, calculates and writes back, and no step is lost.
    client.set("sum", 0)

    def add_one(pipe):
        now = int(pipe.get("sum"))
        pipe.multi()
        pipe.set("sum", now + 1)

    def add():
        with new() as own:
            for _ in range(5):
                own.transaction(add_one, "sum")

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.get("sum") == b"20"


def scan(client, new):
    client.mset({f"user:{n}": n for n in range(1000)})
    client.mset({f"other:{n}": n for n in range(10)})
    names = {b"user:%d" % n for n in range(1000)}
    assert set(client.scan_iter(match="user:*", count=100)) == names
    assert set(client.scan_iter(match="user:?", count=7)) == {b"user:%d" % n for n in range(10)}
    assert len(set(client.scan_iter())) == 1010
    assert set(client.scan_iter(_type="list")) == set()
    cursor, found = 0, set()
    while True:
        cursor, page = client.scan(cursor, match="other:*", count=50, _type="string")
        found.update(page)
        if cursor == 0:
            break
    assert found == {b"other:%d" % n for n in range(10)}
    assert client.randomkey() in names | found


def pubsub(client, new):
    with contextlib.closing(client.pubsub()) as listener:

        def read():
            message = listener.get_message(timeout=30)
            assert message is not None, "no message came"
            return message["type"], message["channel"], message["data"]

        listener.subscribe("news", "weather")
        assert read() == ("subscribe", b"news", 1)
        assert read() == ("subscribe", b"weather", 2)
        assert client.publish("news", ANY_BYTES) == 1
        assert read() == ("message", b"news", ANY_BYTES)
        listener.psubscribe("sport.*")
        assert read() == ("psubscribe", b"sport.*", 3)
        assert client.publish("sport.chess", "e4") == 1
        assert read() == ("pmessage", b"sport.chess", b"e4")
        listener.unsubscribe("news")
        assert read() == ("unsubscribe", b"news", 2)
        assert client.publish("news", "nobody hears it") == 0
        assert client.publish("weather", "rain") == 1
        assert read() == ("message", b"weather", b"rain")


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
    transaction_of_several_keys,
    watch,
    scan,
    pubsub,
]


def main():
    parser = "in C" if in_c else "in Python"
    # redis-py takes RESP3 since its release 8.
    takes_resp3 = options.module == "redis" and int(library.__version__.split(".")[0]) >= 8
    for protocol in ({}, {"protocol": 2 if takes_resp3 else 3}):

        def new(**more):
            return Client(host=options.host, port=options.port, socket_timeout=30, **protocol, **secured(options), **more)

        def run(section):
            with new() as client:
                client.flushdb()
                spoken = client.client_info()["resp"]
                assert spoken == str(protocol.get("protocol", 3 if takes_resp3 else 2))
                section(client, new)

        run_sections(f"{options.module} {library.__version__}, parser {parser}, {protocol}", SECTIONS, options.sections, run)


main()
