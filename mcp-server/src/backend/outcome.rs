//! Did a call succeed? Read from the response while it passes, without holding or delaying any byte: a call has failed when
//! its message has the member `error`, or `isError: true` in its `result`. Text, which is most of a large result, is
//! skipped at once.

use memchr::memchr2;

/// Longer names of members are none of those we know.
const MAX_KEY: usize = 12;

/// Follows the bytes of one JSON message.
#[derive(Debug, Default)]
struct Message {
    depth: u32,
    in_string: bool,
    escaped: bool,
    /// The string is the name of a member that counts.
    is_key: bool,
    /// The next string is a name.
    key_expected: bool,
    key: Vec<u8>,
    member: Member,
    /// The object at depth two is the result.
    in_result: bool,
    at_is_error: bool,
    has_result: bool,
    has_error: bool,
    is_error: bool,
}

/// The member of the message whose value is being read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Member {
    #[default]
    Other,
    Result,
    Error,
}

impl Message {
    fn feed_all(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            let in_text = self.in_string && !self.escaped && !self.is_key;
            let skipped = if in_text { memchr2(b'"', b'\\', bytes) } else { Some(0) };
            match skipped {
                Some(0) => {
                    self.feed(byte);
                    bytes = rest;
                }
                Some(skipped) => bytes = &bytes[skipped..],
                None => return,
            }
        }
    }

    fn feed(&mut self, byte: u8) {
        if self.in_string {
            self.feed_string(byte);
            return;
        }
        match byte {
            b'"' => {
                self.in_string = true;
                self.is_key = self.key_expected;
                self.key.clear();
            }
            b'{' => {
                self.depth = self.depth.saturating_add(1);
                if self.depth == 2 {
                    self.in_result = self.member == Member::Result;
                }
                self.key_expected = self.names_count();
            }
            b'[' => {
                self.depth = self.depth.saturating_add(1);
                if self.depth == 2 {
                    self.in_result = false;
                }
                self.key_expected = false;
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                self.key_expected = false;
            }
            b',' => {
                self.key_expected = self.names_count();
                self.at_is_error = false;
            }
            b':' => self.key_expected = false,
            b't' if self.at_is_error && self.depth == 2 => self.is_error = true,
            _ => {}
        }
    }

    /// Strings directly in the message, or directly in its result, may be names that count.
    fn names_count(&self) -> bool {
        self.depth == 1 || (self.depth == 2 && self.in_result)
    }

    fn feed_string(&mut self, byte: u8) {
        if self.escaped {
            self.escaped = false;
        } else if byte == b'\\' {
            self.escaped = true;
        } else if byte == b'"' {
            self.in_string = false;
            if self.is_key {
                self.named();
            }
            return;
        }
        if self.is_key && self.key.len() < MAX_KEY {
            self.key.push(byte);
        }
    }

    fn named(&mut self) {
        if self.depth == 2 {
            self.at_is_error = self.key == b"isError";
            return;
        }
        self.member = match self.key.as_slice() {
            b"result" => Member::Result,
            b"error" => Member::Error,
            _ => Member::Other,
        };
        self.has_result |= self.member == Member::Result;
        self.has_error |= self.member == Member::Error;
    }

    /// Whether the call succeeded, if the message was its response.
    fn verdict(&self) -> Option<bool> {
        if self.has_error {
            Some(false)
        } else if self.has_result {
            Some(!self.is_error)
        } else {
            None
        }
    }
}

/// Follows the body of the response to a call.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// One message.
    Json(JsonBody),
    /// A stream of events, of which one is the response.
    Events(EventBody),
}

impl Outcome {
    pub(crate) fn new(is_event_stream: bool) -> Self {
        if is_event_stream { Self::Events(EventBody::default()) } else { Self::Json(JsonBody::default()) }
    }

    /// Reads on. Returns the outcome as soon as it is known.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Option<bool> {
        match self {
            Self::Json(body) => {
                body.message.feed_all(bytes);
                None
            }
            Self::Events(body) => {
                body.feed_all(bytes);
                body.verdict
            }
        }
    }

    /// An event had an id: what comes after it can be asked for again.
    pub(crate) fn has_event_ids(&self) -> bool {
        match self {
            Self::Json(_) => false,
            Self::Events(body) => body.has_ids,
        }
    }

    /// The body is complete.
    pub(crate) fn finish(&self) -> Option<bool> {
        match self {
            Self::Json(body) => body.message.verdict(),
            Self::Events(body) => body.verdict,
        }
    }
}

/// See [`Outcome::Json`].
#[derive(Debug, Default)]
pub(crate) struct JsonBody {
    message: Message,
}

/// See [`Outcome::Events`]: lines `data: …`, an empty line ends an event.
#[derive(Debug, Default)]
pub(crate) struct EventBody {
    message: Message,
    verdict: Option<bool>,
    has_ids: bool,
    line: Line,
    after_return: bool,
}

/// Where in a line we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// The name of the field, as far as it has come.
    Field {
        name: [u8; 5],
        length: usize,
    },
    Data,
    Ignored,
}

impl Default for Line {
    fn default() -> Self {
        Self::Field { name: [0; 5], length: 0 }
    }
}

impl EventBody {
    fn feed_all(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            let after_return = std::mem::take(&mut self.after_return);
            match (byte, self.line) {
                (b'\n', _) if after_return => bytes = rest,
                (b'\n' | b'\r', _) => {
                    self.after_return = byte == b'\r';
                    self.end_line();
                    bytes = rest;
                }
                (_, Line::Field { .. }) => {
                    self.name_field(byte);
                    bytes = rest;
                }
                (_, Line::Data | Line::Ignored) => {
                    let (line, rest) = bytes.split_at(memchr2(b'\n', b'\r', bytes).unwrap_or(bytes.len()));
                    if self.line == Line::Data {
                        self.message.feed_all(line);
                    }
                    bytes = rest;
                }
            }
        }
    }

    fn name_field(&mut self, byte: u8) {
        let Line::Field { name, length } = &mut self.line else { return };
        name[*length] = byte;
        *length += 1;
        match &name[..*length] {
            b"data:" => self.line = Line::Data,
            b"id:" => {
                self.has_ids = true;
                self.line = Line::Ignored;
            }
            begun if b"data:".starts_with(begun) || b"id:".starts_with(begun) => {}
            _ => self.line = Line::Ignored,
        }
    }

    fn end_line(&mut self) {
        if self.line == Line::default() {
            let message = std::mem::take(&mut self.message);
            self.verdict = self.verdict.or(message.verdict());
        }
        self.line = Line::default();
    }
}

#[cfg(test)]
#[path = "outcome_tests.rs"]
mod tests;
