//! What a broken store keeps, and where.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, atomic::AtomicUsize},
};

use tokio::{
    sync::{Mutex as Gate, Notify},
    time::Instant,
};
use tower_oauth2_client::{
    store::LeaseOwner,
    token::{Grant, TenantId},
};

use crate::flaws::Flaw;

/// What all handles share.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) flaw: Flaw,
    pub(crate) shared: Arc<Shared>,
}

#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) handles: AtomicUsize,
    pub(crate) tables: Mutex<Tables>,
    /// One save at a time, where a flaw takes several steps.
    pub(crate) gate: Gate<()>,
    pub(crate) changed: Notify,
}

#[derive(Default)]
pub(crate) struct Tables {
    pub(crate) grants: BTreeMap<String, Grant>,
    pub(crate) leases: HashMap<String, (LeaseOwner, Instant)>,
    pub(crate) former: HashSet<LeaseOwner>,
    pub(crate) locked: HashSet<TenantId>,
    pub(crate) tokens: HashSet<String>,
    /// Whose grants were saved, over which handle, and who comes last.
    pub(crate) savers: HashMap<String, usize>,
    pub(crate) order: Vec<String>,
    /// Since a page was listed.
    pub(crate) somebody_is_new: bool,
}

impl World {
    pub(crate) fn new(flaw: Flaw) -> Self {
        Self {
            flaw,
            shared: Arc::default(),
        }
    }

    /// All that were ever to be saved.
    pub(crate) fn tokens(&self) -> HashSet<String> {
        self.tables().tokens.clone()
    }

    pub(crate) fn tables(&self) -> MutexGuard<'_, Tables> {
        self.shared.tables.lock().unwrap()
    }
}
