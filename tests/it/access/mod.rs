//! Who gets in, and who may do what. What is the same in Redis is held against a real redis-server.

mod exposure;
mod limits;
mod login;
mod reload;
mod rights;
mod secrets;

/// Users of most tests. The passwords are the names.
pub const USERS: &str = "\
user default on nopass ~* &* +@all
user admin on >admin ~* &* +@all
user app on #a172cedcae47474b615c54d510a5d84a8dea3032e958587430b413538be3f333 ~app:* %R~ro:* %W~wo:* &news.* -@all +@read +@write +@pubsub +@transaction +ping +echo +client|id +config|get +acl|whoami +object +memory|usage -flushall -flushdb
user reader on >reader ~* &* +@read +@connection
user off off >off ~* &* +@all
";
