//! One set of tests, run over every backend.

/// Makes each named function, which takes a [`Setup`](super::Setup), a test over embedded shards and one over
/// PostgreSQL with Redis.
macro_rules! both_backends {
    ($($name:ident),+ $(,)?) => {
        mod embedded {
            $(#[test] fn $name() { super::$name(crate::harness::Setup::embedded()); })+
        }
        mod postgres {
            $(#[test] fn $name() { super::$name(crate::harness::Setup::postgres()); })+
        }
    };
}

/// As `both_backends`, and over a real redis-server as well: what such a test expects is what Redis does.
macro_rules! with_reference {
    ($($name:ident),+ $(,)?) => {
        crate::harness::both_backends!($($name),+);
        mod redis_itself {
            $(#[test] fn $name() { super::$name(crate::harness::Setup::redis_itself()); })+
        }
    };
}

pub(crate) use {both_backends, with_reference};
