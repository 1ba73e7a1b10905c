//! Traces, in a build with the feature `otel`: what a collector receives over OTLP/HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod collector;
#[path = "../it/harness/mod.rs"]
mod harness;

use std::collections::{BTreeMap, BTreeSet};

use collector::{Collector, Span};
use harness::{Deployment, Setup, eventually};

fn start(setup: Setup, collector: &Collector) -> Deployment {
    setup
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())
        // In milliseconds.
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .start()
}

/// The first request of this name, and the names of its parts.
fn request<'a>(spans: &'a [Span], name: &str) -> Option<(&'a Span, BTreeSet<&'a str>)> {
    let request = spans.iter().find(|span| span.name == name)?;
    let parts = spans
        .iter()
        .filter(|span| span.parent == request.id && span.trace == request.trace);
    Some((request, parts.map(|span| span.name.as_str()).collect()))
}

#[test]
fn a_request_and_its_parts_arrive() {
    let collector = Collector::start();
    let it = start(Setup::postgres(), &collector);
    let mut conn = it.conn();
    conn.set("key", "value");
    conn.get("key");
    let expected = BTreeMap::from([
        (
            "set",
            BTreeSet::from(["cache invalidate", "queue", "shard commit"]),
        ),
        (
            "get",
            BTreeSet::from([
                "cache fill",
                "cache lease",
                "cache lookup",
                "queue",
                "shard read",
            ]),
        ),
    ]);
    for (name, expected) in expected {
        eventually(&format!("the parts of {name}"), || {
            let spans = collector.spans();
            let (_, parts) = request(&spans, name)?;
            (parts == expected).then_some(())
        });
    }
    let spans = collector.spans();
    let (set, _) = request(&spans, "set").unwrap();
    assert!(set.parent.is_empty(), "a request is the root of its trace");
    assert_eq!((set.trace.len(), set.id.len()), (16, 8));
    for span in spans.iter().filter(|span| span.parent == set.id) {
        assert!(set.began <= span.began && span.began <= span.ended);
        assert!(
            span.ended <= set.ended,
            "{} is within {}",
            span.name,
            set.name
        );
    }
    let (get, _) = request(&spans, "get").unwrap();
    assert_ne!(get.trace, set.trace);
    assert!(collector.service_names().contains("respgres"));
}

#[test]
fn what_waits_when_it_stops_is_sent() {
    let collector = Collector::start();
    let setup = Setup::embedded().env("OTEL_BSP_SCHEDULE_DELAY", "3600000");
    let mut it = setup
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())
        .env("OTEL_SERVICE_NAME", "mine")
        .start();
    it.conn().set("key", "value");
    it.proxy_mut().terminate();
    assert_eq!(it.proxy_mut().wait_exit().code, 0);
    assert!(request(&collector.spans(), "set").is_some());
    assert_eq!(
        collector.service_names(),
        BTreeSet::from(["mine".to_owned()])
    );
}

#[test]
fn what_is_not_sampled_is_not_sent() {
    let collector = Collector::start();
    let setup = Setup::embedded()
        .env("OTEL_TRACES_SAMPLER", "traceidratio")
        .env("OTEL_TRACES_SAMPLER_ARG", "0.1");
    let mut it = start(setup, &collector);
    let mut conn = it.conn();
    for _ in 0..1000 {
        conn.run("PING");
    }
    it.proxy_mut().terminate();
    assert_eq!(it.proxy_mut().wait_exit().code, 0);
    let spans = collector.spans();
    let sent = spans.iter().filter(|span| span.name == "ping").count();
    assert!((40..200).contains(&sent), "{sent} of 1000 at one in ten");
}

#[test]
fn a_collector_that_is_not_there_disturbs_nobody() {
    let mut it = Setup::embedded()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
        .env("OTEL_BSP_SCHEDULE_DELAY", "10")
        .start();
    let mut conn = it.conn();
    for n in 0..200 {
        conn.set(format!("key:{n}"), "value");
    }
    it.proxy_mut().terminate();
    assert_eq!(it.proxy_mut().wait_exit().code, 0);
}

#[test]
fn it_can_be_switched_off() {
    let collector = Collector::start();
    for (name, value) in [
        ("OTEL_SDK_DISABLED", "true"),
        ("OTEL_TRACES_EXPORTER", "none"),
    ] {
        let mut it = start(Setup::embedded().env(name, value), &collector);
        it.conn().set("key", "value");
        it.proxy_mut().terminate();
        assert_eq!(it.proxy_mut().wait_exit().code, 0);
    }
    assert!(collector.spans().is_empty());
}
