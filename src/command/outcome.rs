//! What an operation answers, whatever the protocol.

use std::borrow::Cow;

use bytes::Bytes;

/// The answer to an operation on data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// OK
    Done,
    /// Nothing there, or not done because a condition did not hold.
    Nil,
    /// A number: a count, a length, 1 or 0.
    Integer(i64),
    /// A value.
    Value(Bytes),
    /// A word: the name of a type.
    Word(&'static str),
    /// Several answers in order.
    List(Vec<Outcome>),
    /// Named answers in order.
    Map(Vec<(&'static str, Outcome)>),
    /// It could not be done on what is there, and nothing changed; in Redis' own words.
    Failed(Cow<'static, str>),
}

impl Outcome {
    /// The value, or [`Outcome::Nil`].
    pub fn value_or_nil(value: Option<Bytes>) -> Self {
        value.map_or(Outcome::Nil, Outcome::Value)
    }

    /// A list of numbers, or of [`Outcome::Nil`].
    pub fn numbers(numbers: Vec<Option<i64>>) -> Self {
        let numbers = numbers.into_iter();
        let outcome = |number: Option<i64>| number.map_or(Outcome::Nil, Outcome::Integer);
        Outcome::List(numbers.map(outcome).collect())
    }
}
