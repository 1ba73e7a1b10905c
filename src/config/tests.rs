//! The configuration as a whole, without the process's environment.

use super::*;
use crate::tls::{ClientAuth, Roots, Verification};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

/// What the layers hold in a test.
#[derive(Default)]
struct Given {
    args: Vec<&'static str>,
    env: BTreeMap<&'static str, &'static str>,
    dotenv: &'static str,
}

impl Given {
    fn load(&self) -> Result<Config, LoadError> {
        static FILES: AtomicU32 = AtomicU32::new(0);
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!(
            "respgres-config-{}-{number}.env",
            std::process::id()
        ));
        std::fs::write(&path, self.dotenv).unwrap();
        let args = std::iter::once(&"respgres")
            .chain(&self.args)
            .map(OsString::from);
        let loaded = Config::load(
            args,
            |name| self.env.get(name).map(|value| (*value).to_owned()),
            &path,
        );
        std::fs::remove_file(&path).unwrap();
        loaded
    }

    fn mistakes(&self) -> Vec<Mistake> {
        match self.load() {
            Err(LoadError::Mistakes(mistakes)) => mistakes,
            other => panic!("expected mistakes, got {other:?}"),
        }
    }
}

fn env(variables: &[(&'static str, &'static str)]) -> Given {
    Given {
        env: variables.iter().copied().collect(),
        ..Given::default()
    }
}

