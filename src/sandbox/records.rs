//! The company's records: its members, and the deductions that clients create.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::fixtures::{Member, id, member};

pub(super) struct Records {
    members: Vec<Member>,
    deductions: Vec<Deduction>,
    /// Indexes into `deductions` by the `operation_id` that created each.
    operations: HashMap<String, usize>,
}

/// A deduction as the client sent it.
pub(super) struct Deduction {
    pub(super) id: String,
    pub(super) row: Map<String, Value>,
}

impl Records {
    pub(super) fn with_members(members: usize) -> Self {
        Self {
            members: (0..members).map(member).collect(),
            deductions: Vec::new(),
            operations: HashMap::new(),
        }
    }

    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    pub(super) fn deductions(&self) -> &[Deduction] {
        &self.deductions
    }

    pub(super) fn has_member(&self, id: &str) -> bool {
        self.members.iter().any(|member| member.id == id)
    }

    /// Returns the deduction of an operation, and whether this call created it. `None` if there is
    /// no room for another one.
    pub(super) fn create_deduction(
        &mut self,
        operation_id: &str,
        row: &Map<String, Value>,
    ) -> Option<(&Deduction, bool)> {
        let next = self.deductions.len();
        if next >= MAX_DEDUCTIONS && !self.operations.contains_key(operation_id) {
            return None;
        }
        let index = *self
            .operations
            .entry(operation_id.to_owned())
            .or_insert(next);
        if index == next {
            self.deductions.push(Deduction {
                id: id("deduction", next + 1),
                row: row.clone(),
            });
        }
        Some((&self.deductions[index], index == next))
    }
}

/// How many deductions the company can have.
const MAX_DEDUCTIONS: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deductions_are_bounded_and_known_ones_stay() {
        let mut records = Records::with_members(1);
        let row = Map::new();
        for operation in 0..MAX_DEDUCTIONS {
            let created = records.create_deduction(&operation.to_string(), &row);
            assert!(created.is_some_and(|(_, created)| created));
        }
        assert!(records.create_deduction("one more", &row).is_none());
        let known = records.create_deduction("7", &row);
        assert!(known.is_some_and(|(_, created)| !created));
        assert_eq!(records.deductions().len(), MAX_DEDUCTIONS);
    }
}
