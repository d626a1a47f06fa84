//! What redis knows of a session: enough for any replica to take it over.
//!
//! One hash a session, `<prefix>:session:{<id>}`; the braces put all keys of a session into one slot of a cluster. It
//! lives as long as the session is used. A deleted session stays as a mark until then, so that a replica that still
//! holds it learns of it, and a redis that lost its data is told from that.
//!
//! How old a session is, redis' clock says: those of replicas may differ by anything.

use std::collections::HashMap;
use std::sync::Arc;

use super::Owner;
use crate::peers::Holder;
use crate::state::{Redis, Script, Unavailable};

/// KEYS: the session. ARGV: its age, how long it may be idle, how old it may get, and its fields.
const WRITE: &str = r"
local created = redis.call('TIME')[1] - ARGV[1]
redis.call('HSET', KEYS[1], 'created', string.format('%.0f', created), unpack(ARGV, 4))
redis.call('EXPIRE', KEYS[1], math.max(math.min(ARGV[2], ARGV[3] - ARGV[1]), 1))
return 1
";

/// The same, without fields. Returns the age, then the fields. The life of one that nobody holds begins anew; a holder does
/// that itself.
const READ: &str = r"
local fields = redis.call('HGETALL', KEYS[1])
local created, held = nil, false
for i = 1, #fields, 2 do
  if fields[i] == 'created' then created = tonumber(fields[i + 1]) end
  if fields[i] == 'holder' or fields[i] == 'ended' then held = true end
end
if not created then return {} end
local age = redis.call('TIME')[1] - created
if not held then redis.call('EXPIRE', KEYS[1], math.max(math.min(ARGV[1], ARGV[2] - age), 1)) end
return {string.format('%.0f', math.max(age, 0)), unpack(fields)}
";

/// A session in redis.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) owner: Owner,
    /// In seconds.
    pub(crate) age: u64,
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
    write: Script,
    read: Script,
    idle: u64,
    max_age: u64,
}

impl Records {
    pub(super) fn new(redis: Arc<Redis>, idle: u64, max_age: u64) -> Self {
        Self { redis, write: Script::new(WRITE), read: Script::new(READ), idle, max_age }
    }

    pub(super) async fn write(&self, id: &str, record: &Record) -> Result<(), Unavailable> {
        let (key, owner) = (self.key(id), record.owner.to_text());
        let holder = record.holder.as_ref().map(ToString::to_string);
        let written = self.redis.script::<u8>(&self.write, |command| {
            command.arg(1).arg(&key).arg(record.age).arg(self.idle).arg(self.max_age);
            command.arg("owner").arg(&owner).arg("content").arg(&record.content);
            for (name, value) in [("holder", &holder), ("principal", &record.principal)] {
                if let Some(value) = value {
                    command.arg(name).arg(value);
                }
            }
        });
        written.await.map(drop)
    }

    /// The session, and its life begins anew, unless somebody holds it.
    pub(super) async fn read(&self, id: &str) -> Result<Option<Record>, Unavailable> {
        let key = self.key(id);
        let read = self.redis.script::<Vec<String>>(&self.read, |command| {
            command.arg(1).arg(&key).arg(self.idle).arg(self.max_age);
        });
        let mut read = read.await?.into_iter();
        let age = read.next().and_then(|age| age.parse().ok());
        let mut fields = HashMap::new();
        while let (Some(name), Some(value)) = (read.next(), read.next()) {
            fields.insert(name, value);
        }
        Ok(age.filter(|age| *age < self.max_age).and_then(|age| decode(age, fields)))
    }

    /// Its life begins anew.
    pub(super) async fn touch(&self, id: &str, age: u64) -> Result<Known, Unavailable> {
        let key = self.key(id);
        // Seconds until it ends unless it is used.
        let lifetime = self.idle.min(self.max_age.saturating_sub(age)).max(1);
        let mut commands = redis::pipe();
        commands.cmd("EXPIRE").arg(&key).arg(lifetime);
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
}

fn decode(age: u64, mut fields: HashMap<String, String>) -> Option<Record> {
    if fields.contains_key("ended") {
        return None;
    }
    let holder = fields.get("holder").map(|holder| holder.parse()).transpose().ok()?;
    Some(Record {
        owner: Owner::from_text(fields.get("owner")?)?,
        age,
        content: fields.remove("content")?,
        holder,
        principal: fields.remove("principal"),
    })
}
