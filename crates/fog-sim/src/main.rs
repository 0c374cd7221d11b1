//! Command that runs the simulations and prints their figures.

use clap::Parser;
use fog_grid::AcceptanceRule;
use fog_sim::{Liars, RadioReport, Radios, Report, Scenario, Strategy, Way, radios, run};

/// Simulates many devices in virtual time to measure the job exchange and the scheduling.
#[derive(Debug, Parser)]
#[command(
    after_help = "Examples:\n  fog-sim\n  fog-sim --nodes 1000 --tasks 50000\n  fog-sim --only liars --json\n  fog-sim --only radios"
)]
struct Args {
    /// Number of devices that lend
    #[arg(long, default_value_t = 10_000)]
    nodes: usize,
    /// Number of tasks
    #[arg(long, default_value_t = 1_000_000)]
    tasks: u64,
    /// Number of radios that speak BitChat
    #[arg(long, default_value_t = 1_000)]
    radios: usize,
    /// Seed of the random numbers
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run only `honest`, `liars` or `radios` (default: all)
    #[arg(long)]
    only: Option<String>,
    /// Print JSON, one run per line
    #[arg(long)]
    json: bool,
}

fn main() {
    let args = Args::parse();
    let base = Scenario {
        nodes: args.nodes,
        tasks: args.tasks,
        requesters: (args.nodes / 100).max(2),
        neighbours: 250,
        minutes: 20.0,
        choice: AcceptanceRule::Quorum(1),
        replicas: 1,
        liars: None,
        days: 60.0,
        seed: args.seed,
    };
    let wants = |what: &str| args.only.as_deref().is_none_or(|only| only == what);
    if wants("radios") {
        // The density stays a thousand radios per square kilometre, whatever their number.
        let side = (args.radios as f64 * 1_000.0).sqrt();
        let report = radios(&Radios { radios: args.radios, side, seed: args.seed, ..Radios::default() });
        if args.json {
            println!("{}", serde_json::json!({ "title": "radios", "report": report }));
        } else {
            print_radios(&report);
        }
    }
    if wants("honest") {
        print("honest devices, one result each", &run(&base), args.json);
    }
    if !wants("liars") {
        return;
    }
    // The scenario is smaller, so that the table takes no longer than the run above.
    let small = Scenario {
        nodes: args.nodes / 5,
        tasks: args.tasks / 20,
        requesters: (args.nodes / 500).max(2),
        ..base
    };
    for (name, replicas, choice) in [
        ("two of two or three", 2, AcceptanceRule::Quorum(2)),
        ("adaptive", 1, AcceptanceRule::Adaptive(0)),
        ("trust 100", 1, AcceptanceRule::Confidence(100)),
        ("trust 1000", 1, AcceptanceRule::Confidence(1000)),
    ] {
        for strategy in [Strategy::Always, Strategy::Patient, Strategy::Sleeper] {
            for group in [1, 20, small.nodes / 5] {
                let liars = Some(Liars { share: 0.2, group, strategy });
                let report = run(&Scenario { choice, replicas, liars, ..small.clone() });
                let title = format!("{name}, liars {strategy:?} in groups of {group}");
                if args.json {
                    print(&title, &report, true);
                } else {
                    println!(
                        "{title:52} wrong {:8.4} %  comparing {:6.1} %  again {:5.1} %  {} of {}",
                        report.wrong_share() * 100.0,
                        report.cost_of_checking() * 100.0,
                        report.redone() * 100.0,
                        report.accepted,
                        report.tasks
                    );
                }
            }
        }
    }
}

fn print_radios(report: &RadioReport) {
    println!(
        "{} radios, {:.1} links each, a path to {:.0} others; {:.1} packets a second each",
        report.radios, report.links, report.reachable, report.packets
    );
    for (what, ways) in [("room", report.room), ("private", report.private)] {
        for (name, Way { delivered, delay, transmissions }) in
            ["this node", "flooding", "when they meet"].into_iter().zip(ways)
        {
            println!(
                "{what:8} {name:15} delivered {:5.1} %  after {:6} ms (95th {:6})  {transmissions:7.1} packets for one",
                delivered * 100.0,
                delay.0,
                delay.1
            );
        }
    }
    println!();
}

fn print(title: &str, report: &Report, json: bool) {
    if json {
        println!("{}", serde_json::json!({ "title": title, "report": report }));
    } else {
        println!("{title}\n{report}\n");
    }
}
