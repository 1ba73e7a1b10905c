"""What a program that logs in with redis-py (or valkey-py) does: the users are those of `tests/it/access`.

    python check_access.py MODULE HOST PORT
"""

import importlib

from common import arguments

options = arguments()
library = importlib.import_module(options.module)
Client = getattr(library, "Redis", None) or library.Valkey
exceptions = library.exceptions


def raises(error, call):
    """The error that the call raises."""
    try:
        call()
    except error as raised:
        return raised
    raise AssertionError(f"no {error.__name__}")


def new(username, password, **options_of_client):
    return Client(options.host, options.port, username=username, password=password, decode_responses=True, **options_of_client)


protocols = (2, 3)
for protocol in protocols:
    with new("app", "app", protocol=protocol) as client:
        assert client.acl_whoami() == "app"
        assert client.set("app:1", "one")
        assert client.get("app:1") == "one"
        raises(exceptions.NoPermissionError, lambda: client.set("other", "one"))
        raises(exceptions.NoPermissionError, client.flushall)
        pipeline = client.pipeline(transaction=True)
        pipeline.set("app:2", "two").set("other", "two")
        raises(exceptions.ResponseError, pipeline.execute)
        assert client.get("app:2") is None
        assert client.delete("app:1") == 1
        subscriber = client.pubsub()
        subscriber.psubscribe("news.*")
        assert subscriber.get_message(timeout=10)["type"] == "psubscribe"
        subscriber.close()
    with new("app", "wrong", protocol=protocol) as client:
        raises(exceptions.AuthenticationError, client.ping)
    with new("admin", "admin", protocol=protocol) as client:
        assert "app" in client.acl_users()
        assert client.acl_getuser("reader")["enabled"] is True
        assert "user reader on" in " ".join(client.acl_list())
        assert client.acl_log(1)[0]["reason"] == "auth"
        assert client.acl_load()
    with new("reader", "reader", protocol=protocol) as client:
        assert client.get("app:1") is None
        raises(exceptions.NoPermissionError, lambda: client.set("app:1", "x"))
print(f"{options.module} {library.__version__}: {len(protocols)} sections passed")
