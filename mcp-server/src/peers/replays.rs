//! A sealed request counts once. Senders number theirs; a receiver remembers which of the last few thousand numbers of each
//! sender it has seen. A number below those is refused too, so memory is bounded, and an old one is refused by its time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Numbers remembered of one sender: far more than are under way at once.
const WINDOW: u64 = 4096;
const WORDS: usize = (WINDOW / 64) as usize;
/// A sender that has been silent for so many seconds is forgotten: what it sealed before is too old by then.
const FORGET_AFTER: u64 = 600;
const MANY_SENDERS: usize = 64;

/// See the module.
#[derive(Default)]
pub(super) struct Replays(Mutex<HashMap<String, Seen>>);

struct Seen {
    highest: u64,
    bits: Box<[u64; WORDS]>,
    /// Seconds since 1970.
    last: u64,
}

impl Replays {
    /// Whether the request of that number is new. `now` is in seconds.
    pub(super) fn admit(&self, sender: &str, number: u64, now: u64) -> bool {
        // No code under the lock can panic half-way through a change.
        let mut senders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = senders.get_mut(sender) {
            return seen.admit(number, now);
        }
        if senders.len() >= MANY_SENDERS {
            senders.retain(|_, seen| now.saturating_sub(seen.last) < FORGET_AFTER);
        }
        let seen = senders.entry(sender.to_owned()).or_insert(Seen { highest: 0, bits: Box::new([0; WORDS]), last: 0 });
        seen.admit(number, now)
    }
}

impl Seen {
    fn admit(&mut self, number: u64, now: u64) -> bool {
        self.last = now;
        if number > self.highest {
            // The numbers between have not been seen; their places are those of numbers that fall out.
            for skipped in (self.highest + 1).max(number.saturating_sub(WINDOW))..number {
                self.clear(skipped);
            }
            self.highest = number;
            self.set(number);
            return true;
        }
        if self.highest - number >= WINDOW {
            return false;
        }
        !self.set(number)
    }

    /// Returns whether it was set.
    fn set(&mut self, number: u64) -> bool {
        let (word, bit) = place(number);
        let before = self.bits[word] & bit != 0;
        self.bits[word] |= bit;
        before
    }

    fn clear(&mut self, number: u64) {
        let (word, bit) = place(number);
        self.bits[word] &= !bit;
    }
}

fn place(number: u64) -> (usize, u64) {
    let index = number % WINDOW;
    ((index / 64) as usize, 1 << (index % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_number_counts_once_for_each_sender() {
        let replays = Replays::default();
        assert!(replays.admit("a", 1, 0) && replays.admit("b", 1, 0));
        assert!(!replays.admit("a", 1, 0));
        // Numbers overtake each other.
        assert!(replays.admit("a", 5, 0) && replays.admit("a", 3, 0) && replays.admit("a", 4, 0));
        assert!(!replays.admit("a", 3, 0) && !replays.admit("a", 5, 0));
    }

    #[test]
    fn what_is_too_far_behind_is_refused() {
        let replays = Replays::default();
        assert!(replays.admit("a", WINDOW + 10, 0));
        assert!(replays.admit("a", 11, 0));
        assert!(!replays.admit("a", 10, 0));
    }

    #[test]
    fn the_silent_are_forgotten() {
        let replays = Replays::default();
        for sender in 0..1000_u64 {
            assert!(replays.admit(&sender.to_string(), 1, sender * FORGET_AFTER));
        }
        assert!(replays.0.lock().expect("no panic").len() <= MANY_SENDERS);
    }

    proptest::proptest! {
        #[test]
        fn it_agrees_with_a_set(numbers in proptest::collection::vec(1_u64..3 * WINDOW, 0..200)) {
            let (replays, mut seen, mut highest) = (Replays::default(), HashSet::new(), 0);
            for number in numbers {
                highest = highest.max(number);
                let expected = highest - number < WINDOW && seen.insert(number);
                proptest::prop_assert_eq!(replays.admit("a", number, 0), expected);
            }
        }
    }
}
