//! Authorization codes, refresh families and used assertions in memory.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Mutex;

use async_trait::async_trait;
use ehi_core::auth::{ClientId, CodeGrant, GrantId, RefreshFamily, SecretHash};
use ehi_core::ports::{
    CodeUse, GrantStore, JtiUse, REMEMBER_CODES, RefreshStanding, RefreshUse, StoreError,
};
use jiff::Timestamp;

use super::lock;

/// Authorization codes, refresh families and used assertions in memory.
#[derive(Debug, Default)]
pub struct MemoryGrants(Mutex<Grants>);

#[derive(Debug, Default)]
struct Grants {
    codes: HashMap<SecretHash, Code>,
    /// Every refresh token that was ever given, and the grant of its family.
    refresh: HashMap<SecretHash, GrantId>,
    families: HashMap<GrantId, Family>,
    revoked: HashMap<GrantId, Timestamp>,
    /// The `jti`s that were used, and until when that matters.
    jtis: HashMap<(ClientId, SecretHash), Timestamp>,
}

#[derive(Debug)]
struct Code {
    grant: CodeGrant,
    used: bool,
}

#[derive(Debug)]
struct Family {
    family: RefreshFamily,
    newest: SecretHash,
}

#[async_trait]
impl GrantStore for MemoryGrants {
    async fn insert_code(&self, code: SecretHash, grant: &CodeGrant) -> Result<(), StoreError> {
        let grant = grant.clone();
        lock(&self.0)
            .codes
            .insert(code, Code { grant, used: false });
        Ok(())
    }

    async fn use_code(&self, code: SecretHash) -> Result<CodeUse, StoreError> {
        let mut grants = lock(&self.0);
        Ok(match grants.codes.get_mut(&code) {
            None => CodeUse::Unknown,
            Some(code) if code.used => CodeUse::Again(code.grant.grant),
            Some(code) => {
                code.used = true;
                CodeUse::First(code.grant.clone())
            }
        })
    }

    async fn insert_family(
        &self,
        token: SecretHash,
        family: &RefreshFamily,
    ) -> Result<(), StoreError> {
        let mut grants = lock(&self.0);
        if !grants.revoked.contains_key(&family.grant) {
            let newest = Family {
                family: family.clone(),
                newest: token,
            };
            grants.families.insert(family.grant, newest);
            grants.refresh.insert(token, family.grant);
        }
        Ok(())
    }

    async fn refresh_token(&self, token: SecretHash) -> Result<RefreshStanding, StoreError> {
        let grants = lock(&self.0);
        let grant = grants.refresh.get(&token);
        let family = grant.and_then(|grant| grants.families.get(grant));
        Ok(match family {
            None => RefreshStanding::Unknown,
            Some(family) if family.newest == token => {
                RefreshStanding::Newest(family.family.clone())
            }
            Some(family) => RefreshStanding::Replaced(family.family.clone()),
        })
    }

    async fn rotate(&self, token: SecretHash, next: SecretHash) -> Result<RefreshUse, StoreError> {
        let mut grants = lock(&self.0);
        let Some(grant) = grants.refresh.get(&token).copied() else {
            return Ok(RefreshUse::Unknown);
        };
        let Some(family) = grants.families.get_mut(&grant) else {
            return Ok(RefreshUse::Unknown);
        };
        let told = family.family.clone();
        if family.newest != token {
            return Ok(RefreshUse::Replayed(told));
        }
        family.newest = next;
        grants.refresh.insert(next, grant);
        Ok(RefreshUse::Rotated(told))
    }

    async fn use_jti(
        &self,
        client: &ClientId,
        jti: SecretHash,
        until: Timestamp,
    ) -> Result<JtiUse, StoreError> {
        let mut grants = lock(&self.0);
        Ok(match grants.jtis.entry((client.clone(), jti)) {
            Entry::Occupied(_) => JtiUse::Again,
            Entry::Vacant(new) => {
                new.insert(until);
                JtiUse::First
            }
        })
    }

    async fn revoke(&self, grant: GrantId, until: Timestamp) -> Result<(), StoreError> {
        let mut grants = lock(&self.0);
        let kept = grants.revoked.entry(grant).or_insert(until);
        *kept = until.max(*kept);
        grants.families.remove(&grant);
        grants.refresh.retain(|_, of| *of != grant);
        Ok(())
    }

    async fn is_revoked(&self, grant: GrantId) -> Result<bool, StoreError> {
        Ok(lock(&self.0).revoked.contains_key(&grant))
    }

    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut grants = lock(&self.0);
        let Grants {
            codes,
            refresh,
            families,
            revoked,
            jtis,
        } = &mut *grants;
        codes.retain(|_, code| {
            let forget = code.grant.expires_at.saturating_add(REMEMBER_CODES);
            forget.is_ok_and(|forget| forget > now)
        });
        families.retain(|_, family| family.family.expires_at > now);
        refresh.retain(|_, grant| families.contains_key(grant));
        revoked.retain(|_, until| *until > now);
        jtis.retain(|_, until| *until > now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    ehi_core::grant_store_contract!(std::future::ready((MemoryGrants::default(), ())));
}
