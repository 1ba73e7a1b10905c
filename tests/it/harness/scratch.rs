//! Temporary directories: one root for the test process, one below it for each use.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// `$1` is the root. End of file on stdin is the end of the test process; the servers are then stopped by guardians of
/// their own, and may write until they are, so removing is tried until it holds.
const SWEEPER: &str = r#"
read -r _
tries=0
while [ "$tries" -lt 200 ]; do
    rm -rf "$1" 2>/dev/null
    sleep 0.1
    [ -e "$1" ] || { sleep 0.3; [ -e "$1" ] || exit 0; }
    tries=$((tries + 1))
done
"#;

/// A directory of one test; removed when dropped.
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes an empty directory whose name starts with `name`.
    pub fn new(name: &str) -> Scratch {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let path = root().join(format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir(&path).expect("a scratch directory can be made");
        Scratch { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What can't be removed now goes with the root.
        std::fs::remove_dir_all(&self.path).ok();
    }
}

/// The root of this process's directories, made at first use, with the process that removes it at the end.
fn root() -> &'static Path {
    static ROOT: OnceLock<(PathBuf, Child)> = OnceLock::new();
    let (path, _sweeper) = ROOT.get_or_init(|| {
        let path = std::env::temp_dir().join(format!(
            "respgres-it-{}-{:x}",
            std::process::id(),
            fresh_number()
        ));
        std::fs::create_dir(&path).expect("a root for scratch directories can be made");
        // PostgreSQL may run as another user than the tests.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
            .expect("the root is mine");
        let mut sweeper = Command::new("/bin/sh");
        sweeper
            .arg("-c")
            .arg(SWEEPER)
            .arg("sweeper")
            .arg(&path)
            .current_dir("/")
            .process_group(0);
        sweeper
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        (path, sweeper.spawn().expect("sh can be started"))
    });
    path
}

/// A number that a former process with this pid did not draw.
fn fresh_number() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}
