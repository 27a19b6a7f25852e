//! The order in which faults are played.

use std::collections::{HashMap, VecDeque};

use super::fault::{Endpoint, Fault};

/// The faults still to come, by endpoint.
#[derive(Debug, Default)]
pub(super) struct Script(HashMap<Endpoint, VecDeque<Fault>>);

impl Script {
    pub(super) fn push(&mut self, endpoint: Endpoint, fault: Fault) {
        self.0.entry(endpoint).or_default().push_back(fault);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Those of one endpoint that have not been played out.
    pub(super) fn pending(&self, endpoint: Endpoint) -> impl Iterator<Item = &Fault> {
        self.0.get(&endpoint).into_iter().flatten()
    }

    /// The fault the next request to `endpoint` takes part in.
    pub(super) fn next(&mut self, endpoint: Endpoint) -> Option<Fault> {
        let faults = self.0.get_mut(&endpoint)?;
        while faults.front().is_some_and(|fault| fault.times == 0) {
            faults.pop_front();
        }
        let fault = faults.front_mut()?;
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        let played = fault.clone();
        // `always` has no end.
        if fault.times != u64::MAX {
            fault.times -= 1;
        }
        if fault.times == 0 {
            faults.pop_front();
        }
        Some(played)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn played(script: &mut Script, requests: usize) -> Vec<String> {
        (0..requests)
            .map(|_| match script.next(Endpoint::Token) {
                Some(fault) => fault.to_string(),
                None => "none".to_owned(),
            })
            .collect()
    }

    #[test]
    fn faults_are_played_in_order_each_as_often_as_it_says() {
        let mut script = Script::default();
        script.push(Endpoint::Token, Fault::hang().skip(1).times(2));
        script.push(Endpoint::Token, Fault::reset().times(0));
        script.push(Endpoint::Token, Fault::truncate());
        script.push(Endpoint::Company, Fault::reset().always());
        let expected = [
            "none",
            "hang before work",
            "hang before work",
            "truncate",
            "none",
        ];
        assert_eq!(played(&mut script, 5), expected);
        assert_eq!(script.pending(Endpoint::Company).count(), 1);
    }
}
