//! Rounds of windows. Each round measures every subject at every number of connections, one window after the other, so
//! that whatever the machine does meanwhile meets all of them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::calls::Era;
use crate::lineup::{Kind, Lineup, ROWS, Row, Subject, reference};
use crate::load::{Window, window};

/// For so long nobody calls a process before it counts as idle. Ours gives memory back between 10 and 20 seconds after a call.
const ALONE: Duration = Duration::from_secs(25);

/// Connections at once.
pub const CONNECTIONS: [usize; 3] = [1, 16, 64];

/// How much is done.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    pub rounds: usize,
    /// Calls of one window with one connection, and with more.
    pub few: usize,
    pub many: usize,
    /// Calls of each subject before anything is measured.
    pub warm_up: usize,
    /// Sessions at once.
    pub sessions: usize,
    /// Sessions from their beginning to their end.
    pub lifecycles: usize,
}

impl Effort {
    pub fn of(quick: bool, rounds: Option<usize>) -> Self {
        let effort = if quick {
            Self { rounds: 1, few: 100, many: 300, warm_up: 100, sessions: 50, lifecycles: 300 }
        } else {
            Self { rounds: 7, few: 3_000, many: 12_000, warm_up: 5_000, sessions: 1_000, lifecycles: 30_000 }
        };
        Self { rounds: rounds.unwrap_or(effort.rounds), ..effort }
    }
}

/// What was measured.
#[derive(Debug, Default)]
pub struct Table {
    pub rows: Vec<Measured>,
    /// Of each process in KiB: idle after its first call, and the most of all windows.
    pub memory: Vec<(&'static str, u64, u64)>,
    /// Of one idle session with an open stream, in KiB.
    pub sessions: Vec<(&'static str, f64)>,
    /// Resident memory in KiB after a part of the lifecycles, and after all of them.
    pub lifecycles: Vec<(&'static str, u64, u64)>,
}

/// The windows of one row, by the number of connections, in the order of the rounds.
#[derive(Debug)]
pub struct Measured {
    pub row: Row,
    pub windows: BTreeMap<usize, Vec<Window>>,
}

impl Table {
    pub fn row(&self, name: &str) -> Option<&Measured> {
        self.rows.iter().find(|measured| measured.row.name == name)
    }
}

/// Measures the rows.
pub async fn run(lineup: &Lineup<'_>, effort: &Effort, only: Option<&str>) -> Result<Table> {
    let wanted = |row: &Row| only.is_none_or(|text| row.name.contains(text));
    let chosen: Vec<Row> =
        ROWS.into_iter().filter(|row| wanted(row) || ROWS.iter().any(|r| wanted(r) && reference(r) == *row)).collect();
    anyhow::ensure!(!chosen.is_empty(), "no subject has such a name; there are: {:?}", ROWS.map(|row| row.name));

    let mut subjects: Vec<(Kind, Subject)> = Vec::new();
    let mut table = Table::default();
    for row in &chosen {
        if !subjects.iter().any(|(kind, _)| *kind == row.kind) {
            eprintln!("starting: {}", row.name);
            let subject = lineup.start(row.kind).await.with_context(|| row.name.to_owned())?;
            window(&subject, Era::Modern, 1, 1).await.with_context(|| row.name.to_owned())?;
            subjects.push((row.kind, subject));
            table.memory.push((row.name, 0, 0));
        }
    }
    eprintln!("leaving them alone");
    tokio::time::sleep(ALONE).await;
    for (memory, (_, subject)) in table.memory.iter_mut().zip(&subjects) {
        memory.1 = subject.process.memory()?.now;
        window(subject, Era::Modern, 16, effort.warm_up).await.with_context(|| memory.0.to_owned())?;
    }

    table.rows = chosen.iter().map(|row| Measured { row: *row, windows: BTreeMap::new() }).collect();
    for round in 1..=effort.rounds {
        eprintln!("round {round} of {}", effort.rounds);
        for connections in CONNECTIONS {
            let requests = if connections == 1 { effort.few } else { effort.many };
            for measured in &mut table.rows {
                let Row { name, kind, era } = measured.row;
                let subject = subjects.iter().find(|(of, _)| *of == kind).map(|(_, subject)| subject);
                let window = window(subject.context("it runs")?, era, connections, requests);
                measured.windows.entry(connections).or_default().push(window.await.with_context(|| name.to_owned())?);
            }
        }
    }
    for (memory, (_, subject)) in table.memory.iter_mut().zip(&subjects) {
        memory.2 = subject.process.memory()?.most;
    }
    Ok(table)
}
