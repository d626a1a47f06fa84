//! The table, and which goals are met.

use crate::Effort;
use crate::bench::{Measured, Phase, Rest};
use crate::samples::Sample;

/// Prints everything.
pub fn print(all: &[Measured], effort: Effort) {
    println!("\n{} servers of each kind; operator on one processor, API server and etcd on the other", effort.count);
    table(all, effort);
    for measured in all {
        requests(measured);
    }
    println!("\nGoals\n\n| what | measured | goal | |\n| --- | ---: | ---: | --- |");
    for measured in all {
        goals(measured, effort);
    }
}

type Figure = (&'static str, fn(&Measured, f64) -> String);

const FIGURES: [Figure; 26] = [
    ("children of one server", |m, _| m.children.to_string()),
    ("first create to last child, s", |m, _| one(m.last_child)),
    ("first create to last write, s", |m, _| one(m.last_write)),
    ("the same writes by a bare client, s", |m, _| one(m.floor)),
    ("how many those are", |m, _| m.floor_writes.to_string()),
    ("writes a server until programmed: children, statuses, events", |m, n| writes(&m.creation, n)),
    ("operator CPU a server until programmed, ms", |m, n| two(m.creation.cpu / n)),
    ("operator CPU a write, ms", |m, _| two(per_write(&m.creation))),
    ("requests a minute while nothing is ready", |m, _| one(per_minute(&m.rest_unready))),
    ("operator CPU a second meanwhile, ms", |m, _| two(cpu_a_second(&m.rest_unready))),
    ("writes a server to become ready: children, statuses, events", |m, n| writes(&m.ready, n)),
    ("operator CPU a server to become ready, ms", |m, n| two(m.ready.cpu / n)),
    ("requests a minute while all are ready", |m, _| one(per_minute(&m.rest_ready))),
    ("operator CPU a second meanwhile, ms", |m, _| two(cpu_a_second(&m.rest_ready))),
    ("questions to pods and Services a second meanwhile", |m, _| {
        one(m.rest_ready.asked as f64 / m.rest_ready.minutes / 60.0)
    }),
    ("change: spec patch to last child, p50, ms", |m, _| one(percentile(&m.latencies, 0.5))),
    ("change: spec patch to last child, p95, ms", |m, _| one(percentile(&m.latencies, 0.95))),
    ("writes a change: children, statuses, events", |m, _| writes(&m.change, m.latencies.len() as f64)),
    ("restart: writes", |m, _| m.restart.writes().to_string()),
    ("restart: lists and reads", |m, _| m.restart.reads().to_string()),
    ("restart: start to last request, s", |m, _| one(m.restart_asked)),
    ("restart: start to rest, s", |m, _| one(m.restart_idle)),
    ("restart: most resident memory, MiB", |m, _| one(mib(m.restart.memory.most))),
    ("resident memory without servers, MiB", |m, _| one(mib(m.memory_empty))),
    ("resident memory, all ready, MiB", |m, _| one(mib(m.change.memory.now))),
    ("deletion: requests", |m, _| m.deletion.requests.values().sum::<usize>().to_string()),
];

fn table(all: &[Measured], effort: Effort) {
    let heads: Vec<_> = all.iter().map(|measured| measured.sample.name()).collect();
    println!("\n| | {} |", heads.join(" | "));
    println!("| --- |{}", " ---: |".repeat(all.len()));
    for (name, figure) in FIGURES {
        let cells: Vec<_> = all.iter().map(|measured| figure(measured, effort.count as f64)).collect();
        println!("| {name} | {} |", cells.join(" | "));
    }
}

/// By the API server's audit log.
fn requests(measured: &Measured) {
    println!("\nRequests of the operator, {}: verb, resource, how many\n", measured.sample.name());
    let phases = [
        ("creation", &measured.creation),
        ("ready", &measured.ready),
        ("changes", &measured.change),
        ("restart", &measured.restart),
        ("deletion", &measured.deletion),
    ];
    for (name, phase) in phases {
        let all: Vec<_> = phase.requests.iter().map(|(what, count)| format!("{what} {count}")).collect();
        println!(
            "- {name} ({:.0} s, {:.0} ms of CPU, {:.1} MiB): {}",
            phase.seconds,
            phase.cpu,
            mib(phase.memory.now),
            all.join(", ")
        );
    }
}

fn goals(m: &Measured, effort: Effort) {
    let (name, n) = (m.sample.name(), effort.count as f64);
    let goal = |what: &str, measured: f64, at_most: f64| {
        let verdict = if measured <= at_most { "met" } else { "missed" };
        println!("| {name}: {what} | {measured:.2} | ≤ {at_most} | {verdict} |");
    };
    goal("creation, × the bare client", m.last_write / m.floor, 1.3);
    let statuses = (m.creation.statuses + m.ready.statuses) as f64 / n;
    goal("children written, a server", (m.creation.children + m.ready.children) as f64 / n, m.children as f64);
    goal("statuses written, a server", statuses, 2.0);
    goal("operator CPU a write, ms", per_write(&m.creation), 0.4);
    goal("requests a minute at rest, nothing ready", per_minute(&m.rest_unready), 0.0);
    goal("requests a minute at rest, all ready", per_minute(&m.rest_ready), 0.0);
    goal("change, p50, ms", percentile(&m.latencies, 0.5), 15.0);
    goal("change, p95, ms", percentile(&m.latencies, 0.95), 30.0);
    goal("statuses written, a change", m.change.statuses as f64 / m.latencies.len().max(1) as f64, 2.0);
    goal("writes of a restart", m.restart.writes() as f64, 0.0);
    if effort.count <= 1000 {
        goal("restart to rest, s", m.restart_idle, 5.0);
        if m.sample == Sample::Minimal {
            goal("resident memory, MiB", mib(m.change.memory.now), 40.0);
        }
    } else {
        let each = m.change.memory.now.saturating_sub(m.memory_empty) as f64 / n;
        println!("| {name}: resident memory a server, KiB | {each:.1} | stated | |");
    }
}

fn writes(phase: &Phase, count: f64) -> String {
    let each = |writes: usize| two(writes as f64 / count.max(1.0));
    format!("{}, {}, {}", each(phase.children), each(phase.statuses), each(phase.events))
}

fn per_write(phase: &Phase) -> f64 {
    phase.cpu / phase.writes().max(1) as f64
}

fn per_minute(rest: &Rest) -> f64 {
    rest.requests as f64 / rest.minutes
}

fn cpu_a_second(rest: &Rest) -> f64 {
    rest.cpu / rest.minutes / 60.0
}

/// By the nearest rank.
fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

fn one(value: f64) -> String {
    format!("{value:.1}")
}

fn two(value: f64) -> String {
    format!("{value:.2}")
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let values: Vec<_> = (1..=20).map(f64::from).collect();
        assert_eq!((percentile(&values, 0.5), percentile(&values, 0.95)), (10.0, 19.0));
        assert!(percentile(&[], 0.5).is_nan());
    }
}
