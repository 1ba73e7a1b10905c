//! Which servers can be used as the cache.

use ::redis::InfoDict;

/// `SET … NX GET` came with this major version.
const VERSION_MIN: u32 = 7;

/// Whether this server can be used.
pub(super) fn check_server(info: &InfoDict) -> Result<(), String> {
    let version: String = info.get("redis_version").unwrap_or_default();
    let major = version.split('.').next().and_then(|text| text.parse().ok());
    if major.is_none_or(|major: u32| major < VERSION_MIN) {
        return Err(format!(
            "it is version {version}; version {VERSION_MIN} or later is needed"
        ));
    }
    if !is_master(info) {
        return Err("it is a replica".to_owned());
    }
    if info
        .get::<String>("loading")
        .is_some_and(|text| text != "0")
    {
        return Err("it is still loading its data".to_owned());
    }
    Ok(())
}

pub(super) fn is_master(info: &InfoDict) -> bool {
    info.get::<String>("role")
        .is_some_and(|role| role == "master")
}
