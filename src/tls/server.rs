//! The side of the ports: a certificate that is renewed from its files, and handshakes with a deadline.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::certificate::{Standing, VERSION_1, Validity, is_version_1};
use super::files::{self, TlsError};
use super::provider;

/// Longest handshake: a few round trips over the worst of networks.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A certificate that ends within this is warned of.
const NOTICE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Clients that are refused are logged no more often; the others only at level debug.
const REFUSAL_LOG_EVERY: Duration = Duration::from_secs(10);

/// The first byte of what a TLS client sends: a record with a part of the handshake in it.
const HANDSHAKE_RECORD: u8 = 22;

/// Who is refused has so long to read why; as long as nginx' `lingering_timeout`.
const LINGER: Duration = Duration::from_secs(5);

/// Whether clients have to show certificates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked for one.
    #[default]
    Off,
    /// Who shows one needs one that is trusted.
    Optional,
    /// Who has none that is trusted is refused.
    Required,
}

/// What the ports that speak TLS are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFiles {
    /// The certificate, and after it those between it and its authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Who signs the certificates of clients.
    pub client_ca: Option<PathBuf>,
    /// Whether they need one.
    pub client_auth: ClientAuth,
}

/// The certificate that ports show, and how they treat clients.
pub struct ServerTls {
    files: ServerFiles,
    current: RwLock<Current>,
    refusals: Mutex<Refusals>,
}

/// What is shown.
struct Current {
    mark: Mark,
    config: Arc<ServerConfig>,
    validity: Option<Validity>,
}

/// What was read again, and is not shown yet.
pub struct Prepared(Current);

/// What was read: a digest of the contents, or why there are none.
type Mark = Result<[u8; 32], TlsError>;

#[derive(Default)]
struct Refusals {
    logged: Option<Instant>,
    since: u64,
}

