//! Cuts a stream of events into events (HTML, "Server-sent events"), and gives each of them to a filter as soon as its
//! last byte is there.

use std::borrow::Cow;

use bytes::BytesMut;

use super::listing::Listing;

/// Cuts behind empty lines.
#[derive(Default)]
pub(super) struct Splitter {
    /// The event that is not complete.
    pending: BytesMut,
    /// So much of it has been looked at.
    seen: usize,
    line_has_bytes: bool,
    after_return: bool,
}

impl Splitter {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// How many bytes are held back.
    pub(super) fn held(&self) -> usize {
        self.pending.len()
    }

    /// The next complete event, with the empty line that ends it.
    pub(super) fn next(&mut self) -> Option<BytesMut> {
        while let Some(byte) = self.pending.get(self.seen).copied() {
            self.seen += 1;
            let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                // The second half of an end that was seen.
                b'\n' if after_return => {}
                b'\n' | b'\r' if self.line_has_bytes => self.line_has_bytes = false,
                b'\n' | b'\r' => return Some(self.pending.split_to(std::mem::take(&mut self.seen))),
                _ => self.line_has_bytes = true,
            }
        }
        None
    }

    /// What is left when the stream has ended.
    pub(super) fn rest(&mut self) -> BytesMut {
        self.seen = 0;
        std::mem::take(&mut self.pending)
    }
}

impl Listing {
    /// The event for the caller: byte for byte, but for the tools that are not shown. An event that cannot be read is
    /// left out.
    pub(super) fn event(&self, event: &[u8], out: &mut Vec<u8>) {
        let data = data(event);
        if data.iter().all(u8::is_ascii_whitespace) {
            out.extend_from_slice(event);
            return;
        }
        let filtered = std::str::from_utf8(&data).ok().and_then(|text| self.filtered(text).ok());
        match filtered {
            Some(None) => out.extend_from_slice(event),
            Some(Some(changed)) => replace(event, &changed, out),
            None => tracing::warn!("an event of the backend beside a list of tools is not JSON: it is left out"),
        }
    }
}

/// The lines of an event, each without and with its end.
fn lines(mut event: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        if event.is_empty() {
            return None;
        }
        let length = event.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(event.len());
        let end = usize::from(length < event.len()) + usize::from(event[length..].starts_with(b"\r\n"));
        let (line, rest) = event.split_at(length + end);
        event = rest;
        Some((&line[..length], line))
    })
}

/// The value of a `data` line.
fn value(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    let rest = line.strip_prefix(b"data")?;
    if rest.is_empty() {
        return Some(rest);
    }
    let value = rest.strip_prefix(b":")?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

/// The data of an event: its lines, joined as every client joins them.
fn data(event: &[u8]) -> Cow<'_, [u8]> {
    let mut values = lines(event).filter_map(|(line, _)| value(line));
    let first = values.next().unwrap_or_default();
    let rest: Vec<&[u8]> = values.collect();
    if rest.is_empty() { Cow::Borrowed(first) } else { Cow::Owned([&[first], &*rest].concat().join(&b'\n')) }
}

/// The event with other data. Its other lines stay.
fn replace(event: &[u8], data: &str, out: &mut Vec<u8>) {
    let mut written = false;
    for (line, whole) in lines(event) {
        if value(line).is_none() {
            out.extend_from_slice(whole);
        } else if !std::mem::replace(&mut written, true) {
            for part in data.split('\n') {
                out.extend_from_slice(b"data: ");
                out.extend_from_slice(part.as_bytes());
                out.push(b'\n');
            }
        }
    }
}
