//! The words after `user NAME`: Redis' ACL rules, one by one.

use super::digest::Digest;
use super::user::User;
use crate::command::categories::{CATEGORIES, categories};
use crate::command::subcommands::{self, SUBCOMMANDS};
use crate::command::table::{self, COMMANDS};
use crate::command::unsupported::UNSUPPORTED;

/// Why a word is none that can be applied. The text ends with what to do.
pub(super) type Problem = String;

/// Applies one word to a user. True if it is a password in plain text.
///
/// # Errors
///
/// What is wrong with the word. It is not repeated: it may be a password.
pub(super) fn apply(user: &mut User, word: &str) -> Result<bool, Problem> {
    let Some(first) = word.chars().next() else {
        return Ok(false);
    };
    let rest = &word[first.len_utf8()..];
    match first {
        '>' => {
            add(user, Digest::of(rest.as_bytes()));
            return Ok(true);
        }
        '<' => remove(user, &Digest::of(rest.as_bytes()))?,
        '#' => add(user, digest(rest)?),
        '!' => remove(user, &digest(rest)?)?,
        '+' | '-' => command(user, rest, first == '+')?,
        '~' if rest == "*" => user.rights.set_every_key(true),
        '~' => keys(user, rest, true, true)?,
        '%' => {
            let (flags, pattern) = rest
                .split_once('~')
                .ok_or("Syntax error; write %R~PATTERN, %W~PATTERN or ~PATTERN")?;
            let is = |flag| flags.to_ascii_uppercase().contains(flag);
            if flags.is_empty() || !flags.chars().all(|flag| "rRwW".contains(flag)) {
                return Err("Syntax error; write %R~PATTERN, %W~PATTERN or ~PATTERN".to_owned());
            }
            keys(user, pattern, is('R'), is('W'))?;
        }
        '&' if rest == "*" => user.rights.set_every_channel(true),
        '&' if user.rights.has_every_channel() => return Err(AFTER_EVERY_CHANNEL.to_owned()),
        '&' => user.rights.allow_channels(rest),
        '(' => {
            return Err(
                "selectors are not served; give the user one set of rights, or make a second user"
                    .to_owned(),
            );
        }
        _ => named(user, word)?,
    }
    Ok(false)
}

const AFTER_EVERY_KEY: &str = "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try 'resetkeys' to start with an empty list of patterns";
const AFTER_EVERY_CHANNEL: &str = "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. Try 'resetchannels' to start with an empty list of channels";

const SANITIZE: &str = "sanitize-payload";

fn named(user: &mut User, word: &str) -> Result<(), Problem> {
    match word.to_ascii_lowercase().as_str() {
        "on" => user.is_on = true,
        "off" => user.is_on = false,
        "nopass" => {
            user.needs_no_password = true;
            user.passwords = Vec::new();
        }
        "resetpass" => {
            user.needs_no_password = false;
            user.passwords = Vec::new();
        }
        "allkeys" => user.rights.set_every_key(true),
        "resetkeys" => user.rights.set_every_key(false),
        "allchannels" => user.rights.set_every_channel(true),
        "resetchannels" => user.rights.set_every_channel(false),
        "allcommands" => user.rights.set_every_command(true),
        "nocommands" => user.rights.set_every_command(false),
        SANITIZE => user.sanitize = Some(SANITIZE),
        "skip-sanitize-payload" => user.sanitize = Some("skip-sanitize-payload"),
        // There are none.
        "clearselectors" => {}
        "reset" => {
            *user = User::new(std::mem::take(&mut user.name));
            user.sanitize = Some(SANITIZE);
        }
        _ => {
            return Err(
                "Syntax error; it is none of Redis' ACL words (a password is written as # and its SHA-256, a pattern of keys as ~PATTERN)"
                    .to_owned(),
            );
        }
    }
    Ok(())
}

fn digest(text: &str) -> Result<Digest, Problem> {
    Digest::from_hex(text).ok_or_else(|| {
        "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters; `printf %s PASSWORD | sha256sum` prints it"
            .to_owned()
    })
}

fn add(user: &mut User, password: Digest) {
    user.needs_no_password = false;
    if !user.has_password(&password) {
        user.passwords.push(password);
    }
}

fn remove(user: &mut User, password: &Digest) -> Result<(), Problem> {
    let before = user.passwords.len();
    user.passwords
        .retain(|known| !bool::from(known.is_same(password)));
    match user.passwords.len() < before {
        true => Ok(()),
        false => Err(
            "The password you are trying to remove from the user does not exist; take the word away"
                .to_owned(),
        ),
    }
}

fn keys(user: &mut User, pattern: &str, reads: bool, writes: bool) -> Result<(), Problem> {
    if user.rights.has_every_key() {
        return Err(AFTER_EVERY_KEY.to_owned());
    }
    user.rights.allow_keys(pattern, reads, writes);
    Ok(())
}

/// `+NAME` or `-NAME`: a category with an @, a command, or a subcommand as `config|get`.
fn command(user: &mut User, name: &str, is_allowed: bool) -> Result<(), Problem> {
    let name = name.to_ascii_lowercase();
    let before = user.rights.clone();
    let rights = &mut user.rights;
    // What changes no right is not shown, unless it is about what the proxy does not serve.
    let mut is_served = false;
    let unknown =
        || Err("Unknown command or category name in ACL; ACL CAT lists what there is".to_owned());
    if let Some(category) = name.strip_prefix('@') {
        if category == "all" {
            rights.set_every_command(is_allowed);
            return Ok(());
        }
        if !CATEGORIES.contains(&category) {
            return unknown();
        }
        for (at, spec) in COMMANDS.iter().enumerate() {
            // As in Redis, with all its subcommands.
            if categories(spec).contains(&name.as_str()) {
                rights.set_command(at, is_allowed);
                is_served = true;
            }
            for sub in subcommands::of(at) {
                if SUBCOMMANDS[sub].categories.contains(&name.as_str()) {
                    rights.set_subcommand(sub, is_allowed);
                    is_served = true;
                }
            }
        }
    } else {
        let (container, sub) = match name.split_once('|') {
            Some((container, sub)) => (container, Some(sub)),
            None => (name.as_str(), None),
        };
        // What the proxy does not serve nobody can run, but a file made for a Redis may name it.
        let is_unsupported = UNSUPPORTED
            .binary_search_by(|(known, _)| known.cmp(&container))
            .is_ok();
        is_served = !is_unsupported;
        match (table::position(container.as_bytes()), sub) {
            (Some(at), None) => rights.set_command(at, is_allowed),
            (Some(at), Some(sub)) => match subcommands::position(at, sub.as_bytes()) {
                Some(sub) => rights.set_subcommand(sub, is_allowed),
                None if subcommands::of(at).is_empty() => {
                    return Err(format!(
                        "{container} has no subcommands, and rights by a first argument are not served; write {container} alone"
                    ));
                }
                None => return unknown(),
            },
            (None, _) if is_unsupported => {}
            _ => return unknown(),
        }
    }
    if !is_served || !rights.have_commands_of(&before) {
        rights.note_rule(&name, is_allowed);
    }
    Ok(())
}
