//! The table, and which goals are met.

use crate::lineup::reference;
use crate::load::Window;
use crate::rounds::{CONNECTIONS, Effort, Measured, Table};

/// The number of connections at which goals are judged.
const JUDGED: usize = 16;

/// Prints everything.
pub fn print(table: &Table, effort: &Effort) {
    println!("\nEcho of 64 bytes; server on one processor, everything else on the other; {}", method(effort));
    cpu(table);
    wall(table);
    memory(table);
    goals(table);
}

fn method(effort: &Effort) -> String {
    let Effort { rounds, few, many, .. } = effort;
    format!("medians of {rounds} interleaved rounds, {few} calls a window over 1 connection and {many} over more.")
}

fn cpu(table: &Table) {
    println!("\nProcessor time of the server's own process for one call, in µs (holds on a busy machine too)\n");
    println!("| subject | {} | ratio at {JUDGED} | to |", heads("1 connection", "connections"));
    println!("| --- | ---: | ---: | ---: | ---: | --- |");
    for measured in &table.rows {
        let cells: Vec<_> = CONNECTIONS.map(|count| number(of(measured, count, |window| window.cpu))).into();
        let reference = reference(&measured.row);
        let ratio = ratio(table, measured.row.name, reference.name);
        println!("| {} | {} | {} | {} |", measured.row.name, cells.join(" | "), number(ratio), reference.name);
    }
}

fn wall(table: &Table) {
    println!(
        "\nCalls a second; milliseconds within which 50 and 99 of 100 were answered (only of a machine at rest)\n"
    );
    println!("| subject | {} |", heads("1 connection", "connections"));
    println!("| --- | --- | --- | --- |");
    for measured in &table.rows {
        let cells = CONNECTIONS.map(|count| {
            let [rate, p50, p99] =
                [|w: &Window| w.rate, |w: &Window| w.p50, |w: &Window| w.p99].map(|pick| of(measured, count, pick));
            format!("{:.0}/s, {:.2}, {:.2}", rate.unwrap_or_default(), p50.unwrap_or_default(), p99.unwrap_or_default())
        });
        println!("| {} | {} |", measured.row.name, cells.join(" | "));
    }
}

fn memory(table: &Table) {
    println!("\nResident memory in MB: idle after its first call, and the most of all windows\n");
    println!("| process | idle | under load |\n| --- | ---: | ---: |");
    for (name, idle, most) in &table.memory {
        println!("| {name} | {:.1} | {:.1} |", megabytes(*idle), megabytes(*most));
    }
    if !table.sessions.is_empty() {
        println!(
            "\nSessions: KB of an idle one with its stream open; MB after a third of all lifecycles and after all\n"
        );
        println!("| process | one session | after a third | after all |\n| --- | ---: | ---: | ---: |");
        for (name, each) in &table.sessions {
            let cycles = table.lifecycles.iter().find(|(of, ..)| of == name);
            let cell = |value: Option<u64>| value.map_or("".to_owned(), |kib| format!("{:.1}", megabytes(kib)));
            let (before, after) = (cell(cycles.map(|cycle| cycle.1)), cell(cycles.map(|cycle| cycle.2)));
            println!("| {name} | {:.1} | {before} | {after} |", kilobytes(*each));
        }
    }
}

fn goals(table: &Table) {
    println!("\nGoals\n");
    println!("| what | measured | goal | |\n| --- | ---: | ---: | --- |");
    goal("everything on, × rmcp, JSON", ratio(table, "everything on", "rmcp"), 1.15);
    goal("everything on, × rmcp, session", ratio(table, "everything on, session", "rmcp, session"), 1.15);
    goal("proxy with everything on, × nginx", ratio(table, "proxy, everything on", "nginx"), 3.0);
    goal("limits and log together, µs", difference(table, "limits and log", "everything off"), 5.0);
    goal("a token from the cache, µs", difference(table, "everything on", "limits and log"), 2.0);
    let idle = table.memory.iter().find(|(name, ..)| *name == "everything on");
    goal("resident memory idle, MB", idle.map(|(_, kib, _)| megabytes(*kib)), 12.0);
    let session = |name: &str| table.sessions.iter().find(|(of, _)| *of == name).map(|(_, kib)| kilobytes(*kib));
    goal("memory of an idle session, KB", session("everything on"), 50.0);
    goal("the same through the proxy, KB", session("proxy, everything on"), 40.0);
    for (name, before, after) in &table.lifecycles {
        let growth = after.saturating_sub(*before) as f64 / *before as f64 * 100.0;
        goal(&format!("growth over lifecycles, %: {name}"), Some(growth), 5.0);
    }
}

fn goal(what: &str, measured: Option<f64>, at_most: f64) {
    let Some(measured) = measured else { return };
    let verdict = if measured <= at_most { "met" } else { "missed" };
    println!("| {what} | {measured:.2} | ≤ {at_most} | {verdict} |");
}

/// The median over the rounds of the ratio within each: windows that were measured side by side.
fn ratio(table: &Table, name: &str, to: &str) -> Option<f64> {
    each_round(table, name, to, |a, b| a / b)
}

fn difference(table: &Table, name: &str, to: &str) -> Option<f64> {
    each_round(table, name, to, |a, b| a - b)
}

fn each_round(table: &Table, name: &str, to: &str, how: impl Fn(f64, f64) -> f64) -> Option<f64> {
    let (a, b) = (table.row(name)?.windows.get(&JUDGED)?, table.row(to)?.windows.get(&JUDGED)?);
    median(a.iter().zip(b).map(|(a, b)| how(a.cpu, b.cpu)).collect())
}

fn of(measured: &Measured, connections: usize, pick: impl Fn(&Window) -> f64) -> Option<f64> {
    median(measured.windows.get(&connections)?.iter().map(pick).collect())
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

fn heads(one: &str, more: &str) -> String {
    CONNECTIONS.map(|count| if count == 1 { one.to_owned() } else { format!("{count} {more}") }).join(" | ")
}

fn number(value: Option<f64>) -> String {
    value.map_or("".to_owned(), |value| format!("{value:.2}"))
}

fn kilobytes(kib: f64) -> f64 {
    kib * 1.024
}

fn megabytes(kib: u64) -> f64 {
    kib as f64 * 1.024 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_or_between_the_two_middles() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }
}
