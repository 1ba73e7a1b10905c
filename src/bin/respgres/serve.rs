//! `respgres serve`: build, serve, drain with a deadline.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use respgres::access::Access;
use respgres::config::{Config, with_flags};
use respgres::engine::Engine;
use respgres::server::{self, Server};
use respgres::shutdown::{Request, Signals, Stopping};
use respgres::workers::Workers;
use respgres::{http, shard};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::failure::{Failure, failure, refused};
use crate::listening;
use crate::logging::LogLevel;
use crate::notify::Notifier;
use crate::parts::{bounds, describe, engine, users_source};
use crate::ports::Ports;
use crate::reload::Running;

/// The command, which is also what the program does without one.
pub const NAME: &str = "serve";

/// How long the start waits for the views of the cache: a change of view takes some 1.5 s.
const VIEWS_START_MAX: Duration = Duration::from_secs(3);

/// `respgres serve`, with a flag for each variable.
pub fn command() -> clap::Command {
    with_flags(
        clap::Command::new(NAME)
            .about("Serve Redis clients and HTTP (what it does without a command)"),
    )
}

/// Serves until a signal, then answers what was read.
///
/// # Errors
///
/// Why it could not start, or how it ended.
pub async fn serve(
    mut config: Config,
    read_again: impl Fn() -> Result<Config, Failure>,
    log_level: LogLevel,
) -> Result<ExitCode, Failure> {
    let mut signals =
        Signals::new().map_err(|error| failure(format!("can't handle signals: {error}")))?;
    let mut ports = Ports::take(&config).await?;

    let access = Access::load(users_source(&config))
        .map_err(|error| refused(format!("USERS_FILE: {error}")))?;
    let asks = listening::Asks {
        resp: !access.current().0.ask_for_no_password(),
        http: config.http_token.is_some(),
    };
    let must_ask = listening::check(&ports, asks, config.listen_without_authentication)?;
    if must_ask.resp {
        access.require_passwords();
    }

    let stop_work = CancellationToken::new();
    let tasks = TaskTracker::new();
    let (workers, threads) = Workers::start(config.worker_threads)
        .map_err(|error| failure(format!("can't start the workers: {error}")))?;
    let notifier = Notifier::from_environment();
    notifier.watch(&workers);
    let (engine, keepers) = engine(&config, &workers, &tasks, &stop_work).await?;
    let engine = Arc::new(engine);
    let backend = describe(&config);
    tracing::info!("respgres {} on {backend}", env!("CARGO_PKG_VERSION"));

    let (resp, http) = ports.open(config.reuse_port)?;
    let server = Arc::new(Server::new(
        Arc::clone(&engine),
        server::Settings {
            argument_max: config.max_value_size.max(shard::KEY_MAX),
            value_max: config.max_value_size,
            atomic_mset: config.atomic_mset,
            bounds: bounds(&config),
            idle_timeout: config.client_idle_timeout,
            port: ports.port,
            backend,
        },
        access,
        workers.clone(),
    ));
    let stopping = Stopping::default();
    // Later: who asks whether it is ready is told that it is not, until all clients are gone.
    let stop_http = CancellationToken::new();
    let http_limits = http::Limits {
        max_value_size: config.max_value_size,
        max_key_size: shard::KEY_MAX,
    };
    let http_token = Arc::new(http::Token::new(config.http_token.as_ref()));
    let listening = ports.listening();
    if let Some(tls) = &ports.tls {
        tasks.spawn(Arc::clone(tls).watch(stop_work.clone()));
    }
    let (tell_in_force, in_force) = watch::channel(Arc::from(config.in_force.as_slice()));
    let facts = http::Facts {
        shards: config.shards.iter().map(ToString::to_string).collect(),
        cache: config.cache.to_string(),
        configuration: in_force,
    };
    let mut serving = {
        let http = http::serve(
            http,
            Arc::clone(&engine),
            http_limits,
            Arc::clone(&http_token),
            facts,
            stop_http.clone(),
        );
        let http = workers.of(0).spawn(http);
        let resp = Arc::clone(&server).run(resp, stopping.clone());
        tokio::spawn(async move {
            let resp = async {
                resp.await;
                stop_http.cancel();
            };
            let ((), http) = tokio::join!(resp, http);
            http.unwrap_or_else(|error| Err(io::Error::other(error)))
        })
    };

    wait_for_views(&engine).await;
    for port in &listening {
        tracing::info!("{port}");
    }
    let status = format!("serving: {}", listening.join(", "));
    notifier.ready(&status).await;

    let mut served = None;
    let running = Running {
        engine: Arc::clone(&engine),
        server: Arc::clone(&server),
        http_token,
        tls: ports.tls,
        must_ask,
        log_level,
    };
    loop {
        match signals.next().await {
            Request::Reload => {
                notifier.reloading().await;
                running.reload(&mut config, read_again());
                tell_in_force.send_replace(Arc::from(config.in_force.as_slice()));
                notifier.ready(&status).await;
            }
            Request::Stop(name) => {
                say_stop(name);
                notifier
                    .stopping(config.shutdown_timeout, "answering what was read")
                    .await;
                break;
            }
            Request::Drain => {
                tracing::info!(
                    "SIGQUIT: no new connections; serving those that there are until they leave or are quiet, for {} ms at most",
                    config.drain_timeout.as_millis()
                );
                let limit = config.drain_timeout.saturating_add(config.shutdown_timeout);
                notifier
                    .stopping(limit, "serving those who are connected until they leave")
                    .await;
                engine.begin_draining();
                stopping.begin_drain();
                tokio::select! {
                    result = &mut serving => served = Some(result),
                    () = tokio::time::sleep(config.drain_timeout) => say_stop("DRAIN_TIMEOUT_MS is over"),
                    name = signals.stop() => say_stop(name),
                }
                break;
            }
        }
    }
    // The engine ends when nobody has it any more.
    drop(running);
    tokio::spawn(signals.exit_at_next());
    engine.begin_draining();
    stopping.begin_stop();
    let drain = async {
        let served = match served {
            Some(served) => served,
            None => serving.await,
        };
        drop(server);
        stop_work.cancel();
        // The lanes end with the engine, when everything in them has been answered.
        drop(engine);
        tasks.close();
        tasks.wait().await;
        keepers.leave().await;
        threads.stop().await;
        served
    };
    match tokio::time::timeout(config.shutdown_timeout, drain).await {
        Ok(Ok(Ok(()))) => {
            tracing::info!("stopped");
            Ok(ExitCode::SUCCESS)
        }
        Ok(Ok(Err(error))) => Err(failure(format!("the HTTP port failed: {error}"))),
        Ok(Err(error)) => Err(failure(format!("a task failed: {error}"))),
        Err(_elapsed) => {
            tracing::warn!(
                "not everything was answered within SHUTDOWN_TIMEOUT_MS ({} ms)",
                config.shutdown_timeout.as_millis()
            );
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Gives the views of the cache a moment, so that 'listening' also says that nobody has to wait for
/// them. Clients are served meanwhile.
async fn wait_for_views(engine: &Engine) {
    let deadline = Instant::now() + VIEWS_START_MAX;
    while !engine.is_ready() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn say_stop(why: &str) {
    tracing::info!("{why}: no new connections; answering what was read");
}
