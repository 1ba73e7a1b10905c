//! Where traces go: to a collector, over OTLP. The variables are OpenTelemetry's own, which its libraries read:
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use crate::failure::{Failure, refused};

/// Sends spans in the background.
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Starts to; `None` if the environment switches it off.
    ///
    /// # Errors
    ///
    /// The environment has something that can't be used.
    pub fn start() -> Result<Option<Self>, Failure> {
        let is = |name: &str, value: &str| {
            std::env::var(name).is_ok_and(|given| given.eq_ignore_ascii_case(value))
        };
        if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
            return Ok(None);
        }
        let exporter = SpanExporter::builder().with_http().build();
        let exporter = exporter
            .map_err(|error| refused(format!("OTEL_EXPORTER_OTLP_*: can't be used: {error}")))?;
        let mut resource = Resource::builder();
        let has_name = std::env::var_os("OTEL_SERVICE_NAME").is_some()
            || std::env::var("OTEL_RESOURCE_ATTRIBUTES")
                .is_ok_and(|given| given.contains("service.name="));
        if !has_name {
            resource = resource.with_service_name("respgres");
        }
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .build();
        Ok(Some(Self(provider)))
    }

    /// What takes the spans of requests.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("respgres"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(false)
            .with_filter(filter_fn(|what| what.target() == respgres::trace::TARGET))
    }

    /// Sends what waits.
    pub fn finish(self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}
