//! What redis knows of a session: enough for any replica to take it over.
//!
//! One hash a session, `<prefix>:session:{<id>}`; the braces put all keys of a session into one slot of a cluster. It
//! lives as long as the session is used. A deleted session stays as a mark until then, so that a replica that still
//! holds it learns of it, and a redis that lost its data is told from that.

use std::collections::HashMap;
use std::sync::Arc;

use super::Owner;
use crate::peers::Holder;
use crate::state::{Redis, Unavailable};

/// A session in redis.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) owner: Owner,
    /// Seconds since 1970.
    pub(crate) created: u64,
    /// What the holder needs to take it over.
    pub(crate) content: String,
    /// The replica that alone can serve it, if that is so.
    pub(crate) holder: Option<Holder>,
    /// Whose sessions it is counted among.
    pub(crate) principal: Option<String>,
}

/// What redis knows of a session that is held here.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known {
    Alive,
    Ended,
    Lost,
}

pub(super) struct Records {
    redis: Arc<Redis>,
    idle: u64,
    max_age: u64,
}

impl Records {
    pub(super) fn new(redis: Arc<Redis>, idle: u64, max_age: u64) -> Self {
        Self { redis, idle, max_age }
    }

    pub(super) async fn write(&self, id: &str, record: &Record, now: u64) -> Result<(), Unavailable> {
        let key = self.key(id);
        let mut commands = redis::pipe();
        commands.atomic();
        commands
            .cmd("HSET")
            .arg(&key)
            .arg("owner")
            .arg(record.owner.to_text())
            .arg("created")
            .arg(record.created)
            .arg("content")
            .arg(&record.content);
        if let Some(holder) = &record.holder {
            commands.arg("holder").arg(holder.to_string());
        }
        if let Some(principal) = &record.principal {
            commands.arg("principal").arg(principal);
        }
        commands.ignore();
        commands.cmd("EXPIRE").arg(&key).arg(self.lifetime(record.created, now)).ignore();
        self.redis.run_all(&commands).await
    }

    /// The session, and its life begins anew, unless somebody holds it.
    pub(super) async fn read(&self, id: &str, now: u64) -> Result<Option<Record>, Unavailable> {
        let fields: HashMap<String, String> = self.redis.run(redis::cmd("HGETALL").arg(self.key(id))).await?;
        let Some(record) = decode(fields).filter(|record| now.saturating_sub(record.created) < self.max_age) else {
            return Ok(None);
        };
        // A holder does that itself.
        if record.holder.is_none() {
            self.touch(id, record.created, now).await?;
        }
        Ok(Some(record))
    }

    /// Its life begins anew.
    pub(super) async fn touch(&self, id: &str, created: u64, now: u64) -> Result<Known, Unavailable> {
        let key = self.key(id);
        let mut commands = redis::pipe();
        commands.cmd("EXPIRE").arg(&key).arg(self.lifetime(created, now));
        commands.cmd("HEXISTS").arg(&key).arg("ended");
        let (there, ended): (bool, bool) = self.redis.run_all(&commands).await?;
        Ok(match (there, ended) {
            (_, true) => Known::Ended,
            (true, false) => Known::Alive,
            (false, false) => Known::Lost,
        })
    }

    /// Marks it as ended.
    pub(super) async fn end(&self, id: &str) -> Result<(), Unavailable> {
        let key = self.key(id);
        let mut commands = redis::pipe();
        commands.atomic();
        commands.cmd("DEL").arg(&key).ignore();
        commands.cmd("HSET").arg(&key).arg("ended").arg(1).ignore();
        commands.cmd("EXPIRE").arg(&key).arg(self.idle).ignore();
        self.redis.run_all(&commands).await
    }

    fn key(&self, id: &str) -> String {
        self.redis.key(&format!("session:{{{id}}}"))
    }

    /// Seconds until it ends unless it is used.
    fn lifetime(&self, created: u64, now: u64) -> u64 {
        self.idle.min((created + self.max_age).saturating_sub(now)).max(1)
    }
}

fn decode(mut fields: HashMap<String, String>) -> Option<Record> {
    if fields.contains_key("ended") {
        return None;
    }
    let holder = fields.get("holder").map(|holder| holder.parse()).transpose().ok()?;
    Some(Record {
        owner: Owner::from_text(fields.get("owner")?)?,
        created: fields.get("created")?.parse().ok()?,
        content: fields.remove("content")?,
        holder,
        principal: fields.remove("principal"),
    })
}
