//! The database of the configuration: a pool that opens its first connection when somebody asks, and the check that
//! `/health` and `/readyz` show. Errors have fixed wording: those of the driver may quote a URL or a row.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use log::LevelFilter;
use mcp_server_config::{Database as Section, check_database_url};
use sqlx::pool::PoolOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, PgPool, SqlitePool};
use tokio::sync::Notify;
use tracing::{info, warn};

/// A caller waits so long for a connection.
const ACQUIRE: Duration = Duration::from_secs(5);
/// The check waits so long: load balancers give up after three seconds.
const CHECK: Duration = Duration::from_secs(2);
/// How often the URL's file is looked at, and how soon a database that has never answered is asked again.
const WATCH: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_secs(1);
/// A connection is idle a moment after its release; others are often released with it.
const SETTLE: Duration = Duration::from_millis(100);
/// Slower statements are warned about, where statements are logged.
const SLOW: Duration = Duration::from_secs(1);

/// Connections of the driver that the URL names.
#[derive(Debug, Clone)]
pub enum Pool {
    /// PostgreSQL.
    Postgres(PgPool),
    /// SQLite.
    Sqlite(SqlitePool),
}

/// The configured database.
pub struct Database {
    pool: Pool,
    url: Source,
    echo: bool,
    answered_once: AtomicBool,
    /// It did not answer when it was last asked, and that is in the log.
    away: AtomicBool,
}

enum Source {
    Fixed,
    /// With the URL that was read last.
    File(PathBuf, std::sync::Mutex<String>),
}

/// The drivers' forms of a URL.
enum Address {
    Postgres(Box<PgConnectOptions>),
    Sqlite(Box<SqliteConnectOptions>),
}

impl Database {
    /// Reads the URL and checks it; connects later. Call within a tokio runtime.
    pub async fn open(section: &Section) -> Result<Arc<Self>, String> {
        let (url, source) = match (&section.url, &section.url_file) {
            (Some(url), None) => (url.clone(), Source::Fixed),
            (None, Some(file)) => {
                let url = read(file).await?;
                (url.clone(), Source::File(file.clone(), std::sync::Mutex::new(url)))
            }
            (Some(_), Some(_)) | (None, None) => return Err("give exactly one of `url` and `url_file`".to_owned()),
        };
        let address = Address::parse(&url, section.echo)?;
        let released = Arc::new(Notify::new());
        let this = Arc::new(Self {
            pool: pool(section, address, &released),
            url: source,
            echo: section.echo,
            answered_once: AtomicBool::new(false),
            away: AtomicBool::new(false),
        });
        tokio::spawn(trim(Arc::downgrade(&this), released, section.pool_size));
        if matches!(this.url, Source::File(..)) {
            tokio::spawn(watch(Arc::downgrade(&this)));
        }
        // The first answer gates readiness, and nobody may ask before that.
        tokio::spawn(first_answer(Arc::downgrade(&this)));
        Ok(this)
    }

    /// The connections.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Connections that are open, and those of them that nobody uses.
    #[must_use]
    pub fn connections(&self) -> (u32, u32) {
        let (open, idle) = match &self.pool {
            Pool::Postgres(pool) => (pool.size(), pool.num_idle()),
            Pool::Sqlite(pool) => (pool.size(), pool.num_idle()),
        };
        (open, u32::try_from(idle).unwrap_or(u32::MAX))
    }

