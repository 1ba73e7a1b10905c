//! A server that is made a replica, and a master again.

use std::time::Duration;

use tokio::time::sleep;

use super::{Server, assert_over, called, fill, get, lost, reached, session, value};
use crate::cache::Unavailable;
use crate::cache::tests::name;
use crate::cache::{RedisSession, Token};

/// Makes the server the replica of one that is not there, so that it keeps what it has.
async fn demote(server: &Server) {
    let nowhere = ["REPLICAOF", "127.0.0.1", "1"];
    server.run_command::<()>(&nowhere).await;
}

async fn promote(server: &Server) {
    server.run_command::<()>(&["REPLICAOF", "NO", "ONE"]).await;
}

/// A server that has been demoted since the session was made, and holds the values of `keys`.
async fn demoted(keys: &[&str]) -> (Server, RedisSession) {
    let server = Server::start(&[]);
    let session = session(&server.cache().await);
    for key in keys {
        fill(&session, key, 1).await;
    }
    demote(&server).await;
    for key in keys {
        let found: Vec<u8> = server.run_command(&["GET", &called(key)]).await;
        assert!(!found.is_empty(), "a GET would find {key}");
    }
    (server, session)
}

#[tokio::test]
async fn a_demoted_server_answers_no_get_of_one_key() {
    let (_server, session) = demoted(&["a"]).await;
    assert_eq!(session.get(&[name("a")]).await, Err(Unavailable));
    assert_over(&session).await;
}

#[tokio::test]
async fn a_demoted_server_answers_no_get_of_many_keys() {
    let (_server, session) = demoted(&["a", "b", "c"]).await;
    let names = ["a", "b", "c"].map(name);
    assert_eq!(session.get(&names).await, Err(Unavailable));
    assert_over(&session).await;
}

#[tokio::test]
async fn a_demoted_server_gives_no_lease_and_does_no_fin() {
    let (_server, session) = demoted(&[]).await;
    let lease = session.lease(&[name("a")], Token(1)).await;
    assert_eq!(lease, Err(Unavailable));
    let (_server, session) = demoted(&["a"]).await;
    assert_eq!(session.fin(&[name("a")]).await, Err(Unavailable));
}

#[tokio::test]
async fn a_replica_is_not_used_and_is_another_instance_afterwards() {
    let server = Server::start(&[]);
    let cache = server.cache().await;
    let before = reached(&cache).await;
    let old = session(&cache);
    fill(&old, "k", 1).await;
    demote(&server).await;
    // Without a step: it is asked for its role.
    lost(&cache).await;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(cache.sight().cache, None);
    assert_over(&old).await;

    promote(&server).await;
    assert_ne!(reached(&cache).await, before);
    assert!(cache.session(before).is_none());
    assert_over(&old).await;
    assert_eq!(get(&session(&cache), "k").await, value(1));
}

#[tokio::test]
async fn a_server_that_was_a_replica_between_two_questions_is_another_instance() {
    let server = Server::start(&[]);
    let cache = server.cache().await;
    let before = reached(&cache).await;
    let old = session(&cache);
    demote(&server).await;
    promote(&server).await;
    assert_eq!(get(&old, "k").await, None, "nobody has noticed");
    lost(&cache).await;
    assert_ne!(reached(&cache).await, before);
    assert_over(&old).await;
}
