//! Authorization codes, refresh families and used assertions in memory.

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;
use ehi_core::auth::{ClientId, CodeGrant, GrantId, RefreshFamily, SecretHash};
use ehi_core::ports::{CodeUse, GrantStore, JtiUse, RefreshStanding, RefreshUse, StoreError};
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

/// How long a used code is remembered beyond its end, so that a late second use is recognised.
const REMEMBER: std::time::Duration = std::time::Duration::from_hours(24);

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
        Ok(match grants.jtis.insert((client.clone(), jti), until) {
            None => JtiUse::First,
            Some(_) => JtiUse::Again,
        })
    }

    async fn revoke(&self, grant: GrantId, until: Timestamp) -> Result<(), StoreError> {
        let mut grants = lock(&self.0);
        grants.revoked.insert(grant, until);
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
            let forget = code.grant.expires_at.saturating_add(REMEMBER);
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
    use ehi_core::auth::{PkceChallenge, Scopes, Secret};
    use ehi_core::testkit::{at, client_id, patient};
    use std::sync::Arc;

    fn hash(number: u8) -> SecretHash {
        Secret::from_random([number; 32]).hash()
    }

    fn grant() -> GrantId {
        GrantId(uuid::Uuid::from_u128(1))
    }

    fn code() -> CodeGrant {
        CodeGrant {
            grant: grant(),
            client: client_id(),
            patient: patient().id,
            scopes: Scopes::default(),
            redirect_uri: String::new(),
            challenge: PkceChallenge::parse("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM").unwrap(),
            expires_at: at(60),
        }
    }

    fn family() -> RefreshFamily {
        let CodeGrant {
            grant,
            client,
            patient,
            scopes,
            ..
        } = code();
        RefreshFamily {
            grant,
            client,
            patient,
            scopes,
            expires_at: at(1_000),
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn of_many_uses_of_a_code_one_is_the_first() {
        let store = Arc::new(MemoryGrants::default());
        store.insert_code(hash(1), &code()).await.unwrap();
        let uses: Vec<_> = (0..32)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move { store.use_code(hash(1)).await.unwrap() })
            })
            .collect();
        let mut first = 0;
        for each in uses {
            match each.await.unwrap() {
                CodeUse::First(_) => first += 1,
                again => assert_eq!(again, CodeUse::Again(grant())),
            }
        }
        assert_eq!(first, 1);
        assert_eq!(store.use_code(hash(2)).await.unwrap(), CodeUse::Unknown);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn of_many_uses_of_a_jti_one_is_the_first_until_it_is_forgotten() {
        let store = Arc::new(MemoryGrants::default());
        let uses: Vec<_> = (0..32)
            .map(|_| {
                let store = store.clone();
                let used = async move { store.use_jti(&client_id(), hash(1), at(60)).await };
                tokio::spawn(used)
            })
            .collect();
        let mut first = 0;
        for each in uses {
            first += usize::from(each.await.unwrap().unwrap() == JtiUse::First);
        }
        assert_eq!(first, 1);
        let other = ClientId::parse("other").unwrap();
        let of_another = store.use_jti(&other, hash(1), at(60)).await.unwrap();
        assert_eq!(of_another, JtiUse::First, "each client has its own");
        store.sweep(at(59)).await.unwrap();
        let again = store.use_jti(&client_id(), hash(1), at(60)).await.unwrap();
        assert_eq!(again, JtiUse::Again);
        store.sweep(at(60)).await.unwrap();
        let forgotten = store.use_jti(&client_id(), hash(1), at(120)).await.unwrap();
        assert_eq!(forgotten, JtiUse::First);
    }

    #[tokio::test]
    async fn looking_at_a_refresh_token_does_not_use_it_up() {
        let store = MemoryGrants::default();
        let standing = async |number| store.refresh_token(hash(number)).await.unwrap();
        assert_eq!(standing(1).await, RefreshStanding::Unknown);
        store.insert_family(hash(1), &family()).await.unwrap();
        for _ in 0..2 {
            assert_eq!(standing(1).await, RefreshStanding::Newest(family()));
        }
        store.rotate(hash(1), hash(2)).await.unwrap();
        assert_eq!(standing(1).await, RefreshStanding::Replaced(family()));
        assert_eq!(standing(2).await, RefreshStanding::Newest(family()));
        store.revoke(grant(), at(2_000)).await.unwrap();
        assert_eq!(standing(2).await, RefreshStanding::Unknown);
    }

    #[tokio::test]
    async fn a_refresh_token_is_good_once_and_its_replay_is_noticed() {
        let store = MemoryGrants::default();
        store.insert_family(hash(1), &family()).await.unwrap();
        assert_eq!(
            store.rotate(hash(1), hash(2)).await.unwrap(),
            RefreshUse::Rotated(family())
        );
        assert_eq!(
            store.rotate(hash(1), hash(3)).await.unwrap(),
            RefreshUse::Replayed(family())
        );
        assert_eq!(
            store.rotate(hash(3), hash(4)).await.unwrap(),
            RefreshUse::Unknown
        );
        store.revoke(grant(), at(2_000)).await.unwrap();
        assert_eq!(
            store.rotate(hash(2), hash(5)).await.unwrap(),
            RefreshUse::Unknown
        );
        assert!(store.is_revoked(grant()).await.unwrap());
        store.insert_family(hash(6), &family()).await.unwrap();
        assert_eq!(
            store.rotate(hash(6), hash(7)).await.unwrap(),
            RefreshUse::Unknown
        );
    }

    #[tokio::test]
    async fn what_expired_is_forgotten_and_what_did_not_is_kept() {
        let store = MemoryGrants::default();
        store.insert_code(hash(1), &code()).await.unwrap();
        store.insert_family(hash(2), &family()).await.unwrap();
        store.sweep(at(999)).await.unwrap();
        assert!(matches!(
            store.rotate(hash(2), hash(3)).await.unwrap(),
            RefreshUse::Rotated(_)
        ));
        store.sweep(at(1_000)).await.unwrap();
        assert_eq!(
            store.rotate(hash(3), hash(4)).await.unwrap(),
            RefreshUse::Unknown
        );
        store.sweep(at(200_000)).await.unwrap();
        assert_eq!(store.use_code(hash(1)).await.unwrap(), CodeUse::Unknown);
    }
}
