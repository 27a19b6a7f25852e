//! Every interleaving of the shipped decisions.

mod properties;
mod provider;
mod recovery;
mod replica;
mod search;
mod setting;
mod world;

use self::{
    provider::{ROTATIONS, Rotation},
    search::{Order, explore},
    setting::{Budget, Setting, Start},
};

#[test]
fn trial() {
    let number =
        |name: &str, default: u8| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let starts = [
        Start::Expired,
        Start::Mandatory,
        Start::Advisory,
        Start::Rejected,
        Start::Intent {
            age: 20,
            is_processed: true,
            is_expired: true,
        },
        Start::Intent {
            age: 20,
            is_processed: true,
            is_expired: false,
        },
        Start::Intent {
            age: 20,
            is_processed: false,
            is_expired: false,
        },
        Start::Intent {
            age: 60,
            is_processed: true,
            is_expired: false,
        },
    ];
    let mut total = search::Outcome::default();
    for (rotation, start) in ROTATIONS.into_iter().flat_map(|r| starts.map(|s| (r, s))) {
        if number("START", 99) != 99 && starts[number("START", 0) as usize] != start {
            continue;
        }
        if number("ROTATION", 99) != 99 && ROTATIONS[number("ROTATION", 0) as usize] != rotation {
            continue;
        }
        let mut setting = Setting::new(rotation, start);
        if number("DEFER", 0) == 1 {
            setting.policy.lost_response = crate::cache::LostResponse::Defer;
        }
        setting.replicas = usize::from(number("REPLICAS", 2));
        setting.extends_first = number("EXTENDS", 0) == 1;
        setting.horizon = 1_000 * u64::from(number("HORIZON", 2));
        setting.budget = Budget {
            crashes: number("CRASHES", 1),
            lost: number("LOST", 1),
            store: number("STORE", 1),
            refusals: number("REFUSALS", 0),
            stalls: number("STALLS", 0),
            ends: number("ENDS", 0),
            manual: number("MANUAL", 0),
        };
        let outcome = explore(&setting, Order::DepthFirst, 30_000_000);
        total.counts.add(&outcome.counts);
        println!(
            "{rotation:?} {start:?} {} states {} transitions {} recoveries depth {} {} s {:?}",
            outcome.states,
            outcome.transitions,
            outcome.recoveries,
            outcome.depth,
            outcome.seconds,
            outcome.is_cut
        );
        if let Some((violation, _)) = &outcome.violation {
            let shortest = explore(&setting, Order::BreadthFirst, 3_000_000);
            let (violation, trace) = outcome.violation.as_ref().unwrap();
            let (violation, trace) = shortest
                .violation
                .as_ref()
                .unwrap_or(&(violation.clone(), trace.clone()))
                .clone();
            println!("{violation}\n{trace}");
            panic!();
        }
    }
    println!("{:#?}", total.counts);
}
