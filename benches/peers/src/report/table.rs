//! The table, in Markdown.

use std::fmt::{self, Display, Formatter};

use super::grouped;
use crate::{
    measure::{Cost, Results},
    peers::Side,
};

/// The slowdown of two threads on an idle machine, caused by its memory and its clock rate.
const QUIET: f64 = 1.15;

/// The table of the results.
pub(crate) struct Table<'a>(pub(crate) &'a Results);

impl Display for Table<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Results {
            alone,
            costs,
            unusable,
            ..
        } = self.0;
        // An absent count is not 0.
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
            "\n*Net* is the cost above that of the same request without a token, sent to a service that does nothing \
             (instructions {instructions}, allocations {allocations:.0}, ns {nanoseconds:.0}, x {slowdown:.2}). For \
             `azure_core`, which has its own request type, that is a policy that does nothing. *x* is the factor by which a \
             request is slower in each of two threads that share the token."
        )?;
        if alone.slowdown > QUIET {
            writeln!(
                f,
                "\n**The machine was not idle**: a request without a token shares nothing, so its x should be 1.0. Ignore x and \
                 ns of this run."
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