/// Why a client was not let in.
#[derive(Debug)]
pub enum Refused {
    /// It speaks something else, probably what is spoken behind the TLS. It was told so.
    Plain,
    /// The handshake took too long.
    Late,
    /// It went away.
    Gone(io::Error),
    /// The handshake failed: versions, or certificates that one of the two does not accept.
    Handshake(io::Error),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain => f.write_str("it does not speak TLS, and this port speaks nothing else"),
            Self::Late => write!(f, "no handshake within {} s", HANDSHAKE_MAX.as_secs()),
            Self::Gone(error) => write!(f, "the connection was lost: {error}"),
            Self::Handshake(error) => write!(f, "the handshake failed: {error}"),
        }
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl ServerTls {
    /// Reads the files. A certificate that is not valid now is warned of: who checks it will not connect, but those
    /// who don't are not to be kept out.
    ///
    /// # Errors
    ///
    /// What is wrong with which file.
    pub fn load(files: ServerFiles) -> Result<Self, TlsError> {
        let contents = Contents::read(&files)?;
        let current = contents.build(&files)?;
        let tls = Self {
            files,
            current: RwLock::new(current),
            refusals: Mutex::default(),
        };
        tls.judge(Standing::Good);
        Ok(tls)
    }

    /// Reads the files again: true if they have changed. New connections then see the new certificate, those that are
    /// open go on. Blocks as long as reading takes.
    ///
    /// # Errors
    ///
    /// What is wrong with which file. The certificate of before is kept.
    pub fn reload(&self) -> Result<bool, TlsError> {
        match self.prepare()? {
            Some(prepared) => {
                self.take(prepared);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Reads the files again, without taking what is new; `None` if they have not changed.
    ///
    /// # Errors
    ///
    /// What is wrong with which file.
    pub fn prepare(&self) -> Result<Option<Prepared>, TlsError> {
        let contents = Contents::read(&self.files)?;
        if self.read_current().mark == contents.mark() {
            return Ok(None);
        }
        let new = contents.build(&self.files)?;
        let is_expired = |validity: &Option<Validity>| {
            validity.is_some_and(|validity| validity.judge(now(), NOTICE) == Standing::Expired)
        };
        if is_expired(&new.validity) && !is_expired(&self.read_current().validity) {
            return Err(TlsError::new(&self.files.certificate, "has expired"));
        }
        Ok(Some(Prepared(new)))
    }

    /// Shows what was prepared to new connections.
    pub fn take(&self, Prepared(new): Prepared) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        tracing::info!(
            certificate = %self.files.certificate.display(),
            valid_until = %self.valid_until(),
            "the certificate was read again; new connections see it"
        );
        self.judge(Standing::Good);
    }

    /// Looks after the files every 2 s until `stop`, and reloads what has changed.
    ///
    /// Certificate and key may be replaced one after the other: what is wrong is told when it is still so at the next
    /// look, and once.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut known = Ok([0; 32]);
        let mut complaints = 0;
        let mut standing = self.standing();
        while stop
            .run_until_cancelled(tokio::time::sleep(LOOK_EVERY))
            .await
            .is_some()
        {
            let tls = Arc::clone(&self);
            let look = tokio::task::spawn_blocking(move || {
                let mark = Contents::read(&tls.files).and_then(|contents| contents.mark());
                (mark, tls.reload())
            });
            let Ok((mark, result)) = look.await else {
                continue;
            };
            if mark != known {
                (known, complaints) = (mark, 0);
            }
            match result {
                Ok(true) => standing = self.standing(),
                Ok(false) => {}
                Err(error) => {
                    complaints += 1;
                    if complaints == 2 {
                        tracing::error!(%error, "the changed certificate can't be used; the one of before is kept");
                    }
                }
            }
            standing = self.judge(standing);
        }
    }

    fn standing(&self) -> Standing {
        let validity = self.read_current().validity;
        validity.map_or(Standing::Good, |validity| validity.judge(now(), NOTICE))
    }

    /// Warns of what is to be said about the time of the certificate, if it is not what was `known`; returns it.
    fn judge(&self, known: Standing) -> Standing {
        let standing = self.standing();
        if standing == known {
            return standing;
        }
        let (certificate, until) = (self.files.certificate.display(), self.valid_until());
        match standing {
            Standing::Good => {}
            Standing::NotYet => {
                tracing::warn!(%certificate, "the certificate of the TLS ports is not valid yet: clients will refuse it");
            }
            Standing::EndsSoon => {
                tracing::warn!(%certificate, valid_until = until, "the certificate of the TLS ports expires soon");
            }
            Standing::Expired => {
                tracing::warn!(%certificate, valid_until = until, "the certificate of the TLS ports has expired: clients will refuse it");
            }
        }
        standing
    }

    /// Whether the certificate in use is valid now, as far as its time goes.
    pub fn is_valid_now(&self) -> bool {
        matches!(self.standing(), Standing::Good | Standing::EndsSoon)
    }

    /// Until when the certificate in use is valid, in words.
    pub fn valid_until(&self) -> String {
        let until = self
            .read_current()
            .validity
            .map(|validity| validity.until());
        let until = until.and_then(|until: SystemTime| jiff::Timestamp::try_from(until).ok());
        until.map_or_else(|| "unknown".to_owned(), |until| until.to_string())
    }

    fn read_current(&self) -> std::sync::RwLockReadGuard<'_, Current> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shakes hands. To be called on the connection's own task, on the runtime that the stream belongs to.
    /// `for_plain` is sent to who speaks no TLS.
    ///
    /// # Errors
    ///
    /// See [`Refused`].
    pub async fn accept(
        &self,
        stream: TcpStream,
        for_plain: &[u8],
    ) -> Result<TlsStream<TcpStream>, Refused> {
        let shaking = tokio::time::timeout(HANDSHAKE_MAX, self.shake_hands(stream));
        let (refused, stream) = match shaking.await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(refused)) => refused,
            Err(_elapsed) => return Err(Refused::Late),
        };
        let last_words = match refused {
            Refused::Plain => for_plain,
            // The alert is sent already. With TLS 1.3 a client without a certificate may have sent requests.
            Refused::Handshake(_) => b"",
            Refused::Late | Refused::Gone(_) => return Err(refused),
        };
        let _ = tokio::time::timeout(LINGER, part(stream, last_words)).await;
        Err(refused)
    }

    async fn shake_hands(
        &self,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, (Refused, TcpStream)> {
        let mut first = [HANDSHAKE_RECORD];
        let refused = match stream.peek(&mut first).await {
            Ok(0) => Some(Refused::Gone(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => (first[0] != HANDSHAKE_RECORD).then_some(Refused::Plain),
            Err(error) => Some(Refused::Gone(error)),
        };
        if let Some(refused) = refused {
            return Err((refused, stream));
        }
        let config = Arc::clone(&self.read_current().config);
        let accept = TlsAcceptor::from(config).accept(stream).into_fallible();
        accept
            .await
            .map_err(|(error, stream)| match error.get_ref() {
                Some(inner) if inner.is::<rustls::Error>() => (Refused::Handshake(error), stream),
                _ => (Refused::Gone(error), stream),
            })
    }

    /// Logs that a client was refused; one after the other only now and then.
    pub fn note_refused(&self, client: SocketAddr, reason: &Refused) {
        let mut refusals = self.lock_refusals();
        let is_due = refusals
            .logged
            .is_none_or(|logged| logged.elapsed() >= REFUSAL_LOG_EVERY);
        // Who looks whether the port is open goes away at once.
        if !is_due || matches!(reason, Refused::Gone(_)) {
            refusals.since += 1;
            drop(refusals);
            tracing::debug!(%client, %reason, "a client of a TLS port was refused");
            return;
        }
        let others = std::mem::take(&mut refusals.since);
        refusals.logged = Some(Instant::now());
        drop(refusals);
        tracing::info!(%client, %reason, others, "a client of a TLS port was refused");
    }

    fn lock_refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says some last words to a client, and waits until it has closed: closing a socket with unread bytes in it takes back
/// what was sent.
async fn part(mut stream: TcpStream, last_words: &[u8]) -> io::Result<()> {
    stream.write_all(last_words).await?;
    stream.shutdown().await?;
    let mut rest = [0; 4096];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// The bytes of the files.
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Contents {
    fn read(files: &ServerFiles) -> Result<Self, TlsError> {
        Ok(Self {
            certificate: files::read(&files.certificate)?,
            key: files::read(&files.key)?,
            client_ca: files.client_ca.as_deref().map(files::read).transpose()?,
        })
    }

    fn mark(&self) -> Mark {
        let mut hash = Sha256::new();
        for part in [&self.certificate, &self.key]
            .into_iter()
            .chain(&self.client_ca)
        {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        Ok(hash.finalize().into())
    }

    fn build(&self, files: &ServerFiles) -> Result<Current, TlsError> {
        let chain = files::certificates(&files.certificate, &self.certificate)?;
        let key = files::private_key(&files.key, &self.key)?;
        let validity = Validity::of(&chain[0]);
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::other(error.to_string()))?;
        let verifier = match (&files.client_ca, &self.client_ca, files.client_auth) {
            (Some(path), Some(text), ClientAuth::Optional | ClientAuth::Required) => {
                let roots = files::roots(path, &files::certificates(path, text)?)?;
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(roots.into(), provider());
                let verifier = match files.client_auth {
                    ClientAuth::Optional => verifier.allow_unauthenticated(),
                    _ => verifier,
                };
                verifier
                    .build()
                    .map_err(|error| TlsError::new(path, error))?
            }
            (_, _, ClientAuth::Off) => WebPkiClientVerifier::no_client_auth(),
            _ => {
                return Err(TlsError::other(
                    "there is no authority to check certificates of clients with",
                ));
            }
        };
        let config = builder
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(|error| unfit(&files.certificate, &files.key, &error))?;
        Ok(Current {
            mark: self.mark(),
            config: Arc::new(config),
            validity,
        })
    }
}

/// What is wrong with a certificate and its key together.
pub(super) fn unfit(certificate: &Path, key: &Path, error: &rustls::Error) -> TlsError {
    match error {
        rustls::Error::InconsistentKeys(_) => TlsError::new(
            key,
            format!(
                "is not the key of the certificate in {}",
                certificate.display()
            ),
        ),
        error if is_version_1(error) => TlsError::new(certificate, VERSION_1),
        other => TlsError::new(
            certificate,
            format!("can't be used with the key in {}: {other}", key.display()),
        ),
    }
}
