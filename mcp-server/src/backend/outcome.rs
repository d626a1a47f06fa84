//! Did a call succeed? Read from the response while it passes, byte by byte, without holding or delaying any: a call has
//! failed when its message has the member `error`, or `isError: true` in its `result`.

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
                bytes.iter().for_each(|byte| body.message.feed(*byte));
                None
            }
            Self::Events(body) => {
                bytes.iter().for_each(|byte| body.feed(*byte));
                body.verdict
            }
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
    line: Line,
    after_return: bool,
}

/// Where in a line we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// That many bytes of `data:` have been seen.
    Field(usize),
    Data,
    Ignored,
}

impl Default for Line {
    fn default() -> Self {
        Self::Field(0)
    }
}

impl EventBody {
    fn feed(&mut self, byte: u8) {
        const FIELD: &[u8] = b"data:";
        let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
        if byte == b'\n' && after_return {
            return;
        }
        if matches!(byte, b'\n' | b'\r') {
            self.end_line();
            return;
        }
        match self.line {
            Line::Field(seen) if FIELD.get(seen) == Some(&byte) => {
                self.line = if seen + 1 == FIELD.len() { Line::Data } else { Line::Field(seen + 1) };
            }
            Line::Field(_) => self.line = Line::Ignored,
            Line::Data => self.message.feed(byte),
            Line::Ignored => {}
        }
    }

    fn end_line(&mut self) {
        if self.line == Line::Field(0) {
            let message = std::mem::take(&mut self.message);
            self.verdict = self.verdict.or(message.verdict());
        }
        self.line = Line::Field(0);
    }
}

#[cfg(test)]
#[path = "outcome_tests.rs"]
mod tests;
