//! The arithmetic of INCRBYFLOAT: the 80-bit numbers of x86, as Redis computes with, read as C's
//! `strtold` reads them and written as `printf("%.17Lf")` writes them.

use std::iter;
use std::ops::Add;

use rustc_apfloat::ieee::X87DoubleExtended;
use rustc_apfloat::{Category, Float};

use super::Rejection;
use super::mutation::NOT_A_FLOAT;

/// The first length that Redis does not read as a number, in bytes.
const TEXT_MAX: usize = 5 * 1024;

/// A number that is not NaN, except as a sum; it may be infinite.
#[derive(Debug, Clone, Copy)]
pub struct LongDouble(X87DoubleExtended);

/// The number of a stored value, or of an absent key, after `by` was added; as it is stored then.
///
/// # Errors
///
/// The value is not a number, or the sum is not a finite one.
pub fn increment(stored: Option<&[u8]>, by: LongDouble) -> Result<String, Rejection> {
    let number = match stored {
        Some(text) => LongDouble::parse(text).ok_or_else(|| Rejection::late(NOT_A_FLOAT))?,
        None => LongDouble::ZERO,
    };
    let sum = number + by;
    if !sum.is_finite() {
        return Err(Rejection::late(
            "ERR increment would produce NaN or Infinity",
        ));
    }
    Ok(sum.to_text())
}

impl LongDouble {
    /// Zero.
    pub const ZERO: LongDouble = LongDouble(X87DoubleExtended::ZERO);

    /// Reads a decimal or hexadecimal number or an infinity. None if it is something else, or too
    /// large, or too small to be told from zero.
    pub fn parse(text: &[u8]) -> Option<LongDouble> {
        if text.len() >= TEXT_MAX {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        let (negative, magnitude) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let signed =
            |number: X87DoubleExtended| LongDouble(if negative { -number } else { number });
        if magnitude.eq_ignore_ascii_case("inf") || magnitude.eq_ignore_ascii_case("infinity") {
            return Some(signed(X87DoubleExtended::INFINITY));
        }
        let number = Number::new(magnitude)?;
        let value = number.value()?;
        let out_of_range = value.is_infinite() || value.is_zero() && !number.is_zero();
        (!out_of_range).then(|| signed(value))
    }

    /// Whether it is neither an infinity nor NaN.
    pub fn is_finite(self) -> bool {
        self.0.is_finite()
    }

    /// With up to 17 digits after the point, without zeroes at the end; never `-0`.
    pub fn to_text(self) -> String {
        match self.0.category() {
            Category::NaN => return "nan".into(),
            Category::Infinity if self.0.is_negative() => return "-inf".into(),
            Category::Infinity => return "inf".into(),
            Category::Zero | Category::Normal => {}
        }
        let bits = self.0.to_bits();
        // The lowest 64 bits are the significand, the next 15 the exponent; both fit.
        let significand = bits as u64;
        let exponent = (bits >> 64) as i32 & 0x7fff;
        // A subnormal number has the exponent of the smallest normal one.
        let scale = exponent.max(1) - 0x3fff - 63;
        let text = match u32::try_from(scale) {
            Ok(power) => integer_text(significand, power),
            Err(_) => fraction_text(significand, scale.unsigned_abs()),
        };
        if self.0.is_negative() && text != "0" {
            format!("-{text}")
        } else {
            text
        }
    }
}

impl Add for LongDouble {
    type Output = LongDouble;

    /// The sum, rounded to the nearest number that there is.
    fn add(self, other: LongDouble) -> LongDouble {
        LongDouble((self.0 + other.0).value)
    }
}

/// The text of a number without its sign, understood but not converted.
struct Number<'a> {
    radix: u32,
    /// Digits, and at most one point.
    mantissa: &'a str,
    /// With its sign; "0" if there is none.
    exponent: &'a str,
}