    /// Asks for a sign of life. The error is shown to everybody in `/health`.
    pub async fn ping(&self) -> Result<(), &'static str> {
        let asked = tokio::time::timeout(CHECK, self.select_one()).await;
        let answer = asked.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(|error| self.classify(&error));
        match answer {
            Ok(()) => {
                self.answered_once.store(true, Ordering::Relaxed);
                if self.away.swap(false, Ordering::Relaxed) {
                    info!("the database answers again");
                }
            }
            Err(problem) => {
                if !self.away.swap(true, Ordering::Relaxed) {
                    warn!(problem, "the database check failed");
                }
            }
        }
        answer
    }

    /// It has answered once: gates `/readyz`.
    #[must_use]
    pub fn answered_once(&self) -> bool {
        self.answered_once.load(Ordering::Relaxed)
    }

    async fn select_one(&self) -> Result<(), sqlx::Error> {
        match &self.pool {
            Pool::Postgres(pool) => sqlx::query("SELECT 1").execute(pool).await.map(drop),
            // SQLite computes a bare `SELECT 1` without a look at the file.
            Pool::Sqlite(pool) => sqlx::query("SELECT 1 FROM sqlite_schema LIMIT 1").execute(pool).await.map(drop),
        }
    }

    /// `false`: there is none.
    async fn close_idle(&self) -> bool {
        let closed = match &self.pool {
            Pool::Postgres(pool) => {
                let Some(connection) = pool.try_acquire() else { return false };
                connection.close().await
            }
            Pool::Sqlite(pool) => {
                let Some(connection) = pool.try_acquire() else { return false };
                connection.close().await
            }
        };
        if closed.is_err() {
            tracing::debug!("a connection was closed by the database already");
        }
        true
    }

    fn classify(&self, error: &sqlx::Error) -> &'static str {
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code).unwrap_or_default();
        match error {
            sqlx::Error::Database(_) if code.starts_with("28") => "the database refuses the login",
            sqlx::Error::Database(_) if code == "3D000" => "the database of that name does not exist",
            sqlx::Error::Database(_) if code == "53300" => "the database has no room for another connection",
            sqlx::Error::Database(_) if code == "14" => "the database's file cannot be opened",
            sqlx::Error::Database(_) => "the database refuses the query",
            sqlx::Error::Tls(_) => "the TLS handshake with the database failed",
            sqlx::Error::PoolTimedOut if self.connections() == (self.most(), 0) => "every connection is in use",
            _ => "the database does not answer",
        }
    }

    fn most(&self) -> u32 {
        match &self.pool {
            Pool::Postgres(pool) => pool.options().get_max_connections(),
            Pool::Sqlite(pool) => pool.options().get_max_connections(),
        }
    }

    /// Takes a changed URL from the file: new connections use it.
    async fn look_at_source(&self) {
        let Source::File(file, known) = &self.url else { return };
        let taken = match read(file).await {
            Ok(url) => self.take(url, known),
            Err(problem) => Err(problem),
        };
        if let Err(problem) = taken {
            warn!(problem, "the database keeps the URL it has");
        }
    }

    fn take(&self, url: String, known: &std::sync::Mutex<String>) -> Result<(), String> {
        let mut known = known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *known == url {
            return Ok(());
        }
        match (&self.pool, Address::parse(&url, self.echo)?) {
            (Pool::Postgres(pool), Address::Postgres(address)) => pool.set_connect_options(*address),
            (Pool::Sqlite(pool), Address::Sqlite(address)) => pool.set_connect_options(*address),
            (Pool::Postgres(_), Address::Sqlite(_)) | (Pool::Sqlite(_), Address::Postgres(_)) => {
                return Err("url_file: it names a database of another kind: restart to use it".to_owned());
            }
        }
        *known = url;
        info!("the URL of the database has changed; new connections use it");
        Ok(())
    }
}

impl Address {
    fn parse(url: &str, echo: bool) -> Result<Self, String> {
        check_database_url("url", url).map_err(|invalid| invalid.to_string())?;
        // The drivers' own errors may quote the URL.
        let refused = || "url: the driver cannot read it: check host, port and parameters".to_owned();
        if url.starts_with("sqlite:") {
            let options = SqliteConnectOptions::from_str(url).map_err(|_| refused())?;
            return Ok(Self::Sqlite(Box::new(logged(options, echo))));
        }
        let options = PgConnectOptions::from_str(url).map_err(|_| refused())?;
        let named = options.get_application_name().is_some();
        let options = if named { options } else { options.application_name("mcp-server") };
        Ok(Self::Postgres(Box::new(logged(options, echo))))
    }
}

/// The statements are logged by the driver, the values bound to them never.
fn logged<O: ConnectOptions>(options: O, echo: bool) -> O {
    if echo {
        options.log_statements(LevelFilter::Info).log_slow_statements(LevelFilter::Warn, SLOW)
    } else {
        options.disable_statement_logging()
    }
}

fn pool(section: &Section, address: Address, released: &Arc<Notify>) -> Pool {
    match address {
        Address::Postgres(address) => Pool::Postgres(options(section, released).connect_lazy_with(*address)),
        Address::Sqlite(address) => Pool::Sqlite(options(section, released).connect_lazy_with(*address)),
    }
}

fn options<DB: sqlx::Database>(section: &Section, released: &Arc<Notify>) -> PoolOptions<DB> {
    let released = Arc::clone(released);
    PoolOptions::new()
        .max_connections(section.pool_size.saturating_add(section.max_overflow))
        .acquire_timeout(ACQUIRE)
        .after_release(move |_, _| {
            released.notify_one();
            Box::pin(async { Ok(true) })
        })
}

/// Closes what is idle beyond `keep`. Those that release cannot: of many at once none knows how many others come back.
async fn trim(database: Weak<Database>, released: Arc<Notify>, keep: u32) {
    loop {
        released.notified().await;
        tokio::time::sleep(SETTLE).await;
        let Some(database) = database.upgrade() else { return };
        while database.connections().1 > keep && database.close_idle().await {}
    }
}

async fn read(file: &PathBuf) -> Result<String, String> {
    match tokio::fs::read_to_string(file).await {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) => Err(format!("url_file {} cannot be read: {error}", file.display())),
    }
}

/// Follows the URL's file for as long as the database is in use.
async fn watch(database: Weak<Database>) {
    loop {
        tokio::time::sleep(WATCH).await;
        let Some(database) = database.upgrade() else { return };
        database.look_at_source().await;
    }
}

async fn first_answer(database: Weak<Database>) {
    loop {
        let Some(database) = database.upgrade() else { return };
        if database.answered_once() || database.ping().await.is_ok() {
            return;
        }
        drop(database);
        tokio::time::sleep(RETRY).await;
    }
}
