//! What the company's records hold: seeded members, and the deductions a client creates.

use std::collections::HashMap;

use serde_json::Value;

use super::seed::{id, member};

/// The records behind the resources.
pub(super) struct Records {
    members: Vec<Member>,
    deductions: Vec<Deduction>,
    /// Deductions by the `operation_id` that created them, as places in `deductions`.
    operations: HashMap<String, usize>,
}

/// A member of the company.
pub(super) struct Member {
    pub(super) id: String,
    pub(super) active: bool,
    /// RFC 3339, in UTC.
    pub(super) updated_at: String,
    /// Each field with the scope it takes to see it.
    pub(super) fields: Vec<(&'static str, &'static str, Value)>,
}

/// A deduction as it was asked for.
pub(super) struct Deduction {
    pub(super) id: String,
    pub(super) row: serde_json::Map<String, Value>,
}

impl Records {
    /// Records with this many members, the same every time.
    pub(super) fn seeded(members: usize) -> Self {
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

    /// Creates a deduction unless its operation has been seen. Gives it, and whether it is new.
    pub(super) fn create(
        &mut self,
        operation_id: &str,
        row: &serde_json::Map<String, Value>,
    ) -> (&Deduction, bool) {
        let created = self.deductions.len();
        let place = *self
            .operations
            .entry(operation_id.to_owned())
            .or_insert(created);
        if place == created {
            self.deductions.push(Deduction {
                id: id("deduction", created + 1),
                row: row.clone(),
            });
        }
        (&self.deductions[place], place == created)
    }
}