impl<'a> Number<'a> {
    /// None if it is not one to its end.
    fn new(magnitude: &'a str) -> Option<Self> {
        let hexadecimal = magnitude
            .strip_prefix("0x")
            .or_else(|| magnitude.strip_prefix("0X"));
        let (radix, body, mark) = match hexadecimal {
            Some(body) => (16, body, ['p', 'P']),
            None => (10, magnitude, ['e', 'E']),
        };
        let (mantissa, exponent) = body.split_once(mark).unwrap_or((body, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = |text: &str, radix| text.chars().all(|digit| digit.is_digit(radix));
        let power = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        let whole_is_understood = digits(whole, radix)
            && digits(fraction, radix)
            && !(whole.is_empty() && fraction.is_empty())
            && digits(power, 10)
            && !power.is_empty();
        whole_is_understood.then_some(Number {
            radix,
            mantissa,
            exponent,
        })
    }

    fn is_zero(&self) -> bool {
        self.mantissa
            .bytes()
            .all(|digit| matches!(digit, b'0' | b'.'))
    }

    fn value(&self) -> Option<X87DoubleExtended> {
        if self.is_zero() {
            return Some(X87DoubleExtended::ZERO);
        }
        let text = if self.radix == 16 {
            format!("0x{}p{}", self.mantissa, self.exponent)
        } else {
            format!("{}e{}", self.mantissa, self.exponent)
        };
        text.parse::<X87DoubleExtended>().ok()
    }
}

/// `significand` × 2^`power`, exactly.
fn integer_text(significand: u64, power: u32) -> String {
    const LIMB: u64 = 1_000_000_000;
    // The lowest limb first. They grow by 32 bits a step, of which there are at most 511.
    let mut limbs: Vec<u64> = iter::successors(Some(significand), |rest| Some(rest / LIMB))
        .take_while(|rest| *rest > 0)
        .map(|rest| rest % LIMB)
        .collect();
    let mut left = power;
    while left > 0 {
        let step = left.min(32);
        let mut carry = 0;
        for limb in &mut limbs {
            let product = (*limb << step) + carry;
            *limb = product % LIMB;
            carry = product / LIMB;
        }
        while carry > 0 {
            limbs.push(carry % LIMB);
            carry /= LIMB;
        }
        left -= step;
    }
    let Some((highest, rest)) = limbs.split_last() else {
        return "0".into();
    };
    let mut text = highest.to_string();
    for limb in rest.iter().rev() {
        text.push_str(&format!("{limb:09}"));
    }
    text
}

/// `significand` / 2^`power`, to the nearest of 17 digits after the point, the even one of two.
fn fraction_text(significand: u64, power: u32) -> String {
    const DIGITS: usize = 17;
    const SCALE: u128 = 10u128.pow(DIGITS as u32);
    // Less than 2^121, so that more than 121 bits to the right is nearer to nothing.
    let scaled = u128::from(significand) * SCALE;
    let rounded = if power > 121 {
        0
    } else {
        let floor = scaled >> power;
        let rest = scaled - (floor << power);
        let half = 1u128 << (power - 1);
        let up = rest > half || rest == half && floor % 2 == 1;
        floor + u128::from(up)
    };
    let text = format!("{}.{:0DIGITS$}", rounded / SCALE, rounded % SCALE);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incremented(stored: Option<&str>, by: &str) -> Result<String, String> {
        let by = LongDouble::parse(by.as_bytes())
            .ok_or_else(|| "ERR value is not a valid float".to_owned())?;
        increment(stored.map(str::as_bytes), by).map_err(|rejection| rejection.text)
    }

    /// Redis 7.0.15: DEL k or SET k <stored>, INCRBYFLOAT k <by>.
    #[test]
    fn sums_are_those_of_redis() {
        const NOT_FLOAT: &str = "ERR value is not a valid float";
        const NOT_FINITE: &str = "ERR increment would produce NaN or Infinity";
        for (stored, by, expected) in [
            (None, "0.1", Ok("0.1")),
            (Some("0.1"), "0.2", Ok("0.3")),
            (Some("3.0e3"), "200", Ok("3200")),
            (Some("10.5"), "0.1", Ok("10.6")),
            (Some("5.0e3"), "2.0e2", Ok("5200")),
            (Some("1"), "-1", Ok("0")),
            (Some("3"), "0x1.8p1", Ok("6")),
            (None, "0x.8", Ok("0.5")),
            (None, "0x8.", Ok("8")),
            (None, "0X1P2", Ok("4")),
            (None, "0x1e2", Ok("482")),
            (None, ".5", Ok("0.5")),
            (None, "5.", Ok("5")),
            (None, "+5", Ok("5")),
            (None, "1E2", Ok("100")),
            // The 17th digit: rounded, the even one of two.
            (None, "1e-17", Ok("0.00000000000000001")),
            (None, "5e-18", Ok("0")),
            (None, "0x1p-18", Ok("0.00000381469726562")),
            (None, "0x3p-18", Ok("0.00001144409179688")),
            (
                None,
                "123456789.123456789123456789",
                Ok("123456789.12345678912242875"),
            ),
            // Never a negative zero.
            (None, "-0", Ok("0")),
            (Some("-0"), "-0", Ok("0")),
            (None, "-4e-18", Ok("0")),
            // 64 bits of significand.
            (Some("9223372036854775807"), "1", Ok("9223372036854775808")),
            (
                Some("18446744073709551615"),
                "0",
                Ok("18446744073709551615"),
            ),
            (
                Some("18446744073709551616"),
                "1",
                Ok("18446744073709551616"),
            ),
            // The ends of the range.
            (Some("1e4932"), "-1e4932", Ok("0")),
            (Some("1e4932"), "1e4932", Err(NOT_FINITE)),
            (None, "1e4933", Err(NOT_FLOAT)),
            (None, "0x1p16384", Err(NOT_FLOAT)),
            (Some("1e-4950"), "0", Ok("0")),
            (None, "1e-4951", Err(NOT_FLOAT)),
            (None, "0x1p-16446", Err(NOT_FLOAT)),
            (None, "0x1.8p-16446", Ok("0")),
            (None, "0e99999", Ok("0")),
            (None, "0x0p99999", Ok("0")),
            // Infinities are numbers, but no results.
            (None, "inf", Err(NOT_FINITE)),
            (None, "-INFINITY", Err(NOT_FINITE)),
            (Some("inf"), "1", Err(NOT_FINITE)),
            (Some("inf"), "-inf", Err(NOT_FINITE)),
            (Some("nan"), "1", Err(NOT_FLOAT)),
            (None, "nan(12)", Err(NOT_FLOAT)),
            (None, "infinit", Err(NOT_FLOAT)),
            // What is not a number to its end, or not from its start.
            (Some("x"), "1", Err(NOT_FLOAT)),
            (Some("1 "), "1", Err(NOT_FLOAT)),
            (None, "", Err(NOT_FLOAT)),
            (None, " 5", Err(NOT_FLOAT)),
            (None, ".", Err(NOT_FLOAT)),
            (None, "1e", Err(NOT_FLOAT)),
            (None, "1e+", Err(NOT_FLOAT)),
            (None, "1e2.5", Err(NOT_FLOAT)),
            (None, "0x", Err(NOT_FLOAT)),
            (None, "0x.", Err(NOT_FLOAT)),
            (None, "0x1p", Err(NOT_FLOAT)),
            (None, "++1", Err(NOT_FLOAT)),
            (None, "-+1", Err(NOT_FLOAT)),
            (None, "1_0", Err(NOT_FLOAT)),
        ] {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(incremented(stored, by), expected, "{stored:?} + {by}");
        }
    }

    /// Redis 7.0.15: SET k 1e4932, INCRBYFLOAT k 0, and the end of GET k.
    #[test]
    fn the_largest_numbers_are_written_exactly() {
        let text = incremented(Some("1e4932"), "0").unwrap();
        assert_eq!(text.len(), 4933);
        let end = "783354728589350876379371163141086538418113791886622720";
        assert!(text.ends_with(end), "{text}");
    }

    #[test]
    fn a_text_too_long_is_no_number() {
        let text = |length: usize| format!("{:0>length$}", 7);
        assert!(LongDouble::parse(text(5119).as_bytes()).is_some());
        assert!(LongDouble::parse(text(5120).as_bytes()).is_none());
    }
}
