//! How much of what clients send is held at once. One message has its limit; without one for all together, many clients
//! that each send a large one would take the memory that everybody needs.

use std::sync::Arc;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::mcp::memory;

/// The part of the memory limit that messages may take. A message may take twice its size while it is put together.
const SHARE: u64 = 8;
/// Where there is no memory limit.
const MOST: u64 = 256 * 1024 * 1024;

/// The room for messages.
#[derive(Debug, Clone)]
pub struct Bodies {
    /// The largest message.
    limit: usize,
    /// In bytes.
    room: Arc<Semaphore>,
}

/// Why a message is not there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is larger than one may be.
    TooLarge,
    /// It is fine, but others leave no room for it now.
    NoRoom,
    /// It ended before its end.
    BrokeOff,
}

impl Bodies {
    /// `limit` is `server.max_request_body_bytes`. One process has one.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        let room = room_for(memory::limit(), limit);
        Self::with_room(limit as usize, usize::try_from(room).unwrap_or(usize::MAX))
    }

    pub(super) fn with_room(limit: usize, room: usize) -> Self {
        Self { limit, room: Arc::new(Semaphore::new(room.min(Semaphore::MAX_PERMITS))) }
    }

    /// Whether a message of that size may come.
    pub(super) fn admits(&self, announced: u64) -> bool {
        announced <= self.limit as u64
    }

    /// Reads the message. It counts as far as it has come, so that announcing much takes nothing from others; the room is
    /// free again when the last copy of the bytes is dropped.
    pub(super) async fn read(&self, body: Body) -> Result<Bytes, Unread> {
        let mut body = Limited::new(body, self.limit);
        let mut held = Held { bytes: BytesMut::new(), room: None };
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| match error.is::<LengthLimitError>() {
                true => Unread::TooLarge,
                false => Unread::BrokeOff,
            })?;
            let Ok(data) = frame.into_data() else { continue };
            held.add(&data, &self.room)?;
        }
        Ok(Bytes::from_owner(held))
    }
}

fn room_for(memory: Option<u64>, limit: u32) -> u64 {
    // The largest message must fit, or it could never come.
    memory.map_or(MOST, |memory| memory / SHARE).max(limit.into())
}

/// A message with its room.
struct Held {
    bytes: BytesMut,
    room: Option<OwnedSemaphorePermit>,
}

impl Held {
    fn add(&mut self, data: &[u8], room: &Arc<Semaphore>) -> Result<(), Unread> {
        let size = u32::try_from(data.len()).map_err(|_| Unread::TooLarge)?;
        let more = Arc::clone(room).try_acquire_many_owned(size).map_err(|_| Unread::NoRoom)?;
        match &mut self.room {
            Some(room) => room.merge(more),
            none => *none = Some(more),
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn chunks(sizes: &[usize]) -> Body {
        let chunks: Vec<_> = sizes.iter().map(|size| Ok::<_, Infallible>(vec![b'a'; *size])).collect();
        Body::from_stream(futures::stream::iter(chunks))
    }

    #[test]
    fn messages_take_an_eighth_of_the_memory_and_the_largest_fits() {
        assert_eq!(room_for(Some(128 << 20), 4 << 20), 16 << 20);
        assert_eq!(room_for(Some(1), 4 << 20), 4 << 20);
        assert_eq!(room_for(None, 1), MOST);
    }

    #[tokio::test]
    async fn messages_share_their_room_until_they_are_dropped() {
        let bodies = Bodies::with_room(10, 15);
        let first = bodies.read(chunks(&[4, 6])).await.unwrap();
        assert_eq!(&first[..], b"aaaaaaaaaa");
        assert_eq!(bodies.read(chunks(&[3, 3])).await, Err(Unread::NoRoom));
        // What had been read of that one is free again.
        let second = bodies.read(chunks(&[5])).await.unwrap();
        let copy = first.clone();
        drop(first);
        assert_eq!(bodies.read(chunks(&[1])).await, Err(Unread::NoRoom));
        drop(copy);
        bodies.read(chunks(&[10])).await.unwrap();
        drop(second);
        assert_eq!(bodies.room.available_permits(), 15);
    }

    #[tokio::test]
    async fn one_message_has_its_own_limit() {
        let bodies = Bodies::with_room(10, 100);
        assert_eq!(bodies.read(chunks(&[10, 1])).await, Err(Unread::TooLarge));
        assert_eq!(bodies.room.available_permits(), 100);
    }
}
