//! `GET /events`: what the page shows, once a second, computed once for all who watch.
//!
//! Somebody who opens the page wants to see the last minutes. So the counters are read every five seconds
//! also while nobody watches, by a timer and not by who counts; that costs some ten microseconds. All else is computed
//! for viewers alone.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::Uri;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::Facts;
use super::sample::Sample;
use super::snapshot::{Point, Snapshot, Sources};
use crate::config::Source;
use crate::engine::Engine;
use crate::http::Api;
use crate::http::access::Admission;
use crate::http::error::{ApiError, ErrorAnswer};

/// How many may watch at a time. Each costs a connection, and some kilobytes a second.
const VIEWERS_MAX: usize = 64;

/// How often there is a snapshot, and how often the counters are read while nobody watches.
const TURN: Duration = Duration::from_secs(1);
const TURN_UNWATCHED: Duration = Duration::from_secs(5);

/// However many come and go, there is no more of them than this allows.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// Rates are over no less, also when somebody begins to watch just after a turn.
const RATE_OVER: Duration = Duration::from_millis(900);

/// What percentiles are over.
const WINDOW: Duration = Duration::from_secs(10);

/// How far back the curves go, in milliseconds.
const HISTORY_MILLIS: u64 = 300_000;

/// What all viewers share.
#[derive(Debug)]
pub(in crate::http) struct Live {
    engine: Arc<Engine>,
    facts: Facts,
    places: Arc<Semaphore>,
    /// The latest snapshot as an event; `None` while nobody watches.
    latest: watch::Sender<Option<Bytes>>,
    /// Somebody began to watch.
    begun: Notify,
    stop: CancellationToken,
    past: Mutex<Past>,
}

#[derive(Debug, Default)]
struct Past {
    /// Those of the window, the oldest first.
    samples: VecDeque<Arc<Sample>>,
    points: VecDeque<Point>,
}

/// What a viewer is told first.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Hello {
    /// The last minutes.
    history: Vec<Point>,
    configuration: Vec<Setting>,
}

/// A setting in force.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Setting {
    name: String,
    /// Without secrets.
    value: String,
    source: &'static str,
}

impl Live {
    /// Ends, and ends what viewers are sent, at `stop`.
    pub(in crate::http) fn new(engine: Arc<Engine>, facts: Facts, stop: CancellationToken) -> Self {
        Self {
            engine,
            facts,
            places: Arc::new(Semaphore::new(VIEWERS_MAX)),
            latest: watch::Sender::new(None),
            begun: Notify::new(),
            stop,
            past: Mutex::default(),
        }
    }

    /// Takes the samples, until it is stopped.
    pub(in crate::http) async fn run(&self) {
        loop {
            let turn = match self.is_watched() {
                true => {
                    self.show().await;
                    TURN
                }
                false => {
                    self.latest.send_replace(None);
                    self.note();
                    TURN_UNWATCHED
                }
            };
            let begun = async {
                tokio::time::sleep(PAUSE_MIN).await;
                self.begun.notified().await;
            };
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(turn) => {}
                () = begun => {}
            }
        }
    }

    fn is_watched(&self) -> bool {
        self.latest.receiver_count() > 0
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self) -> (Point, Window) {
        let sample = Sample::take(self.engine.metrics());
        self.past().add(sample)
    }

    async fn show(&self) {
        let overview = self.engine.overview().await;
        let (point, window) = self.note();
        let sources = Sources {
            metrics: self.engine.metrics(),
            overview: &overview,
            facts: &self.facts,
            now: &window.now,
            before: &window.before,
            window: &window.first,
        };
        let snapshot = sources.snapshot(point);
        self.latest.send_replace(Some(event(None, &snapshot)));
    }

    fn hello(&self) -> Bytes {
        let hello = Hello {
            history: self.past().points.iter().copied().collect(),
            configuration: self.configuration(),
        };
        event(Some("hello"), &hello)
    }

    fn configuration(&self) -> Vec<Setting> {
        let in_force = self.facts.configuration.borrow();
        let shown = in_force.iter().map(|setting| Setting {
            name: setting.name.clone(),
            value: setting.value.clone(),
            source: match setting.source {
                Source::Flag => "flag",
                Source::Environment => "environment",
                Source::EnvFile => "--env-file",
                Source::DotEnv => ".env",
                Source::File => "file",
                Source::Default => "default",
            },
        });
        shown.collect()
    }

    /// A viewer, unless there are too many.
    fn viewer(self: &Arc<Self>, admission: Admission) -> Result<Viewer, ApiError> {
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_full| {
                ApiError::busy(format!(
                    "{VIEWERS_MAX} others watch already; close a page that nobody looks at"
                ))
            })?;
        let mut latest = self.latest.subscribe();
        if latest.borrow_and_update().is_none() {
            self.begun.notify_one();
        } else {
            latest.mark_changed();
        }
        Ok(Viewer {
            live: Arc::clone(self),
            admission,
            latest,
            configuration: self.facts.configuration.clone(),
            _place: place,
        })
    }
}

