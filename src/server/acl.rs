//! ACL: the users, and what they may do. <https://redis.io/docs/latest/commands/acl/>

use std::sync::Arc;

use bytes::Bytes;

use super::Server;
use super::clients::Client;
use super::session::Session;
use crate::access::{LoadError, User};
use crate::command::Command;
use crate::command::categories::{CATEGORIES, categories};
use crate::command::control::Acl;
use crate::command::subcommands::{self, SUBCOMMANDS};
use crate::command::table::{self, COMMANDS};
use crate::resp::Reply;

impl Server {
    pub(super) async fn acl(
        &self,
        client: &Arc<Client>,
        session: &mut Session,
        asked: Acl,
    ) -> Reply {
        let (users, _) = self.access.current();
        match asked {
            Acl::WhoAmI => Reply::text(session.admission.user().name()),
            Acl::Users => Reply::Array(users.iter().map(|user| Reply::text(user.name())).collect()),
            Acl::List => Reply::Array(users.iter().map(|user| Reply::text(user.line())).collect()),
            Acl::GetUser(name) => users
                .find(&name)
                .map_or(Reply::Null, |user| described(user)),
            Acl::Categories(category) => in_category(category.as_deref()),
            Acl::DryRun(name, words) => match users.find(&name) {
                Some(user) => self.dry_run(user, &words),
                None => {
                    let shown = String::from_utf8_lossy(&name);
                    Reply::Error(format!("ERR User '{shown}' not found"))
                }
            },
            Acl::Log(count) => self.acl_log.answer(count),
            Acl::ResetLog => {
                self.acl_log.reset();
                Reply::OK
            }
            Acl::Load => self.load_users(client, session).await,
        }
    }

    fn dry_run(&self, user: &User, words: &[Bytes]) -> Reply {
        let name = words.first().map(|name| &name[..]).unwrap_or_default();
        let at = table::position(name).filter(|at| {
            // A container's word has to be one of its subcommands.
            let sub = words.get(1).filter(|_| !subcommands::of(*at).is_empty());
            sub.is_none_or(|sub| subcommands::position(*at, sub).is_some())
        });
        if at.is_none() {
            let shown = String::from_utf8_lossy(name);
            return Reply::Error(format!("ERR Command '{shown}' not found"));
        }
        if let Err(rejection) = Command::parse(words, self.settings.value_max)
            && rejection.is_early
        {
            return Reply::Error(rejection.text);
        }
        match user.rights().check(words) {
            Ok(()) => Reply::OK,
            Err(denial) => Reply::text(denial.text_of_dry_run()),
        }
    }

    async fn load_users(&self, client: &Client, session: &mut Session) -> Reply {
        let source = self.access.source();
        if source.users_file.is_none() {
            return Reply::Error(
                "ERR This Redis instance is not configured to use an ACL file. Name one with USERS_FILE, and start the proxy again".into(),
            );
        }
        let loaded = tokio::task::spawn_blocking(move || source.load()).await;
        let users = match loaded {
            Ok(Ok(users)) => users,
            Ok(Err(error)) => return Reply::Error(refused(&error)),
            Err(error) => return Reply::Error(format!("ERR the users file was not read: {error}")),
        };
        tracing::info!(
            client = %client.address(),
            user = session.admission.user().name(),
            "the users were read again, for ACL LOAD"
        );
        self.replace_users(users);
        if !self.admit_again(client, &mut session.admission) {
            session.is_closing = true;
        }
        Reply::OK
    }
}

fn refused(error: &LoadError) -> String {
    format!(
        "ERR {error}. WARNING: ACL errors detected, no change to the previously active ACL rules was performed"
    )
}

fn described(user: &User) -> Reply {
    let texts = |texts: Vec<String>| texts.into_iter().map(Reply::text).collect();
    let flags = user.flags().into_iter().map(Reply::text).collect();
    let passwords = user.passwords().iter().map(|digest| digest.hex()).collect();
    let rights = user.rights();
    let field = |name: &str, value: Reply| (Reply::text(name), value);
    Reply::Map(vec![
        field("flags", Reply::Set(flags)),
        field("passwords", Reply::Array(texts(passwords))),
        field("commands", Reply::text(rights.command_rules())),
        field("keys", Reply::text(rights.key_rules())),
        field("channels", Reply::text(rights.channel_rules())),
        field("selectors", Reply::Array(Vec::new())),
    ])
}

/// ACL CAT
fn in_category(category: Option<&[u8]>) -> Reply {
    let Some(category) = category else {
        return Reply::Array(CATEGORIES.iter().map(|name| Reply::text(*name)).collect());
    };
    let known = CATEGORIES
        .iter()
        .find(|known| category.eq_ignore_ascii_case(known.as_bytes()));
    let Some(known) = known else {
        let shown = String::from_utf8_lossy(category);
        return Reply::Error(format!("ERR Unknown category '{shown}'"));
    };
    let is_in = |categories: &[&str]| {
        categories
            .iter()
            .any(|category| category.strip_prefix('@') == Some(known))
    };
    let commands = COMMANDS
        .iter()
        .filter(|spec| is_in(&categories(spec)))
        .map(|spec| Reply::text(spec.name));
    let subcommands = SUBCOMMANDS
        .iter()
        .filter(|sub| is_in(sub.categories))
        .map(|sub| Reply::text(format!("{}|{}", sub.container, sub.name)));
    Reply::Array(commands.chain(subcommands).collect())
}
