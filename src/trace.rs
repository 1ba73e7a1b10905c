//! Spans of requests for OpenTelemetry, in a build with the feature `otel`. Without it all of this is
//! nothing: the types have no size, and the functions no body.
//!
//! ```text
//!   request ─┬─ cache lookup
//!            ├─ queue ── until its batch leaves
//!            ├─ cache lease, shard read, cache fill        of a miss
//!            └─ shard commit, cache invalidate             of a write
//! ```
//!
//! A flight is under way for many requests: each has spans of its own for it.

#[cfg(feature = "otel")]
pub use on::{Trace, Traces};

#[cfg(not(feature = "otel"))]
pub use off::{Trace, Traces};

/// The target of the spans, by which the exporter finds them.
pub const TARGET: &str = "respgres::trace";

#[cfg(not(feature = "otel"))]
mod off {
    /// A span that is not there.
    #[derive(Debug, Clone)]
    pub struct Trace;

    impl Trace {
        /// That of a request.
        pub fn request(_: &'static str, _: usize) -> Self {
            Self
        }

        /// That of whoever asks.
        pub fn current() -> Self {
            Self
        }

        /// A part of this one.
        pub fn child(&self, _: &'static str) -> Self {
            Self
        }

        /// The future, in which this is the [current](Trace::current) one.
        pub fn within<F: Future>(&self, future: F) -> F {
            future
        }

        /// Ends it, unless there are clones.
        pub fn end(self) {}
    }

    /// Spans that are not there.
    #[derive(Debug)]
    pub struct Traces;

    impl Traces {
        /// A part of each, which ends when this is dropped.
        pub fn of<'a>(
            _: impl Iterator<Item = &'a Trace>,
            _: &'static str,
            _: usize,
            _: usize,
        ) -> Self {
            Self
        }

        /// Ends them.
        pub fn end(self) {}
    }
}

#[cfg(feature = "otel")]
mod on {
    use tracing::instrument::{Instrument, Instrumented};
    use tracing::{Span, trace_span};

    use super::TARGET;

    /// A span. It ends with the last clone of it.
    #[derive(Debug, Clone)]
    pub struct Trace(Span);

    impl Trace {
        /// That of a buffer of requests: the last one's command, and how many there are.
        pub fn request(command: &'static str, commands: usize) -> Self {
            Self(trace_span!(
                target: TARGET,
                parent: None,
                "request",
                otel.name = command,
                otel.kind = "server",
                db.operation.name = command,
                db.operation.batch.size = commands
            ))
        }

        /// That of whoever asks.
        pub fn current() -> Self {
            Self(Span::current())
        }

        /// A part of this one.
        pub fn child(&self, name: &'static str) -> Self {
            Self(trace_span!(target: TARGET, parent: &self.0, "part", otel.name = name))
        }

        /// The future, in which this is the [current](Trace::current) one.
        pub fn within<F: Future>(&self, future: F) -> Instrumented<F> {
            future.instrument(self.0.clone())
        }

        /// Ends it, unless there are clones.
        pub fn end(self) {}
    }

    /// Spans of several requests for what is done for all of them.
    #[derive(Debug)]
    pub struct Traces(Vec<Span>);

    impl Traces {
        /// A part of each, which ends when this is dropped. What is done is on a shard, with so many
        /// operations or keys.
        pub fn of<'a>(
            parents: impl Iterator<Item = &'a Trace>,
            name: &'static str,
            shard: usize,
            operations: usize,
        ) -> Self {
            let part = |Trace(parent): &Trace| {
                // One that is not sampled, or not recorded at all, has no parts either.
                (!parent.is_disabled()).then(|| {
                    trace_span!(
                        target: TARGET,
                        parent: parent,
                        "part",
                        otel.name = name,
                        respgres.shard = shard,
                        respgres.batch.operations = operations
                    )
                })
            };
            Self(parents.filter_map(part).collect())
        }

        /// Ends them.
        pub fn end(self) {
            drop(self.0);
        }
    }
}
