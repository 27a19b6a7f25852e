//! Commands of the program, in every order.

use super::{
    super::{CacheState, Sequence, next_generation},
    active, age, at, cases, down, ended, events, forced, grant_name, held, holding, name,
    refreshing, revoked, tokens, yes_no,
};
use crate::token::{Grant, GrantState};

/// A cache and its store, as the drivers of the commands use them.
struct Program {
    state: CacheState,
    stored: Option<Grant>,
    sets: [Option<Sequence>; 2],
    saved: Option<(Grant, Sequence)>,
    revoked: Option<Sequence>,
}

impl Program {
    /// Performs one step of a command: `set` and `revoke` are the calls, `install` and `save end`
    /// the work that follows once no other command runs. `save` is the first half of `install`.
    fn perform(&mut self, step: &str) {
        match step {
            "set" => self.sets[0] = Some(self.state.next_sequence()),
            "set2" => self.sets[1] = Some(self.state.next_sequence()),
            "install" => {
                self.save_tokens(0);
                self.install();
            }
            "install2" => {
                self.save_tokens(1);
                self.install();
            }
            "save" => self.save_tokens(0),
            "installed" => self.install(),
            "revoke" => self.revoked = Some(self.state.revoke(at(20)).1),
            "save end" if self.state.is_outrun(self.revoked.unwrap()) => {}
            "save end" => {
                let end = self.save(GrantState::Revoked { since: at(30).wall });
                self.state.end_saved(&end, at(30));
            }
            other => panic!("{other}: no such step"),
        }
    }

    fn save_tokens(&mut self, number: usize) {
        let sequence = self.sets[number].unwrap();
        if self.state.commands.may_install(sequence).is_ok() {
            let grant = self.save(GrantState::Active(tokens(9)));
            self.saved = Some((grant, sequence));
        }
    }

    fn install(&mut self) {
        if let Some((grant, sequence)) = self.saved.take() {
            self.state.install(&grant, sequence, at(30));
        }
    }

    fn save(&mut self, state: GrantState) -> Grant {
        let stored = self.stored.as_ref().map(|grant| grant.generation);
        let grant = Grant::new(next_generation(self.state.held.generation(), stored), state);
        self.stored = Some(grant.clone());
        grant
    }
}

/// The grants begin as generation 2. A revocation takes effect at once, and a consent that
/// completes afterwards is a new grant.
#[test]
fn p15_last_command_wins_whatever_order_their_saves_have() {
    cases(
        "
        steps                          | held      | stored    | revoked here | events
        set, install                   | 3         | 3         | no           | adopted 3, installed 3
        revoke                         | 3 revoked | 2         | yes          | revoked
        revoke, save end               | 4 revoked | 4 revoked | no           | revoked
        revoke, save end, set, install | 5         | 5         | no           | revoked, adopted 5, installed 5
        revoke, set, install, save end | 4         | 4         | no           | revoked, adopted 4, installed 4
        revoke, set, save end, install | 5         | 5         | no           | revoked, adopted 5, installed 5
        set, install, revoke, save end | 5 revoked | 5 revoked | no           | adopted 3, installed 3, revoked
        set, revoke, install           | 3 revoked | 2         | yes          | revoked
        set, revoke, install, save end | 4 revoked | 4 revoked | no           | revoked
        set, revoke, save end, install | 4 revoked | 4 revoked | no           | revoked
        set, save, revoke, installed   | 3 revoked | 3         | yes          | revoked, installed 3
        set, save, revoke, installed, save end | 4 revoked | 4 revoked | no   | revoked, installed 3
        set, set2, install, install2   | 4         | 4         | no           | adopted 3, installed 3, adopted 4, installed 4
        set, set2, install2, install   | 3         | 3         | no           | adopted 3, installed 3
        set, revoke, set2, install2, install, save end | 4 | 4  | no           | revoked, adopted 4, installed 4
        set, revoke, set2, install, install2, save end | 4 | 4  | no           | revoked, adopted 4, installed 4
        ",
        |[steps]| {
            let mut program = Program {
                state: holding(&active(2)),
                stored: Some(active(2)),
                sets: [None; 2],
                saved: None,
                revoked: None,
            };
            for step in steps.split(", ") {
                program.perform(step);
            }
            let stored = program.stored.as_ref().unwrap();
            [
                held(&program.state),
                grant_name(stored),
                yes_no(program.state.commands.is_revoked_locally()),
                events(&mut program.state),
            ]
        },
    );
}

