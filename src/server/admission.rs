//! Whose connection it is, what it may do, and how it says so: AUTH, HELLO, and what is refused without.
//! <https://redis.io/docs/latest/commands/auth/>

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::timeout;

use super::Server;
use super::acl_log::Noted;
use super::clients::Client;
use super::control::refusal;
use super::pubsub::KINDS;
use super::session::Session;
use crate::access::{DEFAULT_USER, Denial, LoadError, Refused, Source, Turn, User, Users};
use crate::command::control::{ChannelKind, Credentials, KillFilter};
use crate::command::{Command, Rejection, table};
use crate::resp::Reply;

/// Whose connection it is.
#[derive(Debug)]
pub(super) struct Admission {
    user: Arc<User>,
    /// Which users were in force when it was looked up.
    generation: u64,
    /// It has said who it is, or need not.
    is_known: bool,
    /// It is known, and its user may do everything: nothing is looked at.
    pub(super) is_free: bool,
}

impl Admission {
    fn new(user: &Arc<User>, generation: u64, is_known: bool) -> Self {
        Self {
            is_free: is_known && user.rights().are_unlimited(),
            user: Arc::clone(user),
            generation,
            is_known,
        }
    }

    /// Which users were in force when the connection's was looked up.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether the connection has said whose it is, or need not.
    pub(super) fn is_known(&self) -> bool {
        self.is_known
    }

    pub(super) fn user(&self) -> &User {
        &self.user
    }

    /// Whether the connection may not do this.
    pub(super) fn forbids(&self, words: &[Bytes]) -> bool {
        match self.is_known {
            _ if self.is_free => false,
            true => self.user.rights().check(words).is_err(),
            false => needs_login(words),
        }
    }
}

/// Waits, unless the connection is to end.
async fn pause(client: &Client, wait: Duration) {
    if !wait.is_zero() {
        let _ = timeout(wait, client.stop.cancelled()).await;
    }
}

/// Whether a request is none of those that say who one is.
fn needs_login(words: &[Bytes]) -> bool {
    let spec = words.first().and_then(|name| table::find(name));
    spec.is_none_or(|spec| !spec.flags.contains(&"no_auth"))
}

impl Session {
    /// Whether no request has to be looked at before it is executed.
    pub(super) fn is_free(&self) -> bool {
        self.admission.is_free && !self.is_restricted
    }
}

impl Server {
    /// That of a connection that has sent nothing yet: the default user's, if that needs no password.
    pub(super) fn admission_of_new(&self, client: &Client) -> Admission {
        let (users, generation) = self.access.current();
        let admission = Admission::new(users.default_user(), generation, users.let_anybody_in());
        client.set_user(&admission.user, admission.is_known);
        admission
    }

    /// Looks the user up again, as the users have changed. False if there is none of this name any more, or it is
    /// off.
    pub(super) fn admit_again(&self, client: &Client, admission: &mut Admission) -> bool {
        let (users, generation) = self.access.current();
        if !admission.is_known {
            *admission = self.admission_of_new(client);
            return true;
        }
        let user = users.find(admission.user.name().as_bytes());
        let Some(user) = user.filter(|user| user.is_on()) else {
            return false;
        };
        *admission = Admission::new(user, generation, true);
        client.set_user(user, true);
        true
    }

    /// The command, if the connection may do it now. What Redis refuses for everybody is refused first.
    pub(super) fn admitted(
        &self,
        client: &Client,
        session: &Session,
        words: &[Bytes],
        command: Result<Command, Rejection>,
    ) -> Result<Command, Rejection> {
        let admission = &session.admission;
        if admission.is_free || matches!(&command, Err(rejection) if rejection.is_early) {
        } else if !admission.is_known {
            if needs_login(words) {
                self.engine.metrics().commands_denied.add(1);
                return Err(Rejection::early("NOAUTH Authentication required."));
            }
        } else if let Err(denial) = admission.user.rights().check(words) {
            let context = match session.transaction.is_queueing() {
                true => "multi",
                false => "toplevel",
            };
            self.note_denial(client, admission, context, &denial);
            return Err(Rejection::early(denial.text()));
        }
        match session
            .is_restricted
            .then(|| refusal(client, words))
            .flatten()
        {
            Some(text) => Err(Rejection::early(text)),
            None => command,
        }
    }

    /// The error that takes the place of a queued command which is not allowed any more.
    pub(super) fn denial_at_exec(
        &self,
        client: &Client,
        admission: &Admission,
        words: &[Bytes],
    ) -> Option<String> {
        let denial = admission.user.rights().check(words).err()?;
        self.note_denial(client, admission, "multi", &denial);
        Some(denial.text_at_exec())
    }

