//! What the demo prints: numbered steps, what is run, how long it took.

use std::time::Instant;

use anyhow::Error;

use super::seconds;

/// Tells one step after the other.
pub struct Narrator {
    steps: usize,
    current: usize,
    started: Instant,
}

impl Narrator {
    /// A story of so many steps.
    pub fn new(steps: usize) -> Self {
        Self { steps, current: 0, started: Instant::now() }
    }

    /// Ends the step before and begins the next.
    pub fn step(&mut self, title: &str) {
        self.done();
        self.current += 1;
        self.started = Instant::now();
        println!("[{}/{}] {title}", self.current, self.steps);
    }

    /// A command as the reader could type it.
    pub fn command(&self, text: &str) {
        println!("      $ {text}");
    }

    /// Something to see.
    pub fn detail(&self, text: &str) {
        for line in text.trim_end().lines() {
            println!("      {line}");
        }
    }

    /// Something that was expected and came.
    pub fn success(&self, text: &str) {
        println!("      ✓ {text}");
    }

    /// Ends the current step.
    pub fn done(&mut self) {
        if self.current > 0 {
            println!("      {}\n", seconds(self.started.elapsed()));
        }
    }

    /// Names the step that failed.
    pub fn failed(&self, error: Error) -> Error {
        error.context(format!(
            "step {} of {} failed after {}",
            self.current,
            self.steps,
            seconds(self.started.elapsed())
        ))
    }
}