#[test]
fn p03_installed_grant_starts_without_the_failures_of_the_replaced_one() {
    let mut state = holding(&active(2));
    state.refresh = Some(Box::default());
    state.backoff.add(at(10).now, 0, down(), 0.0);
    state.forced = Some(Box::new(forced(at(10).now)));
    state.set_unconfirmed(Some(tokens(1)), at(10));
    let sequence = state.next_sequence();
    state.install(&active(3), sequence, at(20));
    assert!(!state.is_refreshing());
    assert!(state.backoff.last().is_none());
    assert_eq!(state.forced, None);
    assert_eq!(state.unconfirmed(), None);
}

#[test]
fn p06_invalidated_token_is_used_no_more() {
    cases(
        "
        held    | age     | events        | valid | rejected
        none    | fresh   | -             | no    | -
        active  | fresh   | invalidated 2 | no    | 2
        active  | expired | -             | no    | -
        ended   | fresh   | invalidated 3 | no    | 3
        revoked | fresh   | -             | no    | -
        ",
        |[grant, of_token]| {
            let m = age(of_token);
            let mut state = match grant {
                "none" => CacheState::default(),
                "active" => holding(&active(2)),
                "ended" => holding(&ended(2)),
                _ => holding(&revoked(2)),
            };
            state.invalidate(m);
            let rejected = state.rejected.map(|of| of.to_string());
            [
                events(&mut state),
                yes_no(state.held.alive(m.now).is_some()),
                rejected.unwrap_or("-".to_owned()),
            ]
        },
    );
}

/// A refresh of a replaced grant does not stay in flight, also if the consent that replaced it was
/// revoked while its tokens were being saved.
#[test]
fn p03_refresh_of_a_replaced_grant_is_not_joined() {
    let mut state = holding(&active(2));
    state.refresh = Some(Box::default());
    let sequence = state.next_sequence();
    state.revoke(at(20));
    state.install(&active(3), sequence, at(30));
    assert!(!state.is_refreshing());
}

/// A load that returns the same grant again does not bring an invalidated token back.
#[test]
fn p06_invalidated_token_stays_out_of_use_after_a_load() {
    for loaded in [active(2), refreshing(2, at(300).wall, false)] {
        let mut state = holding(&active(2));
        state.invalidate(at(300));
        state.adopt(Some(&loaded), at(310));
        assert!(state.held.alive(at(310).now).is_none());
    }
    let mut state = holding(&active(2));
    state.invalidate(at(300));
    state.adopt(Some(&active(3)), at(310));
    assert!(state.held.alive(at(310).now).is_some());
}

#[test]
fn p04_shut_down_cache_rejects_commands_and_waits_for_the_running_ones() {
    let mut state = holding(&active(2));
    state.begin_command().unwrap();
    state.shut_down();
    assert_eq!(name(&state.begin_command().unwrap_err()), "shut down");
    assert!(!state.is_idle());
    state.end_command();
    assert!(state.is_idle());
}

#[test]
fn p15_revocation_is_outrun_only_by_a_later_consent() {
    let mut state = holding(&active(2));
    let earlier = state.next_sequence();
    let (_, revocation) = state.revoke(at(10));
    let later = state.next_sequence();
    assert!(!state.is_outrun(revocation));
    state.install(&active(4), earlier, at(20));
    assert!(!state.is_outrun(revocation));
    state.install(&active(5), later, at(30));
    assert!(state.is_outrun(revocation));
    assert_eq!(held(&state), "5");
}