/// Three moments.
#[derive(Debug)]
struct Window {
    first: Arc<Sample>,
    before: Arc<Sample>,
    now: Arc<Sample>,
}

impl Past {
    /// Adds what was counted now, and forgets what is too old.
    fn add(&mut self, now: Sample) -> (Point, Window) {
        let now = Arc::new(now);
        let age = |sample: &Sample| now.at.saturating_duration_since(sample.at);
        while self.samples.len() > 1 && age(&self.samples[1]) >= WINDOW {
            self.samples.pop_front();
        }
        let first = self.samples.front().unwrap_or(&now);
        let earlier = self.samples.iter().rev();
        let before = earlier.clone().find(|sample| age(sample) >= RATE_OVER);
        let window = Window {
            first: Arc::clone(first),
            before: Arc::clone(before.unwrap_or(first)),
            now: Arc::clone(&now),
        };
        let point = Point::new(&now, &window.before, &window.first);
        let earliest = now.unix_millis.saturating_sub(HISTORY_MILLIS);
        self.points.retain(|point| point.at() >= earliest);
        // Not all that those who come and go have asked for.
        let latest = self.samples.back().map(|latest| age(latest));
        if latest.is_none_or(|age| age >= RATE_OVER) {
            // The first sample has nothing to be compared with.
            if latest.is_some() {
                self.points.push_back(point);
            }
            self.samples.push_back(now);
        }
        (point, window)
    }
}

/// One who watches.
struct Viewer {
    live: Arc<Live>,
    admission: Admission,
    latest: watch::Receiver<Option<Bytes>>,
    configuration: watch::Receiver<Arc<[crate::config::InForce]>>,
    _place: OwnedSemaphorePermit,
}

impl Viewer {
    /// The next event; `None` when the proxy stops, or the token is replaced. Who reads slowly misses some.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            tokio::select! {
                biased;
                () = self.live.stop.cancelled() => return None,
                () = self.admission.is_over() => return None,
                changed = self.configuration.changed(), if self.configuration.has_changed().is_ok() => {
                    if changed.is_ok() {
                        let configuration = self.live.configuration();
                        return Some(event(Some("configuration"), &configuration));
                    }
                }
                changed = self.latest.changed() => {
                    changed.ok()?;
                    if let Some(event) = self.latest.borrow_and_update().clone() {
                        return Some(event);
                    }
                }
            }
        }
    }
}

/// One event of the stream.
fn event(name: Option<&str>, data: &impl Serialize) -> Bytes {
    let mut event = Vec::with_capacity(16 * 1024);
    if let Some(name) = name {
        event.extend_from_slice(format!("event: {name}\n").as_bytes());
    }
    event.extend_from_slice(b"data: ");
    if let Err(error) = serde_json::to_writer(&mut event, data) {
        // It holds nothing that JSON can't; what there is of it would not be understood.
        tracing::warn!(%error, "a snapshot could not be written");
    }
    event.extend_from_slice(b"\n\n");
    Bytes::from(event)
}