    fn note_denial(
        &self,
        client: &Client,
        admission: &Admission,
        context: &'static str,
        denial: &Denial,
    ) {
        self.engine.metrics().commands_denied.add(1);
        self.acl_log.note(
            client,
            Noted {
                reason: denial.reason(),
                context,
                object: denial.object(),
                username: admission.user.name().to_owned(),
            },
        );
    }

    /// Whether the words of queued commands are kept until EXEC, since rights may change.
    pub(super) fn keeps_words(&self) -> bool {
        self.access.is_configured()
    }

    /// AUTH, and that of HELLO, if it has one. The answer to a wrong password waits, on this connection alone, and
    /// longer each time.
    pub(super) async fn log_in(
        &self,
        client: &Client,
        session: &mut Session,
        credentials: Option<&Credentials>,
        command: &'static str,
    ) -> Result<(), Reply> {
        let Some(Credentials { username, password }) = credentials else {
            return Ok(());
        };
        let (users, generation) = self.access.current();
        let default = users.default_user();
        if username.is_none() && default.needs_no_password() {
            return Err(Reply::Error(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?".into(),
            ));
        }
        let name = username.as_deref().unwrap_or(DEFAULT_USER.as_bytes());
        let address = client.address().ip();
        // A name that is unknown may be a password in the wrong place.
        let known = users.find(name).map_or("(unknown)", |user| user.name());
        match self.throttle.turn(address, known, Instant::now()) {
            Turn::In(wait) => pause(client, wait).await,
            Turn::Refused(wait) => {
                self.engine.metrics().authentication_failures.add(1);
                return Err(Reply::Error(format!(
                    "ERR too many failed logins of this user from this address; try again in {} s",
                    wait.as_secs() + 1
                )));
            }
        }
        match users.authenticate(name, password) {
            Ok(user) => {
                session.admission = Admission::new(&user, generation, true);
                client.set_user(&user, true);
                self.throttle.succeeded(address, known);
                Ok(())
            }
            Err(Refused) => {
                self.engine.metrics().authentication_failures.add(1);
                let (wait, is_logged) = self.throttle.failed(address, known, Instant::now());
                if is_logged {
                    tracing::warn!(
                        client = %client.address(),
                        user = known,
                        "a login was refused; its answer waits {} ms",
                        wait.as_millis()
                    );
                }
                self.acl_log.note(
                    client,
                    Noted {
                        reason: "auth",
                        context: "toplevel",
                        object: Bytes::from_static(command.as_bytes()),
                        username: known.to_owned(),
                    },
                );
                pause(client, wait).await;
                Err(Reply::Error(
                    "WRONGPASS invalid username-password pair or user is disabled.".into(),
                ))
            }
        }
    }

    /// The user that CLIENT KILL names, if there is no such user.
    pub(super) fn unknown_user(&self, filter: &KillFilter) -> Option<String> {
        let name = filter.user.as_ref()?;
        let (users, _) = self.access.current();
        match users.find(name) {
            Some(_) => None,
            None => Some(String::from_utf8_lossy(name).into_owned()),
        }
    }

    /// Reads the users of another source, without letting them in.
    ///
    /// # Errors
    ///
    /// They can't be read, or would let in who may not.
    pub fn prepare_users(&self, source: Source) -> Result<(Users, Source), LoadError> {
        let must_ask = self.access.source().must_ask;
        let source = Source { must_ask, ..source };
        Ok((source.load()?, source))
    }

    /// Lets in the users that were prepared, and none else.
    pub fn take_users(&self, (users, source): (Users, Source)) {
        self.replace_users(users);
        self.access.set_source(source);
    }

    /// Replaces the users. Connections of users that are gone or off end, and those that hear channels, or all
    /// commands, which their users may not any more; the others have the new rights with what they send next.
    pub(super) fn replace_users(&self, users: Users) {
        self.access.replace(users);
        let (users, _) = self.access.current();
        let is_over = |client: &Client| {
            if !client.is_known() {
                return false;
            }
            let name = client.user_name();
            let Some(user) = users.find(name.as_bytes()).filter(|user| user.is_on()) else {
                return true;
            };
            let hears_too_much = || {
                KINDS.iter().any(|kind| {
                    let names = self.channels.names(client, *kind);
                    let is_pattern = *kind == ChannelKind::Pattern;
                    let may_hear = |name: &Bytes| user.rights().may_hear(name, is_pattern);
                    !names.iter().all(may_hear)
                })
            };
            let monitor = [Bytes::from_static(b"monitor")];
            (client.is_monitor() && user.rights().check(&monitor).is_err())
                || (client.is_subscriber() && hears_too_much())
        };
        for client in self.clients.filtered(is_over) {
            client.mailbox.end();
        }
    }
}
