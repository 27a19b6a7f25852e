//! Writes the results as a table and a chart, which the program `benches` publishes.

use std::fmt::Write as _;

use benches::{
    plot::{self, Row, Rows, grouped},
    report::Table,
};

use crate::{
    measure::{Cost, Results},
    peers::Side,
};

pub(crate) fn write(results: &Results) {
    let mut costs: Vec<_> = results.costs.iter().collect();
    costs.sort_by(|one, other| one.order().total_cmp(&other.order()));
    table(&costs);
    plot(&costs);
    for (peer, failure) in &results.unusable {
        eprintln!("could not be used: {}: {failure}", peer.title());
    }
}

fn table(costs: &[&Cost]) {
    let mut table = Table::new(
        "peers",
        &[
            "crate",
            "retry after a 401",
            "instructions, four headers",
            "with `Host`",
            "allocations",
        ],
    );
    for cost in costs {
        let Cost { peer, .. } = cost;
        let mut title = peer.title();
        if peer.side == Side::Ours {
            title = format!("**{title}**");
        }
        let [four, with_host] = cost.instructions;
        table.row(&[
            title,
            peer.retry.into(),
            counted(four),
            counted(with_host),
            format!("{:.0}", cost.allocations),
        ]);
    }
    table.finish();
}

fn counted(instructions: Option<f64>) -> String {
    instructions.map_or("not counted".into(), grouped)
}

fn plot(costs: &[&Cost]) {
    let mut plot = Rows::bars(
        "Adding a fresh bearer token to a request, by crate",
        "instructions above those of the request without a token",
    );
    for cost in costs {
        let peer = cost.peer;
        let mut name = peer.package.to_owned();
        if let Some(variant) = peer.variant {
            let _ = write!(name, ", {variant}");
        }
        let color = match peer.side {
            Side::Floor => plot::BLACK,
            Side::Ours => plot::BLUE,
            Side::Theirs => plot::GRAY,
        };
        plot = plot.row(Row {
            name,
            value: cost.order(),
            spread: None,
            color,
            is_bold: peer.side == Side::Ours,
        });
    }
    plot.draw("cost-per-request");
}
