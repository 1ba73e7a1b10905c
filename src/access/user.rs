//! One user.

use subtle::Choice;

use super::digest::Digest;
use super::rights::Rights;

/// Who may connect, with what, and what for.
#[derive(Debug, Clone)]
pub struct User {
    pub(super) name: String,
    pub(super) is_on: bool,
    /// Any password is right.
    pub(super) needs_no_password: bool,
    /// `sanitize-payload` or `skip-sanitize-payload`, which is about RESTORE: only shown.
    pub(super) sanitize: Option<&'static str>,
    pub(super) passwords: Vec<Digest>,
    pub(super) rights: Rights,
}

impl User {
    /// A user who can't connect and may do nothing: what `user NAME` alone means.
    pub fn new(name: impl Into<String>) -> Self {
        User {
            name: name.into(),
            is_on: false,
            needs_no_password: false,
            sanitize: None,
            passwords: Vec::new(),
            rights: Rights::default(),
        }
    }

    /// A user who may do everything, with this password; with any, if there is none.
    pub(super) fn unlimited(name: &str, password: Option<&[u8]>) -> Self {
        let mut user = User::new(name);
        user.is_on = true;
        user.needs_no_password = password.is_none();
        user.passwords.extend(password.map(Digest::of));
        user.rights.set_every_command(true);
        user.rights.set_every_key(true);
        user.rights.set_every_channel(true);
        user
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it can connect.
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Whether it connects with any password.
    pub fn needs_no_password(&self) -> bool {
        self.needs_no_password
    }

    /// What it may do.
    pub fn rights(&self) -> &Rights {
        &self.rights
    }

    /// The digests of its passwords.
    pub fn passwords(&self) -> &[Digest] {
        &self.passwords
    }

    /// Whether the password is one of the user's. All are compared, whichever is right.
    pub(super) fn has_password(&self, given: &Digest) -> bool {
        let mut found = Choice::from(u8::from(self.needs_no_password));
        for password in &self.passwords {
            found |= password.is_same(given);
        }
        found.into()
    }

    /// The words that are neither passwords nor rights, as ACL GETUSER shows them.
    pub fn flags(&self) -> Vec<&'static str> {
        let on = if self.is_on { "on" } else { "off" };
        let nopass = self.needs_no_password.then_some("nopass");
        [Some(on), nopass, self.sanitize]
            .into_iter()
            .flatten()
            .collect()
    }

    /// The line of the users file that says the same, as ACL LIST shows it.
    pub fn line(&self) -> String {
        let mut words = vec!["user".to_owned(), self.name.clone()];
        words.extend(self.flags().into_iter().map(str::to_owned));
        let hashes = self
            .passwords
            .iter()
            .map(|digest| format!("#{}", digest.hex()));
        words.extend(hashes);
        words.push(self.rights.key_rules());
        if !self.rights.has_every_channel() {
            words.push("resetchannels".to_owned());
        }
        words.push(self.rights.channel_rules());
        words.push(self.rights.command_rules());
        words.retain(|word| !word.is_empty());
        words.join(" ")
    }
}
