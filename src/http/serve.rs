//! The connections of the side port: how many there may be, and how long they may wait for what.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::access;
use super::anteroom::Anteroom;
use super::error::ApiError;
use super::page::{Facts, Live};
use super::patience::Patience;
use super::{Limits, Token, router};
use crate::engine::Engine;
use crate::tls::{Doors, Knock, Refused};

/// Connections at a time. More than people and monitors need; who calls often keeps one open.
const CONNECTIONS_MAX: usize = 2048;

/// How long a new connection may take to the end of the head of its first request. Short, as whoever connects and says
/// nothing takes the place of a probe.
const FIRST_HEAD_MAX: Duration = Duration::from_secs(5);

/// How long a connection may be without another request, and how long the head of one may take to arrive.
const HEAD_MAX: Duration = Duration::from_secs(30);

/// How long a client may take nothing of an answer.
const READ_MAX: Duration = Duration::from_secs(30);

/// A pause after a failed accept. Usually file descriptors have run out, and it fails at once again.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Connections beyond them that are heard for the sake of probes.
const ANTEROOM_SIZE: usize = 64;

/// What is answered there to everything else.
const TOO_MANY: &str = "too many connections; try again, or close one";

/// What is sent to who speaks HTTP to the port of HTTPS.
const FOR_PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n\
Content-Length: 41\r\nConnection: close\r\n\r\n\
{\"detail\":\"this port speaks HTTPS only\"}\n";

/// Serves the side port until `shutdown`; then stops accepting, finishes the requests that have
/// begun, and returns. How long that may take is the caller's decision.
///
/// # Errors
///
/// A listener can't be moved to the runtime of the caller.
pub async fn serve(
    doors: Doors,
    engine: Arc<Engine>,
    limits: Limits,
    token: Arc<Token>,
    facts: Facts,
    shutdown: CancellationToken,
) -> io::Result<()> {
    // From the runtime that made them to this one.
    let doors = doors.moved_here()?;
    let live = Arc::new(Live::new(Arc::clone(&engine), facts, shutdown.clone()));
    let port = Arc::new(Port {
        router: router(Arc::clone(&engine), limits, token, Arc::clone(&live)),
        engine,
        shutdown,
    });
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let anteroom = Arc::new(Anteroom::new(ANTEROOM_SIZE));
    let connections = TaskTracker::new();
    // It ends with the port.
    connections.spawn(async move { live.run().await });
    loop {
        let accepted = tokio::select! {
            () = port.shutdown.cancelled() => break,
            accepted = doors.accept() => accepted,
        };
        let (knock, client) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept failed on the HTTP port");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let port = Arc::clone(&port);
        match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => connections.spawn(async move {
                let _place = place;
                port.admit(knock, client, Answers::Everything).await;
            }),
            Err(_) => {
                let guest = anteroom.enter();
                connections.spawn(async move {
                    tokio::select! {
                        () = port.admit(knock, client, Answers::Probes) => {}
                        () = guest.is_sent_away() => {}
                    }
                })
            }
        };
    }
    drop(doors);
    connections.close();
    connections.wait().await;
    Ok(())
}

/// What connections share.
struct Port {
    router: Router,
    engine: Arc<Engine>,
    shutdown: CancellationToken,
}

/// What a connection may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answers {
    Everything,
    /// One of the probes, once.
    Probes,
}

impl Port {
    async fn admit(&self, knock: Knock, client: SocketAddr, answers: Answers) {
        // An answer is one small write: Nagle's algorithm could only delay it.
        if let Err(error) = knock.stream().set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set on an HTTP connection");
        }
        match knock {
            Knock::Plain(stream) => self.converse(stream, client, answers).await,
            Knock::Tls(stream, tls) => {
                let accepted = tokio::select! {
                    accepted = tls.accept(stream, FOR_PLAIN) => accepted,
                    () = self.shutdown.cancelled() => return,
                };
                let metrics = self.engine.metrics();
                match accepted {
                    Ok(stream) => {
                        metrics.tls_connections.add(1);
                        Box::pin(self.converse(stream, client, answers)).await;
                    }
                    Err(reason) => {
                        tls.note_refused(client, &reason);
                        metrics.tls_refused.add(1);
                        if let Refused::Plain = reason {
                            metrics.tls_refused_plain.add(1);
                        }
                    }
                }
            }
        }
    }

    async fn converse(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        client: SocketAddr,
        answers: Answers,
    ) {
        let has_asked = Notify::new();
        let router = TowerToHyperService::new(self.router.clone());
        let answer = service_fn(|request: Request<Incoming>| {
            has_asked.notify_one();
            let is_heard =
                answers == Answers::Everything || access::PUBLIC.contains(&request.uri().path());
            let answer = is_heard.then(|| router.call(request));
            async {
                match answer {
                    Some(answer) => answer.await,
                    None => Ok(ApiError::busy(TOO_MANY).into_response()),
                }
            }
        });
        let is_silent = async {
            let asked = tokio::time::timeout(FIRST_HEAD_MAX, has_asked.notified()).await;
            if asked.is_ok() {
                std::future::pending::<()>().await;
            }
        };
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_MAX)
            .keep_alive(answers == Answers::Everything)
            .serve_connection(TokioIo::new(Patience::new(stream, READ_MAX)), answer);
        let mut serving = pin!(serving);
        let served = tokio::select! {
            served = serving.as_mut() => served,
            () = is_silent => {
                tracing::debug!(%client, "an HTTP connection ended: no request came");
                return;
            }
            () = self.shutdown.cancelled() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = served {
            tracing::debug!(%client, %error, "an HTTP connection ended");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fixed_answer_has_the_length_that_it_says() {
        let text = std::str::from_utf8(FOR_PLAIN).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())),
            "{text}"
        );
        serde_json::from_str::<serde_json::Value>(body).unwrap();
    }
}
