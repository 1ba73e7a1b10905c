//! One entry of the cache, and the steps that change it.

use crate::protocol::Flaw;

/// What names a committed write of the row; the protocol only compares it for equality.
pub type Stamp = u8;

/// The stamp of a row that is not there.
pub const ABSENT_ROW: Stamp = 0;

/// The reader that a lease belongs to, by its slot.
pub type Token = u8;

/// The token of a flight that has ended. A slot stands for many flights, each with a token of its
/// own; what an earlier one left behind is renamed to this when the slot draws its next token, so
/// that it matches nobody's and the number of tokens stays finite.
pub const FORGOTTEN: Token = u8::MAX;

/// The three states of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Entry {
    Absent,
    Value(Stamp),
    Lease { token: Token, noted: Option<Stamp> },
}

impl Entry {
    /// FILL with a token, SEEN without one.
    pub fn settle(self, token: Option<Token>, stamp: Stamp, flaw: Option<Flaw>) -> Self {
        if let (Some(mine), Entry::Lease { token, noted }) = (token, self) {
            let is_mine = token == mine || flaw == Some(Flaw::FillWithoutTokenCheck);
            if is_mine && noted.is_none_or(|noted| noted == stamp) {
                return Entry::Value(stamp);
            }
        }
        if flaw == Some(Flaw::NoSeen) {
            return self;
        }
        match self {
            Entry::Value(held) if held == stamp => self,
            Entry::Lease {
                noted: Some(noted), ..
            } if noted == stamp => self,
            Entry::Lease { token, noted: None } => Entry::Lease {
                token,
                noted: Some(stamp),
            },
            _ => Entry::Absent,
        }
    }

    /// Renames a token that its slot no longer uses.
    pub fn forget(&mut self, of: Token) {
        if let Entry::Lease { token, .. } = self
            && *token == of
        {
            *token = FORGOTTEN;
        }
    }
}
