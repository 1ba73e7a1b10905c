//! Which servers can be used as the cache, and how a connection to one is made.

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Client, InfoDict, RedisError, cmd};

use super::names::Names;
use super::settle::load_script;
use crate::view::Instance;

/// `SET … NX GET`, GETEX and INFO of several sections are there from this major version on.
const VERSION_MIN: u32 = 7;
/// Commands that may wait for one connection's task; the crate's default of 50 also limits how many
/// it sends with one write.
const CONNECTION_QUEUE: usize = 1024;

/// Makes a connection that can be used, and tells where it leads.
pub(super) async fn connect(
    client: &Client,
    names: &Names,
) -> Result<(MultiplexedConnection, Instance), String> {
    let config = AsyncConnectionConfig::new()
        // Each step has its own limit.
        .set_response_timeout(None)
        .set_connection_timeout(None)
        .set_pipeline_buffer_size(CONNECTION_QUEUE);
    let text = |error: RedisError| error.to_string();
    let mut connection = client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .map_err(text)?;
    let info: InfoDict = cmd("INFO")
        .query_async(&mut connection)
        .await
        .map_err(text)?;
    let instance = check(&info)?;
    load_script(&mut connection).await.map_err(text)?;
    // A write that changes nothing: a Redis that can't save, or lacks replicas, refuses all of them.
    cmd("UNLINK")
        .arg(&names.prefix[..])
        .query_async::<()>(&mut connection)
        .await
        .map_err(text)?;
    Ok((connection, instance))
}

/// Whether this server can be used, and which it is.
fn check(info: &InfoDict) -> Result<Instance, String> {
    let version: String = info.get("redis_version").unwrap_or_default();
    let major = version.split('.').next().and_then(|text| text.parse().ok());
    if major.is_none_or(|major: u32| major < VERSION_MIN) {
        return Err(format!(
            "it is version {version}; version {VERSION_MIN} or later is needed"
        ));
    }
    if info
        .get::<String>("loading")
        .is_some_and(|text| text != "0")
    {
        return Err("it is still loading its data".to_owned());
    }
    master(info)
}

/// Which master this is, by the sections `server` and `replication`.
///
/// The id of the replication changes at each promotion, and besides when the first replica is
/// attached and an hour after the last has gone: then the view changes without need, which costs no
/// more than a restart.
pub(super) fn master(info: &InfoDict) -> Result<Instance, String> {
    let field = |name| info.get::<String>(name).unwrap_or_default();
    if field("role") != "master" {
        return Err("it is a replica".to_owned());
    }
    Instance::of_redis(&field("run_id"), &field("master_replid"))
        .ok_or_else(|| "it does not tell its run_id and master_replid".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(fields: &[(&str, &str)]) -> InfoDict {
        let mut text = String::new();
        let a = "a".repeat(40);
        for (name, value) in [
            ("redis_version", "7.0.15"),
            ("run_id", &a),
            ("role", "master"),
            ("master_replid", &a),
            ("loading", "0"),
        ] {
            let other = fields.iter().find(|(other, _)| *other == name);
            let value = other.map_or(value, |(_, value)| value);
            text.push_str(&format!("{name}:{value}\r\n"));
        }
        InfoDict::new(&text)
    }

    #[test]
    fn an_instance_is_a_process_and_a_history() {
        let (b, one) = ("b".repeat(40), check(&info(&[])).unwrap());
        assert_eq!(check(&info(&[])), Ok(one));
        assert_ne!(check(&info(&[("run_id", &b)])), Ok(one));
        assert_ne!(check(&info(&[("master_replid", &b)])), Ok(one));
    }

    #[test]
    fn a_server_that_can_not_be_used_is_told_why() {
        for (field, value, reason) in [
            ("redis_version", "6.2.14", "version 7 or later"),
            ("redis_version", "", "version 7 or later"),
            ("loading", "1", "loading"),
            ("role", "slave", "replica"),
            ("run_id", "", "run_id"),
            ("master_replid", "?", "master_replid"),
        ] {
            let error = check(&info(&[(field, value)])).unwrap_err();
            assert!(error.contains(reason), "{field}: {error}");
        }
        assert!(check(&info(&[("redis_version", "10.0")])).is_ok());
    }
}
