//! TLS on every connection, with real servers and certificates made for each test.

mod postgres;
