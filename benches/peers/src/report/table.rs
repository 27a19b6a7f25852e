//! The table, in Markdown.

use std::fmt::{self, Display, Formatter};

use super::grouped;
use crate::{
    measure::{Cost, Findings},
    peers::Side,
};

/// Two threads slow each other down by as much as this on a machine that does nothing else, by its memory and its clock rate.
const QUIET: f64 = 1.15;

/// A table of findings.
pub(crate) struct Table<'a>(pub(crate) &'a Findings);

impl Display for Table<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Findings {
            alone,
            costs,
            unusable,
            ..
        } = self.0;
        // Not counted is not free.
        let missing = if alone.instructions.is_none() {
            "no valgrind"
        } else {
            "not counted"
        };
        let floor = costs.iter().find(|cost| cost.peer.side == Side::Floor);
        let floor = floor.and_then(|floor| floor.instructions);
        writeln!(
            f,
            "| peer | net instructions | net / static header | net allocations | net ns | x |\n|---|--:|--:|--:|--:|--:|"
        )?;
        for cost in costs {
            row(f, cost, floor, missing)?;
        }
        for (peer, failure) in unusable {
            let title = peer.title();
            writeln!(f, "| {title} | could not be used: {failure} | | | | |")?;
        }
        let instructions = alone.instructions.map_or(missing.into(), grouped);
        let (allocations, nanoseconds) = (alone.allocations, alone.nanoseconds);
        let slowdown = alone.slowdown;
        writeln!(
            f,
            "\n*Net* is above the same request without a token, into a service that does nothing (instructions {instructions}, \
             allocations {allocations:.0}, ns {nanoseconds:.0}, x {slowdown:.2}); for `azure_core`, which has a request type of \
             its own, into a policy that does nothing. *x* is how many times as long a request takes in each of two threads \
             that share the token."
        )?;
        if alone.slowdown > QUIET {
            writeln!(
                f,
                "\n**The machine had other things to do**: a request without a token, which shares nothing, should have an x of \
                 1.0. Of this run, neither x nor ns is of use."
            )?;
        }
        Ok(())
    }
}

fn row(f: &mut Formatter<'_>, cost: &Cost, floor: Option<f64>, missing: &str) -> fmt::Result {
    let title = cost.peer.title();
    let title = match cost.peer.side {
        Side::Ours => format!("**{title}**"),
        Side::Floor | Side::Theirs => title,
    };
    let times = match (cost.instructions, floor) {
        (Some(instructions), Some(floor)) => format!("{:.2}", instructions / floor),
        _ => missing.into(),
    };
    writeln!(
        f,
        "| {title} | {} | {times} | {:.0} | {:.0} | {:.2} |",
        cost.instructions.map_or(missing.into(), grouped),
        cost.allocations,
        cost.nanoseconds,
        cost.slowdown,
    )
}
