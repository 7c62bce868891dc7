//! Whom a changed directory concerns.

use std::collections::{BTreeSet, HashMap};

use ehi_core::auth::{ClientId, StaffMember, StaffName};
use ehi_core::fhir::PatientId;

use super::Directory;

/// Somebody who is new, gone, or another in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// The registration of a client.
    Client(ClientId),
    /// A member of staff.
    Staff(StaffName),
    /// The login of a patient.
    Patient(PatientId),
}

impl Directory {
    /// Everybody who is another in `after`.
    pub(super) fn changes(&self, after: &Self) -> Vec<Change> {
        let mut clients = differing(&self.clients, &after.clients);
        let secrets = differing(self.secrets.by_name(), after.secrets.by_name());
        let with_secrets = secrets.into_iter().filter_map(|name| {
            let before = self.secrets.get(name);
            before.or_else(|| after.secrets.get(name))
        });
        clients.extend(with_secrets);
        let staff = changed(self.staff.by_name(), after.staff.by_name());
        let staff: BTreeSet<_> = staff
            .map(|StaffMember { name, .. }| name.as_str())
            .collect();
        let patients = changed(self.patients.by_name(), after.patients.by_name());
        let patients: BTreeSet<_> = patients.collect();
        (clients.into_iter().cloned().map(Change::Client))
            .chain(
                staff
                    .into_iter()
                    .map(|name| Change::Staff(StaffName::proven(name))),
            )
            .chain(patients.into_iter().cloned().map(Change::Patient))
            .collect()
    }
}

/// The keys of what is only in one, or not the same in both.
fn differing<'a, K, V>(before: &'a HashMap<K, V>, after: &'a HashMap<K, V>) -> BTreeSet<&'a K>
where
    K: std::hash::Hash + Ord,
    V: PartialEq,
{
    let changed = before
        .iter()
        .filter(|(key, value)| after.get(key) != Some(value));
    let new = after.keys().filter(|key| !before.contains_key(key));
    changed.map(|(key, _)| key).chain(new).collect()
}

/// Who the accounts belong to that are only in one, or not the same in both.
fn changed<'a, H: PartialEq, T: PartialEq>(
    before: &'a HashMap<String, (H, T)>,
    after: &'a HashMap<String, (H, T)>,
) -> impl Iterator<Item = &'a T> {
    let names = differing(before, after);
    names.into_iter().flat_map(|name| {
        let both = [before.get(name), after.get(name)];
        both.into_iter().flatten().map(|(_, who)| who)
    })
}
