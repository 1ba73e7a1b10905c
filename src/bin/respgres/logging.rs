//! Where the log goes and in which shape.

use respgres::config::{Config, LogFormat};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

/// What is logged; can be changed.
pub struct LogLevel(Handle<EnvFilter, Registry>);

impl LogLevel {
    /// Changes what is logged. `filter` was checked with the configuration.
    pub fn set(&self, filter: &str) {
        if let Err(error) = self.0.reload(parsed(filter)) {
            tracing::warn!("RUST_LOG can't be changed: {error}");
        }
    }
}

/// The modules that log keys and values below this level; who wants that has to name them.
const TELLS_DATA: &str = "tokio_postgres";

fn parsed(filter: &str) -> EnvFilter {
    let parsed = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    match format!("{TELLS_DATA}=info").parse() {
        Ok(directive)
            if !filter.contains(TELLS_DATA)
                && parsed.max_level_hint() > Some(LevelFilter::INFO) =>
        {
            parsed.add_directive(directive)
        }
        _ => parsed,
    }
}

/// Starts logging to standard error, as configured. With the feature `otel`, `traces` get the spans of
/// requests, which are none of the log's.
pub fn start(
    config: &Config,
    #[cfg(feature = "otel")] traces: Option<&crate::otel::Traces>,
) -> LogLevel {
    let (filter, level) = reload::Layer::new(parsed(&config.log_level));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match config.log_format {
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    #[cfg(not(feature = "otel"))]
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .init();
    #[cfg(feature = "otel")]
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(traces.map(crate::otel::Traces::layer))
        .init();
    LogLevel(level)
}
