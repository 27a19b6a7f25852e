//! The faults that requests still have to trigger.

use std::collections::{HashMap, VecDeque};

use super::fault::{Endpoint, Fault};

/// A queue of faults for each endpoint.
#[derive(Clone, Debug, Default)]
pub(super) struct FaultQueue(HashMap<Endpoint, VecDeque<Fault>>);

impl FaultQueue {
    pub(super) fn push(&mut self, endpoint: Endpoint, fault: Fault) {
        self.0.entry(endpoint).or_default().push_back(fault);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The faults that are queued for an endpoint.
    pub(super) fn pending(&self, endpoint: Endpoint) -> impl Iterator<Item = &Fault> {
        self.0.get(&endpoint).into_iter().flatten()
    }

    /// Returns the fault that the next request to `endpoint` triggers, and counts that request.
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
        let triggered = fault.clone();
        if fault.times != Fault::ALWAYS {
            fault.times -= 1;
        }
        if fault.times == 0 {
            faults.pop_front();
        }
        Some(triggered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn triggered(queue: &mut FaultQueue, requests: usize) -> Vec<String> {
        (0..requests)
            .map(|_| match queue.next(Endpoint::Token) {
                Some(fault) => fault.to_string(),
                None => "none".to_owned(),
            })
            .collect()
    }

    #[test]
    fn faults_are_triggered_in_order_and_as_often_as_set() {
        let mut queue = FaultQueue::default();
        queue.push(Endpoint::Token, Fault::hang().skip(1).times(2));
        queue.push(Endpoint::Token, Fault::reset().times(0));
        queue.push(Endpoint::Token, Fault::truncate());
        queue.push(Endpoint::Company, Fault::reset().always());
        let expected = [
            "none",
            "hang before processing",
            "hang before processing",
            "truncate",
            "none",
        ];
        assert_eq!(triggered(&mut queue, 5), expected);
        assert_eq!(queue.pending(Endpoint::Company).count(), 1);
    }
}
