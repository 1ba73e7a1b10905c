//! Inline commands: a line of words, as typed into telnet. The quoting rules are those of Redis'
//! `sdssplitargs`.

use bytes::{BufMut, Bytes};

use super::scanner::Args;

/// Splits a line (without its end) into words. `None` if a quote is not closed, or is followed by
/// anything but white space.
pub(super) fn split(line: &[u8]) -> Option<Args> {
    let mut words = Args::new();
    // One for all: each word is then copied into as much memory as it needs.
    let mut word = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        // sdssplitargs works on C strings: a NUL ends the line.
        if rest.first().is_none_or(|&byte| byte == 0) {
            return Some(words);
        }
        word.clear();
        rest = next_word(rest, &mut word)?;
        words.push(Bytes::copy_from_slice(&word));
    }
}

/// Appends the first word of a line to `word`; returns what follows it.
fn next_word<'a>(line: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    let mut at = 0;
    while let Some(&byte) = line.get(at) {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' | 0 => break,
            quote @ (b'"' | b'\'') => {
                at = quoted(line, at + 1, quote, word)?;
                let ends = line
                    .get(at)
                    .is_none_or(|next| next.is_ascii_whitespace() || *next == 0);
                if !ends {
                    return None;
                }
                break;
            }
            other => {
                word.put_u8(other);
                at += 1;
            }
        }
    }
    Some(&line[at..])
}

/// Reads from after an opening quote to after the closing one; returns that position.
fn quoted(line: &[u8], mut at: usize, quote: u8, word: &mut Vec<u8>) -> Option<usize> {
    loop {
        match (line.get(at)?, line.get(at + 1)) {
            (&byte, _) if byte == quote => return Some(at + 1),
            (b'\\', Some(b'x')) if quote == b'"' => match hex_pair(line, at + 2) {
                Some(value) => {
                    word.put_u8(value);
                    at += 4;
                }
                None => {
                    word.put_u8(b'x');
                    at += 2;
                }
            },
            (b'\\', Some(&escaped)) if quote == b'"' => {
                word.put_u8(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => other,
                });
                at += 2;
            }
            (b'\\', Some(b'\'')) => {
                word.put_u8(b'\'');
                at += 2;
            }
            (&byte, _) => {
                word.put_u8(byte);
                at += 1;
            }
        }
    }
}

fn hex_pair(line: &[u8], at: usize) -> Option<u8> {
    let digit = |byte: &u8| (*byte as char).to_digit(16);
    let high = line.get(at).and_then(digit)?;
    let low = line.get(at + 1).and_then(digit)?;
    Some((high * 16 + low) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Option<Vec<Vec<u8>>> {
        split(line.as_bytes()).map(|words| words.iter().map(|word| word.to_vec()).collect())
    }

    #[test]
    fn words_are_separated_by_white_space() {
        assert_eq!(
            words("  set  a\tb "),
            Some(vec![b"set".to_vec(), b"a".to_vec(), b"b".to_vec()])
        );
        assert_eq!(words(""), Some(vec![]));
    }

    #[test]
    fn double_quotes_know_escapes_and_single_quotes_only_their_own() {
        assert_eq!(words(r#""a\x41\n\q""#), Some(vec![b"aA\nq".to_vec()]));
        assert_eq!(words(r#"'a\'b\n'"#), Some(vec![br"a'b\n".to_vec()]));
        assert_eq!(words(r#""""#), Some(vec![vec![]]));
    }

    #[test]
    fn an_open_quote_or_text_after_a_closing_one_is_unbalanced() {
        assert_eq!(words(r#""a"#), None);
        assert_eq!(words("'a"), None);
        assert_eq!(words(r#""a"b"#), None);
        assert_eq!(words(r#""a\"#), None);
    }
}
