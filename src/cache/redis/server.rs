//! Which servers can be used as the cache, and how a connection to one is made.

use std::io;

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, InfoDict, RedisError, cmd};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::names::{NOTHING, SCHEME};
use super::reply_scanner::{Element, element};
use super::settle::load_script;
use crate::tls::{RedisStream, RedisTarget};
use crate::view::Instance;

/// `SET … NX GET`, GETEX and INFO of several sections are there from this major version on.
const VERSION_MIN: u32 = 7;
/// Commands that may wait for one connection's task; the crate's default of 50 also limits how many
/// it sends with one write.
const CONNECTION_QUEUE: usize = 1024;

/// Makes a connection, to whatever server that is.
pub(super) async fn dial(target: &RedisTarget) -> Result<MultiplexedConnection, String> {
    let config = AsyncConnectionConfig::new()
        // Each step has its own limit.
        .set_response_timeout(None)
        .set_connection_timeout(None)
        .set_pipeline_buffer_size(CONNECTION_QUEUE);
    let connection = target.connect(config).await;
    connection.map_err(|error| error.to_string())
}

/// Makes a connection that can be used, and tells where it leads.
pub(super) async fn connect(
    target: &RedisTarget,
) -> Result<(MultiplexedConnection, Instance), String> {
    let text = |error: RedisError| error.to_string();
    let mut connection = dial(target).await?;
    let info: InfoDict = cmd("INFO")
        .query_async(&mut connection)
        .await
        .map_err(text)?;
    let instance = check(&info)?;
    load_script(&mut connection).await.map_err(text)?;
    // A write that changes nothing: a Redis that can't save, or lacks replicas, refuses all of them.
    cmd("UNLINK")
        .arg(NOTHING)
        .query_async::<()>(&mut connection)
        .await
        .map_err(text)?;
    Ok((connection, instance))
}

/// Makes a connection for lookups alone, which the redis crate has no part in, and tells where it
/// leads.
pub(super) async fn connect_for_lookups(
    target: &RedisTarget,
) -> Result<(Box<dyn RedisStream>, Instance), String> {
    let mut stream = target.open().await.map_err(|error| error.to_string())?;
    let settings = target.settings();
    let mut commands = Vec::new();
    if let Some(password) = settings.password() {
        let mut auth = cmd("AUTH");
        auth.arg(settings.username()).arg(password);
        commands.push(auth);
    }
    if settings.db() != 0 {
        let mut select = cmd("SELECT");
        select.arg(settings.db());
        commands.push(select);
    }
    let mut info = cmd("INFO");
    info.arg("server").arg("replication");
    commands.push(info);
    let mut answer = None;
    for command in commands {
        let sent = stream.write_all(&command.get_packed_command()).await;
        sent.map_err(|error| error.to_string())?;
        stream.flush().await.map_err(|error| error.to_string())?;
        answer = receive(&mut stream)
            .await
            .map_err(|error| error.to_string())?;
    }
    let text = answer.ok_or("it does not answer INFO")?;
    let instance = master(&InfoDict::new(&String::from_utf8_lossy(&text)))?;
    Ok((stream, instance))
}

/// One answer: its text, if it has one.
async fn receive(stream: &mut Box<dyn RedisStream>) -> io::Result<Option<Bytes>> {
    let mut buffer = BytesMut::new();
    loop {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match element(&buffer, 0)? {
            None => {}
            Some((Element::Bulk(text), _)) => return Ok(Some(buffer.freeze().slice(text))),
            Some((Element::Error(text), _)) => {
                let text = String::from_utf8_lossy(&buffer[text]).into_owned();
                return Err(io::Error::other(text));
            }
            Some(_) => return Ok(None),
        }
    }
}

/// Whether this server can be used, and which it is.
pub(super) fn check(info: &InfoDict) -> Result<Instance, String> {
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
        .map(|instance| instance.with_names(SCHEME))
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
        let a = "a".repeat(40);
        let other_names = Instance::of_redis(&a, &a).unwrap();
        assert_ne!(one, other_names, "who calls entries otherwise sees another");
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
