//! The commands of Redis 7 that are not served, each with the reason. Together with the
//! [table](super::table) they are all that Redis has, which a test holds against a real one.

const HASHES: &str = "hashes: values are strings; keep the fields under keys of their own";
const LISTS: &str = "lists: values are strings";
const SETS: &str = "sets: values are strings";
const SORTED_SETS: &str = "sorted sets: values are strings";
const STREAMS: &str = "streams: values are strings";
const GEO: &str = "geospatial indexes are sorted sets: values are strings";
const PROBABILISTIC: &str = "HyperLogLogs are not understood: values are strings";
const SCRIPTS: &str = "scripts and functions run where the data are, and those are in PostgreSQL";
const SORT: &str = "it sorts lists and sets: values are strings";
const DATABASES: &str = "there is one database";
const CLUSTER: &str = "it is for the nodes of a Redis Cluster; the proxy hides the shards";
const REPLICATION: &str = "the shards are replicated by PostgreSQL's own means";
const PERSISTENCE: &str = "every acknowledged write is on disk already";
const SHUTDOWN: &str = "the proxy is stopped by SIGTERM";
const MIGRATE: &str = "keys are where their MD5 puts them";
const DUMPS: &str = "their format is that of Redis' own files; GET, PTTL and SET carry the same";
const LOLWUT: &str = "there is no art";

/// Names and reasons, sorted by name.
pub const UNSUPPORTED: &[(&str, &str)] = &[
    ("asking", CLUSTER),
    ("bgrewriteaof", PERSISTENCE),
    ("bgsave", PERSISTENCE),
    ("blmove", LISTS),
    ("blmpop", LISTS),
    ("blpop", LISTS),
    ("brpop", LISTS),
    ("brpoplpush", LISTS),
    ("bzmpop", SORTED_SETS),
    ("bzpopmax", SORTED_SETS),
    ("bzpopmin", SORTED_SETS),
    ("dump", DUMPS),
    ("eval", SCRIPTS),
    ("eval_ro", SCRIPTS),
    ("evalsha", SCRIPTS),
    ("evalsha_ro", SCRIPTS),
    ("failover", REPLICATION),
    ("fcall", SCRIPTS),
    ("fcall_ro", SCRIPTS),
    ("function", SCRIPTS),
    ("geoadd", GEO),
    ("geodist", GEO),
    ("geohash", GEO),
    ("geopos", GEO),
    ("georadius", GEO),
    ("georadius_ro", GEO),
    ("georadiusbymember", GEO),
    ("georadiusbymember_ro", GEO),
    ("geosearch", GEO),
    ("geosearchstore", GEO),
    ("hdel", HASHES),
    ("hexists", HASHES),
    ("hget", HASHES),
    ("hgetall", HASHES),
    ("hincrby", HASHES),
    ("hincrbyfloat", HASHES),
    ("hkeys", HASHES),
    ("hlen", HASHES),
    ("hmget", HASHES),
    ("hmset", HASHES),
    ("hrandfield", HASHES),
    ("hscan", HASHES),
    ("hset", HASHES),
    ("hsetnx", HASHES),
    ("hstrlen", HASHES),
    ("hvals", HASHES),
    ("lindex", LISTS),
    ("linsert", LISTS),
    ("llen", LISTS),
    ("lmove", LISTS),
    ("lmpop", LISTS),
    ("lolwut", LOLWUT),
    ("lpop", LISTS),
    ("lpos", LISTS),
    ("lpush", LISTS),
    ("lpushx", LISTS),
    ("lrange", LISTS),
    ("lrem", LISTS),
    ("lset", LISTS),
    ("ltrim", LISTS),
    ("migrate", MIGRATE),
    ("move", DATABASES),
    ("pfadd", PROBABILISTIC),
    ("pfcount", PROBABILISTIC),
    ("pfdebug", PROBABILISTIC),
    ("pfmerge", PROBABILISTIC),
    ("pfselftest", PROBABILISTIC),
    ("psync", REPLICATION),
    ("replconf", REPLICATION),
    ("replicaof", REPLICATION),
    ("restore", DUMPS),
    ("restore-asking", CLUSTER),
    ("rpop", LISTS),
    ("rpoplpush", LISTS),
    ("rpush", LISTS),
    ("rpushx", LISTS),
    ("sadd", SETS),
    ("save", PERSISTENCE),
    ("scard", SETS),
    ("script", SCRIPTS),
    ("sdiff", SETS),
    ("sdiffstore", SETS),
    ("shutdown", SHUTDOWN),
    ("sinter", SETS),
    ("sintercard", SETS),
    ("sinterstore", SETS),
    ("sismember", SETS),
    ("slaveof", REPLICATION),
    ("smembers", SETS),
    ("smismember", SETS),
    ("smove", SETS),
    ("sort", SORT),
    ("sort_ro", SORT),
    ("spop", SETS),
    ("srandmember", SETS),
    ("srem", SETS),
    ("sscan", SETS),
    ("sunion", SETS),
    ("sunionstore", SETS),
    ("swapdb", DATABASES),
    ("sync", REPLICATION),
    ("xack", STREAMS),
    ("xadd", STREAMS),
    ("xautoclaim", STREAMS),
    ("xclaim", STREAMS),
    ("xdel", STREAMS),
    ("xgroup", STREAMS),
    ("xinfo", STREAMS),
    ("xlen", STREAMS),
    ("xpending", STREAMS),
    ("xrange", STREAMS),
    ("xread", STREAMS),
    ("xreadgroup", STREAMS),
    ("xrevrange", STREAMS),
    ("xsetid", STREAMS),
    ("xtrim", STREAMS),
    ("zadd", SORTED_SETS),
    ("zcard", SORTED_SETS),
    ("zcount", SORTED_SETS),
    ("zdiff", SORTED_SETS),
    ("zdiffstore", SORTED_SETS),
    ("zincrby", SORTED_SETS),
    ("zinter", SORTED_SETS),
    ("zintercard", SORTED_SETS),
    ("zinterstore", SORTED_SETS),
    ("zlexcount", SORTED_SETS),
    ("zmpop", SORTED_SETS),
    ("zmscore", SORTED_SETS),
    ("zpopmax", SORTED_SETS),
    ("zpopmin", SORTED_SETS),
    ("zrandmember", SORTED_SETS),
    ("zrange", SORTED_SETS),
    ("zrangebylex", SORTED_SETS),
    ("zrangebyscore", SORTED_SETS),
    ("zrangestore", SORTED_SETS),
    ("zrank", SORTED_SETS),
    ("zrem", SORTED_SETS),
    ("zremrangebylex", SORTED_SETS),
    ("zremrangebyrank", SORTED_SETS),
    ("zremrangebyscore", SORTED_SETS),
    ("zrevrange", SORTED_SETS),
    ("zrevrangebylex", SORTED_SETS),
    ("zrevrangebyscore", SORTED_SETS),
    ("zrevrank", SORTED_SETS),
    ("zscan", SORTED_SETS),
    ("zscore", SORTED_SETS),
    ("zunion", SORTED_SETS),
    ("zunionstore", SORTED_SETS),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table::find;

    #[test]
    fn the_names_are_sorted_and_none_is_served() {
        assert!(UNSUPPORTED.is_sorted_by(|a, b| a.0 < b.0));
        for (name, _) in UNSUPPORTED {
            assert!(find(name.as_bytes()).is_none(), "{name} is served");
        }
    }
}
