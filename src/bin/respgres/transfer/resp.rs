//! Commands to a server that speaks RESP, in pipelines, and again if they failed in passing.
//!
//! Everything that is asked here may be asked twice: reads, and SETs of the same value.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{InfoDict, Pipeline, RedisError, RedisResult, Value};
use respgres::tls::RedisTarget;

use super::certificates::Options;
use super::connect;
use crate::failure::{Failure, failure};

/// How long a server may fail in passing before it is given up: a restart, or a failover, takes less.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

const PASSWORD_ADVICE: &str = "give the password with the URL, as in --to (or --from) redis://:PASSWORD@HOST:PORT or \
                               redis://USER:PASSWORD@HOST:PORT, or the URL from the environment with env:NAME";

/// Errors that say that the same may succeed a moment later.
const IN_PASSING: [&str; 11] = [
    "SHARDDOWN",
    "SHARDERR",
    "UNKNOWNOUTCOME",
    "BUSY",
    "LOADING",
    "TRYAGAIN",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "OOM",
    "MISCONF",
    "NOREPLICAS",
];

/// A server, and a connection to it that is made anew when it is lost.
pub struct Resp {
    target: RedisTarget,
    label: String,
    connection: tokio::sync::Mutex<Option<(u64, MultiplexedConnection)>>,
    connections: AtomicU64,
}

/// What a server says of itself.
pub struct Server {
    /// Another one after each start.
    pub run_id: String,
    /// Whether it is a respgres, whose cursors outlive its process.
    pub is_respgres: bool,
}

impl Resp {
    /// Connects once, so that a wrong address, password or certificate is told at once. `options` are those of the target.
    pub async fn open(target: RedisTarget, options: &Options) -> Result<Self, Failure> {
        let label = target.to_string();
        let problem = |error: &RedisError| {
            let advice = match options.advice(error) {
                _ if is_final(error) => PASSWORD_ADVICE.to_owned(),
                Some(advice) => advice,
                None => match target.is_secured() {
                    true => "is it running, and is that its port with TLS?".to_owned(),
                    false => {
                        "is it running, and is that its address? A port with TLS needs rediss://"
                            .to_owned()
                    }
                },
            };
            failure(format!("can't connect to {label}: {error}; {advice}"))
        };
        let mut connection = connect::connection(&target)
            .await
            .map_err(|error| problem(&error))?;
        let greeted: RedisResult<Value> = redis::cmd("PING").query_async(&mut connection).await;
        if let Err(error) = &greeted
            // Who may not ask that may all the same read.
            && error.code() != Some("NOPERM")
            && !is_in_passing(error)
        {
            return Err(problem(error));
        }
        Ok(Self {
            target,
            label,
            connection: tokio::sync::Mutex::new(Some((1, connection))),
            connections: AtomicU64::new(1),
        })
    }

    /// How it is called, without a password.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The database of the URL.
    pub fn database(&self) -> i64 {
        self.target.settings().db()
    }

    /// How many connections there have been: the server may be another one after the next.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Asks the server who it is.
    pub async fn server(&self) -> Result<Server, Failure> {
        let answer = self
            .one(|pipeline| {
                pipeline.cmd("INFO");
            })
            .await?
            .map_err(|error| failure(format!("{}: INFO: {error}", self.label)))?;
        let info = match answer {
            Value::BulkString(text) => InfoDict::new(&String::from_utf8_lossy(&text)),
            Value::VerbatimString { text, .. } => InfoDict::new(&text),
            other => {
                return Err(failure(format!("{}: INFO: {other:?}", self.label)));
            }
        };
        Ok(Server {
            run_id: info.get("run_id").unwrap_or_default(),
            is_respgres: info.get::<String>("respgres_version").is_some(),
        })
    }

    /// The answer to one command.
    pub async fn one(
        &self,
        build: impl Fn(&mut Pipeline),
    ) -> Result<Result<Value, RedisError>, Failure> {
        let mut answers = self.all(1, |pipeline, _| build(pipeline)).await?;
        answers
            .pop()
            .ok_or_else(|| failure(format!("{}: no answer", self.label)))
    }

    /// The answers to `count` commands in one pipeline; `build` adds the one at a position, once each time that it is
    /// asked.
    ///
    /// # Errors
    ///
    /// The server can't be reached, or has failed in passing for too long.
    pub async fn all(
        &self,
        count: usize,
        build: impl Fn(&mut Pipeline, usize),
    ) -> Result<Vec<RedisResult<Value>>, Failure> {
        let mut answers: Vec<Option<RedisResult<Value>>> = Vec::new();
        answers.resize_with(count, || None);
        let (mut last_progress, mut pause) = (Instant::now(), PAUSE_MIN);
        loop {
            let open: Vec<usize> = (0..count)
                .filter(|position| answers[*position].is_none())
                .collect();
            if open.is_empty() {
                return Ok(answers.into_iter().flatten().collect());
            }
            let mut pipeline = Pipeline::with_capacity(open.len());
            pipeline.ignore_errors();
            for position in &open {
                build(&mut pipeline, *position);
            }
            let problem = match self.send(&pipeline).await {
                Ok(came) => {
                    let mut problem = None;
                    for (position, answer) in open.into_iter().zip(came) {
                        match answer {
                            Err(error) if is_in_passing(&error) => problem = Some(error),
                            answer => {
                                answers[position] = Some(answer);
                                last_progress = Instant::now();
                            }
                        }
                    }
                    problem
                }
                Err(error) => Some(error),
            };
            let Some(problem) = problem else { continue };
            if is_final(&problem) || last_progress.elapsed() >= PATIENCE {
                return Err(failure(format!("{}: {problem}", self.label)));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn send(&self, pipeline: &Pipeline) -> RedisResult<Vec<RedisResult<Value>>> {
        let (number, mut connection) = self.connection().await?;
        let result = pipeline.query_async(&mut connection).await;
        if result.is_err() {
            let mut current = self.connection.lock().await;
            // Whoever noticed first has made another one already.
            if current.as_ref().is_some_and(|(known, _)| *known == number) {
                *current = None;
            }
        }
        result
    }

    async fn connection(&self) -> RedisResult<(u64, MultiplexedConnection)> {
        let mut current = self.connection.lock().await;
        if let Some(connection) = &*current {
            return Ok(connection.clone());
        }
        let connection = connect::connection(&self.target).await?;
        let number = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(current.insert((number, connection)).clone())
    }
}

fn is_in_passing(error: &RedisError) -> bool {
    error.code().is_some_and(|code| IN_PASSING.contains(&code))
}

/// Whether there is no use in asking again.
fn is_final(error: &RedisError) -> bool {
    matches!(error.kind(), redis::ErrorKind::AuthenticationFailed)
        || error
            .code()
            .is_some_and(|code| ["NOAUTH", "WRONGPASS"].contains(&code))
}
