//! Passwords as they are kept: their SHA-256, as in Redis.

use sha2::{Digest as _, Sha256};
use std::fmt;
use subtle::{Choice, ConstantTimeEq};

/// The SHA-256 of a password.
#[derive(Clone)]
pub struct Digest([u8; 32]);

impl Digest {
    /// That of a password.
    pub fn of(password: &[u8]) -> Self {
        Digest(Sha256::digest(password).into())
    }

    /// From 64 hexadecimal digits in lower case; `None` if it is something else.
    pub fn from_hex(text: &str) -> Option<Self> {
        let value = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != 32 || !rest.is_empty() {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = value(*high)? << 4 | value(*low)?;
        }
        Some(Digest(bytes))
    }

    /// 64 hexadecimal digits, as ACL LIST shows them.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether they are of the same password, in a time that does not depend on it.
    pub(super) fn is_same(&self, other: &Digest) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

/// A digest can be tried against a list of words: it stays out of logs.
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_what_sha256sum_prints() {
        let digest = Digest::of(b"wonder");
        let hex = "36296059cca8b7c7c7a52ff12abe53eb374d509d480f69bb673ac2566ea0b53f";
        assert_eq!(digest.hex(), hex);
        assert!(bool::from(digest.is_same(&Digest::from_hex(hex).unwrap())));
        assert!(!bool::from(digest.is_same(&Digest::of(b"wondeR"))));
        assert!(!format!("{digest:?}").contains("36"));
    }

    #[test]
    fn only_64_digits_in_lower_case_are_one() {
        for text in [
            "",
            "36",
            &"G".repeat(64),
            &"A".repeat(64),
            &"a".repeat(65),
            "é",
        ] {
            assert!(Digest::from_hex(text).is_none(), "{text}");
        }
    }
}
