//! Commands on the connection and the server.

use super::clients::Client;
use super::session::{Session, authenticate};
use super::{Server, info, introspect};
use crate::command::Control;
use crate::resp::Reply;

impl Server {
    /// What `control` answers. Everything that came before it on the connection has been answered.
    pub(super) async fn control(
        &self,
        client: &Client,
        session: &mut Session,
        control: Control,
    ) -> Reply {
        match control {
            Control::Ping(None) => Reply::Status("PONG"),
            Control::Ping(Some(message)) | Control::Echo(message) => Reply::Bulk(message),
            Control::Select | Control::Quit => Reply::OK,
            Control::Hello(hello) => session.hello(client, hello),
            Control::Auth(credentials) => {
                authenticate(&credentials).map_or_else(|refusal| refusal, |()| Reply::OK)
            }
            Control::Reset => session.reset(client),
            Control::Client(subcommand) => session.client(self, client, subcommand),
            Control::Introspect(subcommand) => introspect::command(subcommand),
            Control::Info(sections) => Reply::Verbatim(info::info(self, &sections).await),
            Control::ConfigGet(patterns) => introspect::config_get(&self.settings, &patterns),
        }
    }
}
