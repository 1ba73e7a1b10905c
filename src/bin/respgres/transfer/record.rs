//! What is moved: a key with its value and when it expires.

use std::hash::{DefaultHasher, Hash, Hasher};

/// One key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    /// Milliseconds since 1970; `None` if it never expires.
    pub expires_at: Option<u64>,
}

impl Record {
    /// About how many bytes of memory it takes.
    pub fn size(&self) -> usize {
        self.key.len() + self.value.len() + 64
    }

    /// A number that another value or another expiry does not have.
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.value, self.expires_at).hash(&mut hasher);
        hasher.finish()
    }

    /// Whether it has expired at `now`, in milliseconds since 1970.
    pub fn has_expired(&self, now: u64) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// Milliseconds since 1970, by this machine's clock.
pub fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// A key for people, on one line and not too long.
pub fn shown(key: &[u8]) -> String {
    const SHOWN_MAX: usize = 80;
    let text = match std::str::from_utf8(key) {
        Ok(text) => text.escape_debug().to_string(),
        Err(_) => key.escape_ascii().to_string(),
    };
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("\"{}…\"", &text[..end]),
        None => format!("\"{text}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_tells_value_and_expiry_and_not_the_key() {
        let record = |key: &str, value: &str, expires_at| Record {
            key: key.into(),
            value: value.into(),
            expires_at,
        };
        let one = record("a", "1", None).digest();
        assert_eq!(one, record("b", "1", None).digest());
        assert_ne!(one, record("a", "2", None).digest());
        assert_ne!(one, record("a", "1", Some(1)).digest());
    }

    #[test]
    fn keys_are_shown_on_one_short_line() {
        assert_eq!(shown(b"a\nb"), r#""a\nb""#);
        assert_eq!(shown("ключ".as_bytes()), "\"ключ\"");
        assert_eq!(shown(&[0, 255]), r#""\x00\xff""#);
        assert!(shown(&[b'k'; 1000]).len() < 100);
    }
}