fn args(args: &[&'static str]) -> Given {
    Given {
        args: args.to_vec(),
        ..Given::default()
    }
}

/// The one mistake of `variables`, which is in `variable` and says all of `words`.
#[track_caller]
fn assert_mistake(variables: &[(&'static str, &'static str)], variable: &str, words: &[&str]) {
    let mistakes = env(variables).mistakes();
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    assert_eq!(mistakes[0].variable, variable, "{mistakes:?}");
    for word in words {
        assert!(
            mistakes[0].problem.contains(word),
            "`{word}` is not in {mistakes:?}"
        );
    }
}

fn shards(config: &Config) -> Vec<String> {
    config
        .shards
        .iter()
        .map(|shard| format!("{}={shard}", shard.variable()))
        .collect()
}

#[test]
fn without_settings_it_is_embedded_with_the_documented_defaults() {
    let config = Given::default().load().unwrap();
    assert!(config.embedded);
    assert_eq!(
        shards(&config),
        [0, 1, 2].map(|number| format!("DATA_DIR=sqlite:./respgres-data/shard_{number}.db"))
    );
    assert_eq!(config.cache, CacheTarget::Memory);
    assert_eq!((config.db_pool_min_size, config.db_pool_max_size), (2, 10));
    assert_eq!(config.cache_ttl, Duration::from_secs(300));
    assert_eq!(
        (config.resp_addr.as_deref(), config.http_addr.as_deref()),
        (Some("127.0.0.1:6379"), Some("127.0.0.1:8004"))
    );
    assert_eq!((config.resp_tls_addr, config.http_tls_addr), (None, None));
    assert_eq!(config.tls, None);
    assert_eq!(
        (config.max_value_size, config.max_clients),
        (16 << 20, 10_000)
    );
    assert_eq!(config.cache_memory, 256 << 20);
    assert_eq!(config.db_connect_timeout, Duration::from_secs(2));
    assert_eq!(config.db_pool_wait_timeout, Duration::from_secs(2));
    assert_eq!(config.db_query_timeout, Duration::from_secs(5));
    assert_eq!(config.redis_timeout, Duration::from_millis(200));
    assert!(!config.reads_when_shard_down);
    assert!(!config.hash_tags && !config.atomic_mset);
    assert_eq!(config.shutdown_timeout, Duration::from_secs(10));
    assert_eq!(config.users_file, None);
    assert_eq!(config.client_idle_timeout, Duration::ZERO);
    assert_eq!(config.authentication_timeout, Duration::from_secs(60));
    assert_eq!(config.max_output_buffer, 32 << 20);
    assert_eq!(config.max_queued_commands, 1_000_000);
    assert_eq!(
        (config.log_format, config.log_level.as_str()),
        (LogFormat::Text, "info")
    );
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let mut given = Given {
        args: vec!["--cache-ttl", "1"],
        env: [("CACHE_TTL", "2"), ("MAX_CLIENTS", "2")].into(),
        dotenv: "CACHE_TTL=3\nMAX_CLIENTS=3\nexport DATA_DIR='/var/lib/with space'\n# CACHE_MEMORY=1\n",
    };
    let config = given.load().unwrap();
    assert_eq!(
        (config.cache_ttl, config.max_clients),
        (Duration::from_secs(1), 2)
    );
    assert_eq!(config.data_dir, Path::new("/var/lib/with space"));

    given.args.clear();
    assert_eq!(given.load().unwrap().cache_ttl, Duration::from_secs(2));
    given.env.clear();
    assert_eq!(given.load().unwrap().cache_ttl, Duration::from_secs(3));
}

#[test]
fn an_empty_value_counts_as_none_in_every_layer() {
    let given = Given {
        args: vec!["--redis-url", ""],
        env: [("REDIS_URL", ""), ("SHARD_0_URL", ""), ("CACHE_TTL", "")].into(),
        dotenv: "REDIS_URL=redis://cache:6379\nCACHE_TTL=",
    };
    let config = given.load().unwrap();
    assert_eq!(config.cache.to_string(), "redis://cache:6379");
    assert_eq!(config.cache_ttl, Duration::from_secs(300));
    assert!(config.embedded);
}

#[test]
fn a_file_that_does_not_exist_is_no_mistake() {
    let path = Path::new("/nonexistent/respgres/.env");
    assert!(Config::load(["respgres".into()], |_| None, path).is_ok());
}

#[test]
fn shards_come_from_numbered_variables_and_may_be_of_both_kinds() {
    let config = env(&[
        ("SHARD_0_URL", "postgresql://dbuser:p%40ss@db0:5440/app"),
        ("SHARD_1_URL", "sqlite:data/one.db"),
        ("SHARD_2_URL", "postgres:///app?host=/run/postgresql"),
        ("NUM_SHARDS", "3"),
    ])
    .load()
    .unwrap();
    assert!(!config.embedded);
    assert_eq!(
        shards(&config),
        [
            "SHARD_0_URL=postgresql://dbuser:***@db0:5440/app",
            "SHARD_1_URL=sqlite:data/one.db",
            "SHARD_2_URL=postgres:///app?host=/run/postgresql",
        ]
    );
    let ShardTarget::Postgres { config, url, .. } = &config.shards[0] else {
        panic!()
    };
    assert_eq!(config.get_password(), Some(&b"p@ss"[..]));
    assert_eq!(url.expose(), "postgresql://dbuser:p%40ss@db0:5440/app");
}

#[test]
fn shard_flags_replace_all_shard_variables() {
    let given = Given {
        args: vec!["--shard-url", "sqlite:b.db", "--shard-url=sqlite:a.db"],
        env: [
            ("SHARD_0_URL", "postgres://db0/app"),
            ("SHARD_5_URL", "nonsense"),
        ]
        .into(),
        dotenv: "",
    };
    assert_eq!(
        shards(&given.load().unwrap()),
        ["SHARD_0_URL=sqlite:b.db", "SHARD_1_URL=sqlite:a.db"]
    );
}

#[test]
fn shard_variables_of_the_layers_are_merged() {
    let given = Given {
        env: [("SHARD_1_URL", "sqlite:env.db")].into(),
        dotenv: "SHARD_0_URL=sqlite:file.db\nSHARD_1_URL=sqlite:hidden.db",
        ..Given::default()
    };
    assert_eq!(
        shards(&given.load().unwrap()),
        ["SHARD_0_URL=sqlite:file.db", "SHARD_1_URL=sqlite:env.db"]
    );
}

#[test]
fn num_shards_sets_the_number_of_embedded_shards() {
    let config = env(&[("NUM_SHARDS", "5"), ("DATA_DIR", "/d")])
        .load()
        .unwrap();
    assert_eq!(config.shards.len(), 5);
    assert_eq!(config.shards[4].to_string(), "sqlite:/d/shard_4.db");
}

#[test]
fn sqlite_paths() {
    for (url, path) in [
        ("sqlite:a.db", "a.db"),
        ("sqlite:/d/a.db", "/d/a.db"),
        ("sqlite:///d/a.db", "/d/a.db"),
    ] {
        let config = env(&[("SHARD_0_URL", url)]).load().unwrap();
        assert!(
            matches!(&config.shards[0], ShardTarget::Sqlite { path: found, .. } if found == Path::new(path)),
            "{url}"
        );
    }
    assert_mistake(
        &[("SHARD_0_URL", "sqlite:")],
        "SHARD_0_URL",
        &["names no file"],
    );
    assert_mistake(
        &[("SHARD_0_URL", "sqlite::memory:")],
        "SHARD_0_URL",
        &["lose its rows"],
    );
    assert_mistake(
        &[("SHARD_0_URL", "sqlite://a.db")],
        "SHARD_0_URL",
        &["two slashes"],
    );
}

#[test]
fn a_gap_in_the_numbers_names_the_missing_variable() {
    let one = [
        ("SHARD_0_URL", "sqlite:0.db"),
        ("SHARD_2_URL", "sqlite:2.db"),
        ("NUM_SHARDS", "3"),
    ];
    assert_mistake(
        &one,
        "SHARD_1_URL",
        &["not set", "SHARD_2_URL", "without a gap"],
    );
    let many = [("SHARD_4_URL", "sqlite:4.db")];
    assert_mistake(
        &many,
        "SHARD_0_URL",
        &["others up to SHARD_3_URL", "SHARD_4_URL is"],
    );
}

#[test]
fn num_shards_must_match_the_urls() {
    let three = [
        ("SHARD_0_URL", "sqlite:0.db"),
        ("SHARD_1_URL", "sqlite:1.db"),
        ("NUM_SHARDS", "3"),
    ];
    assert_mistake(
        &three,
        "NUM_SHARDS",
        &["`3`", "2 shard URLs", "NUM_SHARDS=2"],
    );
    assert_mistake(
        &[("NUM_SHARDS", "0")],
        "NUM_SHARDS",
        &["`0`", "from 1 to 1024"],
    );
}

#[test]
fn one_database_named_twice_names_both_variables() {
    let twice = [
        ("SHARD_0_URL", "postgres://u:hunter2@db/app"),
        ("SHARD_1_URL", "sqlite:1.db"),
        ("SHARD_2_URL", "postgres://u:hunter2@db/app"),
    ];
    assert_mistake(
        &twice,
        "SHARD_2_URL",
        &["SHARD_0_URL", "postgres://u:***@db/app"],
    );
}

#[test]
fn broken_urls_are_mistakes_that_show_no_password() {
    for (variable, url, word) in [
        (
            "SHARD_0_URL",
            "mysql://u:hunter2@db/app",
            "not the URL of a shard",
        ),
        (
            "SHARD_0_URL",
            "postgres://u:hunter2@db:port/app",
            "invalid value for option `port`",
        ),
        (
            "SHARD_0_URL",
            "postgres://u:hunter2@db/app?shard=1",
            "unknown option `shard`",
        ),
        (
            "SHARD_0_URL",
            "postgres://u:a@b?hunter2=1@db/app",
            "unknown option;",
        ),
        (
            "SHARD_0_URL",
            "postgres://u:a@hunter2@db/app",
            "write @ as %40",
        ),
        (
            "SHARD_0_URL",
            "postgres://u:hunter2@db/app?sslmode=verify-full",
            "sslrootcert=PATH",
        ),
        ("SHARD_0_URL", "postgres://u:hunter2@/app", "no host"),
        (
            "SHARD_0_URL",
            "host=db password=hunter2",
            "not the URL of a shard",
        ),
        (
            "REDIS_URL",
            "rediss://:hunter2@cache/0#insecure",
            "REDIS_CA_FILE",
        ),
        (
            "REDIS_URL",
            "http://:hunter2@cache",
            "not the URL of a cache",
        ),
        ("REDIS_URL", "redis://:hunter2/3@cache", "%2F"),
        (
            "REDIS_URL",
            "redis://:hunter2@cache/zero",
            "a number for DATABASE",
        ),
        ("REDIS_URL", "redis://hunter2@cache", "redis://:PASSWORD@"),
        ("RESP_ADDR", "redis://:hunter2@cache", "no scheme"),
    ] {
        let mistakes = env(&[(variable, url)]).mistakes();
        assert!(
            matches!(&mistakes[..], [one] if one.variable == variable && one.problem.contains(word)),
            "{mistakes:?}"
        );
        assert!(!format!("{mistakes:?}").contains("hunter2"), "{mistakes:?}");
    }
}

#[test]
fn a_configuration_can_be_printed_without_its_passwords() {
    let config = env(&[
        ("SHARD_0_URL", "postgres://u:hunter2@db/app"),
        ("SHARD_1_URL", "postgres://db/app?user=u&password=hunter2"),
        ("REDIS_URL", "redis://:hunter2@cache"),
    ]);
    assert!(!format!("{:?}", config.load().unwrap()).contains("hunter2"));
}

#[test]
fn redis_urls() {
    for url in [
        "redis://cache",
        "redis://:p%40ss@cache:6381/2",
        "redis://u:p@[::1]:6379",
    ] {
        let config = env(&[("REDIS_URL", url)]).load().unwrap();
        assert_eq!(
            config.cache,
            CacheTarget::Redis {
                url: SecretUrl::new(url),
                tls: None,
            }
        );
    }
    assert_eq!(
        env(&[("REDIS_URL", "memory:")]).load().unwrap().cache,
        CacheTarget::Memory
    );
}

#[test]
fn numbers_have_bounds() {
    for (variable, value) in [
        ("DB_POOL_MIN_SIZE", "0"),
        ("DB_POOL_MAX_SIZE", "-1"),
        ("CACHE_TTL", "0"),
        ("CACHE_TTL", "5m"),
        ("MAX_VALUE_SIZE", "536870913"),
        ("MAX_VALUE_SIZE", "16mb"),
        ("MAX_CLIENTS", "99999999999999999999"),
        ("CACHE_MEMORY", "1.5"),
        ("REDIS_TIMEOUT_MS", "600001"),
    ] {
        let given = env(&[(variable, value)]);
        let mistakes = given.mistakes();
        let named = mistakes.iter().find(|mistake| mistake.variable == variable);
        assert!(
            named.is_some_and(|mistake| mistake.problem.contains(&format!("`{value}`"))),
            "{mistakes:?}"
        );
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    }
    assert_eq!(
        env(&[("MAX_VALUE_SIZE", "536870912")])
            .load()
            .unwrap()
            .max_value_size,
        512 << 20
    );
}

#[test]
fn a_pool_cannot_keep_more_connections_than_it_may_have() {
    assert_mistake(
        &[("DB_POOL_MIN_SIZE", "11")],
        "DB_POOL_MIN_SIZE",
        &["`11`", "DB_POOL_MAX_SIZE, which is 10"],
    );
    assert!(env(&[("DB_POOL_MIN_SIZE", "10")]).load().is_ok());
    // The default of the one gives way to the other.
    let config = env(&[("DB_POOL_MAX_SIZE", "1")]).load().unwrap();
    assert_eq!((config.db_pool_min_size, config.db_pool_max_size), (1, 1));
}

#[test]
fn addresses_need_a_host_and_a_port() {
    for address in [
        "localhost:6380",
        "0.0.0.0:0",
        "[::1]:6380",
        "proxy.example.org:6380",
    ] {
        assert_eq!(
            env(&[("RESP_ADDR", address)]).load().unwrap().resp_addr,
            Some(address.to_owned())
        );
    }
    assert_mistake(&[("RESP_ADDR", "localhost")], "RESP_ADDR", &["no port"]);
    assert_mistake(
        &[("HTTP_ADDR", ":8004")],
        "HTTP_ADDR",
        &["no host", "0.0.0.0"],
    );
    assert_mistake(
        &[("HTTP_ADDR", "::1:8004")],
        "HTTP_ADDR",
        &["[ADDRESS]:PORT"],
    );
    assert_mistake(
        &[("HTTP_ADDR", "localhost:65536")],
        "HTTP_ADDR",
        &["0 to 65535"],
    );
    assert_mistake(
        &[("HTTP_ADDR", "127.0.0.1:6379")],
        "HTTP_ADDR",
        &["RESP_ADDR"],
    );
    assert!(
        env(&[("HTTP_ADDR", "127.0.0.1:0"), ("RESP_ADDR", "127.0.0.1:0")])
            .load()
            .is_ok()
    );
}

#[test]
fn a_password_is_taken_as_it_is_and_never_shown() {
    let config = env(&[("PASSWORD", " hun@ter2 ")]).load().unwrap();
    assert_eq!(config.password, Some(SecretText::new(" hun@ter2 ")));
    assert!(!format!("{config:?}").contains("ter2"));
    assert_eq!(Given::default().load().unwrap().password, None);
}

#[test]
fn listening_without_authentication_has_to_be_said_in_words() {
    let given = |words| env(&[("LISTEN_WITHOUT_AUTHENTICATION", words)]).load();
    let listens = |config: Config| config.listen_without_authentication;
    assert!(!listens(Given::default().load().unwrap()));
    assert!(listens(given("i-know-that-anyone-can-connect").unwrap()));
    assert_mistake(
        &[("LISTEN_WITHOUT_AUTHENTICATION", "yes")],
        "LISTEN_WITHOUT_AUTHENTICATION",
        &["`yes`", "`i-know-that-anyone-can-connect`"],
    );
}

#[test]
fn a_request_has_room_for_the_largest_value() {
    let sizes = |variables| {
        let config = env(variables).load().unwrap();
        (config.max_value_size, config.max_request_size)
    };
    assert_eq!(sizes(&[]), (16 << 20, 64 << 20));
    assert_eq!(
        sizes(&[("MAX_VALUE_SIZE", "33554432")]),
        (32 << 20, 128 << 20)
    );
    let small = [("MAX_VALUE_SIZE", "1000"), ("MAX_REQUEST_SIZE", "2000")];
    assert_eq!(sizes(&small), (1000, 2000));
    assert_mistake(
        &[("MAX_REQUEST_SIZE", "1048576")],
        "MAX_REQUEST_SIZE",
        &["`1048576`", "MAX_VALUE_SIZE, which is 16777216"],
    );
}

#[test]
fn reads_of_a_shard_that_is_down_are_errors_unless_asked_for() {
    let reads = |how| env(&[("READS_WHEN_SHARD_DOWN", how)]).load();
    assert!(!reads("error").unwrap().reads_when_shard_down);
    assert!(reads("cached").unwrap().reads_when_shard_down);
    assert_mistake(
        &[("READS_WHEN_SHARD_DOWN", "yes")],
        "READS_WHEN_SHARD_DOWN",
        &["`yes`", "cached"],
    );
}

#[test]
fn hash_tags_and_whole_msets_are_on_or_off() {
    let tags = |how| env(&[("HASH_TAGS", how)]).load();
    assert!(tags("on").unwrap().hash_tags);
    assert!(!tags("off").unwrap().hash_tags);
    let whole = |how| env(&[("ATOMIC_MSET", how)]).load();
    assert!(whole("on").unwrap().atomic_mset);
    assert_mistake(&[("ATOMIC_MSET", "yes")], "ATOMIC_MSET", &["`yes`", "off"]);
    assert_mistake(&[("HASH_TAGS", "1")], "HASH_TAGS", &["`1`", "off"]);
}

#[test]
fn the_log_has_a_format_and_a_filter() {
    let config = args(&[
        "--log-format",
        "json",
        "--log-level",
        "warn,respgres::cache=debug",
    ])
    .load()
    .unwrap();
    assert_eq!(
        (config.log_format, config.log_level.as_str()),
        (LogFormat::Json, "warn,respgres::cache=debug")
    );
    assert_mistake(&[("LOG_FORMAT", "xml")], "LOG_FORMAT", &["`xml`", "json"]);
    assert_mistake(
        &[("RUST_LOG", "respgres=loud")],
        "RUST_LOG",
        &["`respgres=loud`", "info"],
    );
}

#[test]
fn every_mistake_is_reported_in_one_go() {
    let given = Given {
        args: vec!["--max-clients", "-5"],
        env: [
            ("SHARD_0_URL", "mysql://db"),
            ("SHARD_2_URL", "sqlite:2.db"),
            ("REDIS_URL", "cache:6379"),
        ]
        .into(),
        dotenv: "CACHE_TTL=never\nHTTP_ADDR=8004\nSECRET='hunter2\n",
    };
    let mistakes = given.mistakes();
    let variables: Vec<_> = mistakes
        .iter()
        .map(|mistake| mistake.variable.as_str())
        .collect();
    assert_eq!(
        variables,
        [
            "SECRET",
            "SHARD_1_URL",
            "SHARD_0_URL",
            "REDIS_URL",
            "CACHE_TTL",
            "HTTP_ADDR",
            "MAX_CLIENTS"
        ]
    );
    let text = LoadError::Mistakes(mistakes).to_string();
    assert!(
        text.starts_with("the configuration has 7 mistakes\n  SECRET: line 3 of .env"),
        "{text}"
    );
    assert!(text.contains("\n  CACHE_TTL: `never` (in .env)"), "{text}");
    assert!(text.contains("\n  MAX_CLIENTS: `-5` (a flag)"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn the_command_line_can_end_the_program() {
    for (flag, kind) in [
        ("--help", clap::error::ErrorKind::DisplayHelp),
        ("--version", clap::error::ErrorKind::DisplayVersion),
        ("--shards", clap::error::ErrorKind::UnknownArgument),
    ] {
        let loaded = args(&[flag]).load();
        assert!(
            matches!(loaded, Err(LoadError::Flags(error)) if error.kind() == kind),
            "{flag}"
        );
    }
}

#[test]
fn help_lists_every_variable_with_its_flag_and_default() {
    layers::command().debug_assert();
    let help = layers::command().render_long_help().to_string();
    for variable in VARIABLES {
        for part in [
            &format!("--{} <{}>", variable.flag, variable.value_name),
            variable.name,
            variable.default.text(),
        ] {
            assert!(help.contains(part), "`{part}` is not in {help}");
        }
    }
}

/// What README and `.env.example` say of a variable, with its bounds.
fn meaning(variable: &Variable) -> String {
    let bounds = variable.bounds.as_ref();
    let bounds = bounds.map(|bounds| format!(" ({} to {})", bounds.start(), bounds.end()));
    format!("{}{}", variable.meaning, bounds.unwrap_or_default())
}

/// A file with a secret, removed with the value.
struct SecretFile(PathBuf);

impl SecretFile {
    fn new(text: &str) -> SecretFile {
        static FILES: AtomicU32 = AtomicU32::new(0);
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let name = format!("respgres-secret-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        SecretFile(path)
    }

    fn name(&self) -> &'static str {
        self.0.to_str().unwrap().to_owned().leak()
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn secrets_may_be_in_files_that_a_variable_or_a_flag_names() {
    let redis = SecretFile::new("redis://:hunter2@cache:6379\r\n");
    let shard = SecretFile::new("postgres://u:hunter2@db/app\n");
    let config = env(&[
        ("REDIS_URL_FILE", redis.name()),
        ("SHARD_0_URL", "sqlite:0.db"),
        ("SHARD_1_URL_FILE", shard.name()),
    ])
    .load()
    .unwrap();
    assert_eq!(
        config.cache,
        CacheTarget::Redis {
            url: SecretUrl::new("redis://:hunter2@cache:6379"),
            tls: None,
        }
    );
    assert_eq!(
        shards(&config),
        [
            "SHARD_0_URL=sqlite:0.db",
            "SHARD_1_URL=postgres://u:***@db/app"
        ]
    );
    let given = Given {
        args: vec!["--redis-url-file", redis.name()],
        env: [("REDIS_URL", "redis://other:6379")].into(),
        dotenv: "",
    };
    assert_eq!(given.load().unwrap().cache, config.cache);
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn a_higher_layer_wins_over_the_file_of_a_lower_one() {
    let file = SecretFile::new("redis://file:6379");
    let dotenv: &'static str = format!("REDIS_URL_FILE={}", file.name()).leak();
    let mut given = Given {
        env: [("REDIS_URL", "redis://environment:6379")].into(),
        dotenv,
        ..Given::default()
    };
    assert_eq!(
        given.load().unwrap().cache.to_string(),
        "redis://environment:6379"
    );
    given.env.clear();
    assert_eq!(given.load().unwrap().cache.to_string(), "redis://file:6379");
}

#[test]
fn a_file_that_gives_no_secret_is_a_mistake_with_its_name() {
    let empty = SecretFile::new("\n");
    let missing = "/nonexistent/respgres/secret";
    for variable in ["REDIS_URL_FILE", "SHARD_0_URL_FILE"] {
        assert_mistake(
            &[(variable, missing)],
            variable,
            &[missing, "cannot be read"],
        );
        assert_mistake(
            &[(variable, empty.name())],
            variable,
            &[empty.name(), "empty"],
        );
        assert_mistake(&[(variable, "/tmp")], variable, &["/tmp", "cannot be read"]);
        assert_mistake(&[(variable, "/dev/zero")], variable, &["more than"]);
        assert_mistake(&[(variable, "/dev/urandom")], variable, &["/dev/urandom"]);
    }
    let file = SecretFile::new("redis://:hunter2@cache:x");
    assert_mistake(
        &[("REDIS_URL_FILE", file.name()), ("REDIS_URL", "memory:")],
        "REDIS_URL_FILE",
        &[file.name(), "REDIS_URL as well"],
    );
    assert_mistake(
        &[("REDIS_URL_FILE", file.name())],
        "REDIS_URL",
        &["`redis://:***@cache:x`", file.name()],
    );
    // One mistake each, though nothing else is known of them.
    let mistakes = env(&[
        ("SHARD_0_URL_FILE", missing),
        ("SHARD_1_URL_FILE", empty.name()),
        ("NUM_SHARDS", "2"),
    ])
    .mistakes();
    assert_eq!(mistakes.len(), 2, "{mistakes:?}");
}

#[test]
fn what_nobody_sees_in_a_file_is_no_part_of_a_secret() {
    for (text, words) in [
        ("\u{feff}hunter2\n", "byte order mark"),
        (" hunter2\n", "space"),
        ("hunter2 ", "space"),
        ("hunter2\t\r\n", "space"),
        ("hunter2\n\n", "more than one newline"),
        ("hunter2\r\n\r\n", "more than one newline"),
    ] {
        let file = SecretFile::new(text);
        for variable in ["PASSWORD_FILE", "HTTP_TOKEN_FILE"] {
            assert_mistake(&[(variable, file.name())], variable, &[file.name(), words]);
            let mistakes = env(&[(variable, file.name())]).mistakes();
            assert!(!format!("{mistakes:?}").contains("hunter2"), "{mistakes:?}");
        }
    }
    let file = SecretFile::new("correct horse\r\n");
    let config = env(&[("PASSWORD_FILE", file.name())]).load().unwrap();
    assert_eq!(config.password.unwrap().expose(), "correct horse");
}

#[test]
fn readme_names_the_file_of_every_secret() {
    for secret in SECRETS {
        let name = format!("`{}{FILE_SUFFIX}`", secret.name);
        assert!(include_str!("../../README.md").contains(&name), "{name}");
    }
}

#[test]
fn readme_has_the_table_of_variables() {
    let rows = VARIABLES.iter().map(|variable| {
        let default = match variable.default {
            DefaultValue::Value(text) => format!("`{text}`"),
            DefaultValue::Words(text) => text.to_owned(),
        };
        let Variable { name, flag, .. } = variable;
        format!(
            "| `{name}` | `--{flag}` | {default} | {} |\n",
            meaning(variable)
        )
    });
    let head = "| variable | flag | default | meaning |\n|---|---|---|---|\n".to_owned();
    let table = std::iter::once(head).chain(rows).collect::<String>() + "\n";
    assert!(
        include_str!("../../README.md").contains(&table),
        "README.md should have\n{table}"
    );
}

#[test]
fn the_example_file_has_every_variable_and_can_be_used_whole() {
    let example = include_str!("../../.env.example");
    for variable in VARIABLES {
        let default = match variable.default {
            DefaultValue::Value(text) => format!("{text}\n"),
            DefaultValue::Words(_) => String::new(),
        };
        let name = variable.name.replace("_n_", "_0_");
        let lines = format!("# {}\n#{name}={default}", meaning(variable));
        assert!(
            example.contains(&lines),
            ".env.example should have\n{lines}"
        );
    }
    // A comment has a space after its #, a variable has none.
    let uncommented = example.lines().map(|line| match line.strip_prefix('#') {
        Some(variable) if !variable.starts_with(' ') => variable,
        _ => line,
    });
    let dotenv: &'static str = uncommented.collect::<Vec<_>>().join("\n").leak();
    let config = Given {
        dotenv,
        ..Given::default()
    }
    .load()
    .unwrap();
    assert_eq!((config.shards.len(), config.embedded), (3, false));
}

const TLS_PORT: &[(&str, &str)] = &[
    ("RESP_TLS_ADDR", "0.0.0.0:6380"),
    ("TLS_CERT_FILE", "/etc/tls.crt"),
    ("TLS_KEY_FILE", "/etc/tls.key"),
];

fn with_tls_port(more: &[(&'static str, &'static str)]) -> Given {
    env(&[TLS_PORT, more].concat())
}

#[test]
fn a_port_with_tls_needs_a_certificate_and_the_other_way_round() {
    let config = with_tls_port(&[]).load().unwrap();
    assert_eq!(config.resp_tls_addr.as_deref(), Some("0.0.0.0:6380"));
    let files = config.tls.unwrap();
    assert_eq!(files.certificate, PathBuf::from("/etc/tls.crt"));
    assert_eq!(files.client_auth, ClientAuth::Off);
    assert_mistake(
        &TLS_PORT[..2],
        "TLS_KEY_FILE",
        &["is not set", "RESP_TLS_ADDR"],
    );
    for (variable, value) in [
        ("TLS_CERT_FILE", "/etc/tls.crt"),
        ("TLS_CLIENT_CA_FILE", "/etc/ca.crt"),
    ] {
        assert_mistake(&[(variable, value)], variable, &["no port speaks TLS"]);
    }
}

#[test]
fn certificates_of_clients_are_required_if_an_authority_is_named() {
    let auth = |more: &[(&'static str, &'static str)]| {
        let config = with_tls_port(more).load().unwrap();
        config.tls.unwrap().client_auth
    };
    let ca = ("TLS_CLIENT_CA_FILE", "/etc/ca.crt");
    assert_eq!(auth(&[ca]), ClientAuth::Required);
    assert_eq!(
        auth(&[ca, ("TLS_CLIENT_AUTH", "optional")]),
        ClientAuth::Optional
    );
    assert_eq!(auth(&[ca, ("TLS_CLIENT_AUTH", "off")]), ClientAuth::Off);
    for (value, words) in [("required", "who signs them"), ("yes", "none of `off`")] {
        let mistakes = with_tls_port(&[("TLS_CLIENT_AUTH", value)]).mistakes();
        assert!(
            matches!(&mistakes[..], [one] if one.variable == "TLS_CLIENT_AUTH" && one.problem.contains(words)),
            "{mistakes:?}"
        );
    }
}

#[test]
fn ports_in_the_clear_can_be_left_out() {
    let off = [("RESP_ADDR", "off"), ("HTTP_ADDR", "off")];
    let config = with_tls_port(&off).load().unwrap();
    assert_eq!((config.resp_addr, config.http_addr), (None, None));
    assert_mistake(&off[..1], "RESP_ADDR", &["RESP_TLS_ADDR is not set"]);
    assert!(env(&off[1..]).load().is_ok());
    let mistakes = with_tls_port(&[("HTTP_ADDR", "0.0.0.0:6380")]).mistakes();
    assert!(
        matches!(&mistakes[..], [one] if one.problem.contains("RESP_TLS_ADDR")),
        "{mistakes:?}"
    );
}

#[test]
fn files_for_the_redis_are_for_rediss() {
    let secured = ("REDIS_URL", "rediss://:p@cache:6380/1");
    let tls = |more: &[(&'static str, &'static str)]| {
        let given = env(&[&[secured], more].concat());
        match given.load().unwrap().cache {
            CacheTarget::Redis { tls, .. } => tls.unwrap(),
            CacheTarget::Memory => panic!("a Redis was expected"),
        }
    };
    assert_eq!(tls(&[]).verification, Verification::Name);
    assert_eq!(tls(&[]).roots, Roots::System);
    let ca = ("REDIS_CA_FILE", "/etc/ca.crt");
    assert_eq!(tls(&[ca]).roots, Roots::File("/etc/ca.crt".into()));
    let pair = [("REDIS_CERT_FILE", "/a"), ("REDIS_KEY_FILE", "/b")];
    assert!(tls(&pair).identity.is_some());
    assert_mistake(
        &[secured, pair[0]],
        "REDIS_CERT_FILE",
        &["REDIS_KEY_FILE is not"],
    );
    assert_mistake(
        &[secured, pair[1]],
        "REDIS_KEY_FILE",
        &["REDIS_CERT_FILE is not"],
    );
    assert_mistake(
        &[("REDIS_URL", "redis://cache"), ca],
        "REDIS_CA_FILE",
        &["rediss://"],
    );
}

#[test]
fn a_token_can_stand_in_a_header_and_is_not_shown() {
    let config = env(&[("HTTP_TOKEN", "hunter2")]).load().unwrap();
    assert_eq!(config.http_token, Some(SecretText::new("hunter2")));
    assert!(!format!("{config:?}").contains("hunter2"));
    for token in ["hunter2 hunter3", "hunter2\u{e9}"] {
        let mistakes = env(&[("HTTP_TOKEN", token)]).mistakes();
        let text = format!("{mistakes:?}");
        assert!(
            text.contains("openssl rand") && !text.contains("hunter2"),
            "{text}"
        );
    }
}

#[test]
fn what_is_in_force_is_told_with_its_source_and_without_secrets() {
    let given = Given {
        args: vec!["--cache-ttl=60"],
        env: BTreeMap::from([
            ("SHARD_0_URL", "postgresql://u:hunter2@db/app"),
            ("REDIS_URL", "redis://:hunter2@cache:6379"),
        ]),
        dotenv: "WORKER_THREADS=7\n",
    };
    let mut config = given.load().unwrap();
    let told = |config: &Config, name: &str| {
        let found = config.in_force.iter().find(|setting| setting.name == name);
        let found = found.unwrap_or_else(|| panic!("{name} is told"));
        (found.value.clone(), found.source)
    };
    for (name, value, source) in [
        (
            "SHARD_0_URL",
            "postgresql://u:***@db/app",
            Source::Environment,
        ),
        ("REDIS_URL", "redis://:***@cache:6379", Source::Environment),
        ("CACHE_TTL", "60", Source::Flag),
        ("WORKER_THREADS", "7", Source::DotEnv),
        ("NUM_SHARDS", "1", Source::Default),
        ("LOG_FORMAT", "text", Source::Default),
    ] {
        assert_eq!(told(&config, name), (value.to_owned(), source));
    }
    assert_eq!(config.in_force.len(), VARIABLES.len());
    let again = Given {
        dotenv: "WORKER_THREADS=8\nCACHE_TTL=9\n",
        args: Vec::new(),
        ..given
    };
    config.took_reloadable(&again.load().unwrap());
    let ttl = ("9".to_owned(), Source::DotEnv);
    assert_eq!(told(&config, "CACHE_TTL"), ttl);
    let threads = ("7".to_owned(), Source::DotEnv);
    assert_eq!(
        told(&config, "WORKER_THREADS"),
        threads,
        "until the next start"
    );
}