/// The figures of the page, each second, until the client goes away, the proxy stops or the token is replaced. The first event is named
/// `hello` and has the last minutes and the configuration; `configuration` comes again when it has changed. All others
/// have no name, and are snapshots.
#[utoipa::path(
    get,
    path = "/events",
    tag = "operations",
    params(("once" = Option<bool>, Query, description = "Whether the stream ends after one snapshot, without the first event")),
    responses(
        (status = 200, description = "Server-sent events, whose data are JSON", body = Snapshot, content_type = "text/event-stream"),
        (status = 422, description = "`once` is neither true nor false", body = ErrorAnswer),
        (status = 503, description = "Too many watch already", body = ErrorAnswer),
    )
)]
pub(in crate::http) async fn events(
    State(api): State<Api>,
    Extension(admission): Extension<Admission>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let is_once = is_once(uri.query().unwrap_or_default())?;
    let mut viewer = api.live.viewer(admission)?;
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
    ];
    let body = if is_once {
        let event = viewer.next().await.unwrap_or_default();
        Body::from(event)
    } else {
        let hello = api.live.hello();
        let first = stream::once(async { Ok::<_, Infallible>(hello) });
        let rest = stream::unfold(viewer, |mut viewer| async {
            let event = viewer.next().await?;
            Some((Ok(event), viewer))
        });
        Body::from_stream(stream::StreamExt::chain(first, rest))
    };
    let mut response = (headers, body).into_response();
    // nginx would gather what comes otherwise.
    response.headers_mut().insert(
        "x-accel-buffering",
        axum::http::HeaderValue::from_static("no"),
    );
    Ok(response)
}

/// What the query has to say of `once`.
fn is_once(query: &str) -> Result<bool, ApiError> {
    let mut is_once = false;
    for parameter in query.split('&') {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, "true"));
        if name == "once" {
            is_once = match value {
                "true" => true,
                "false" => false,
                _ => {
                    return Err(ApiError::invalid(
                        "the parameter once is neither true nor false",
                    ));
                }
            };
        }
    }
    Ok(is_once)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn once_is_a_boolean() {
        for (query, expected) in [
            ("", Some(false)),
            ("once", Some(true)),
            ("a=b&once=true", Some(true)),
            ("once=false", Some(false)),
            ("once=1", None),
            ("once=", None),
        ] {
            assert_eq!(is_once(query).ok(), expected, "{query}");
        }
    }

    #[test]
    fn rates_are_over_a_moment_and_percentiles_over_the_window() {
        let metrics = Metrics::new(1, 1, crate::command::table::COMMANDS.len());
        let get = crate::command::table::position(b"get").unwrap();
        let start = std::time::Instant::now();
        let mut past = Past::default();
        let at = |seconds: u64| {
            let mut sample = Sample::take(&metrics);
            sample.at = start + Duration::from_secs(seconds);
            sample.unix_millis = 1000 * seconds;
            sample
        };
        past.add(at(0));
        assert!(past.points.is_empty(), "nothing is known yet");
        for second in 1..=400 {
            metrics.worker(0).note_calls(get, second, 1_000);
            let (_, window) = past.add(at(second));
            let over = window.now.at - window.first.at;
            assert_eq!(over, WINDOW.min(Duration::from_secs(second)));
            assert_eq!(window.now.seconds_since(&window.before), 1.0);
        }
        let shown = serde_json::to_value(past.points.back()).unwrap();
        assert_eq!(shown["reads"], 400.0);
        assert_eq!(shown["hit_rate"], serde_json::Value::Null);
        assert_eq!(past.points.front().map(Point::at), Some(100_000));
        assert!(past.samples.len() <= 11);
    }
}
