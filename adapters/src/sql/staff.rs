//! Staff and their passwords.

use async_trait::async_trait;
use ehi_core::auth::{Credential, LoginAttempt, StaffMember, StaffName, StaffRole};
use ehi_core::ports::{
    LoginError, Proof, StaffAnswer, StaffLogin, StaffPrompt, Standing, StoreError,
};
use sqlx::{Any, Executor};

use super::unreadable::Row;
use super::{Database, RegistryError, unavailable};
use crate::accounts::{Refusal, is_argon2id, is_password};

/// Staff in a database, who log in by name and password. Nothing is kept beside it: what changes
/// counts at once, on every replica.
#[derive(Debug, Clone)]
pub struct SqlStaff(Database);

impl SqlStaff {
    /// The staff of this database.
    pub fn new(database: &Database) -> Self {
        Self(database.clone())
    }

    /// Everybody whose row can be read, by name.
    pub async fn list(&self) -> Result<Vec<StaffMember>, StoreError> {
        let found = sqlx::query_as::<_, (String, String)>(
            "SELECT username, role FROM staff ORDER BY username",
        )
        .fetch_all(self.0.pool())
        .await
        .map_err(unavailable)?;
        let staff = (found.into_iter()).filter_map(|(name, role)| {
            let read = member(name.clone(), &role);
            self.0.readable(Row::Staff, &name, read)
        });
        Ok(staff.collect())
    }

    /// Whether there is anybody, be it that their row cannot be read.
    pub async fn any(&self) -> Result<bool, StoreError> {
        let found = sqlx::query_scalar::<_, String>("SELECT username FROM staff LIMIT 1")
            .fetch_optional(self.0.pool())
            .await
            .map_err(unavailable)?;
        Ok(found.is_some())
    }

    /// Whether somebody has this name, be it that their row cannot be read.
    pub async fn is_there(&self, name: &StaffName) -> Result<bool, StoreError> {
        let found =
            sqlx::query_scalar::<_, String>("SELECT username FROM staff WHERE username = $1")
                .bind(name.as_str().to_owned())
                .fetch_optional(self.0.pool())
                .await
                .map_err(unavailable)?;
        Ok(found.is_some())
    }

    /// Adds somebody with the hash of their password.
    pub async fn add(&self, member: &StaffMember, hash: &str) -> Result<(), RegistryError> {
        insert(self.0.pool(), member, hash).await
    }

    /// Removes somebody: their sessions end.
    pub async fn remove(&self, name: &StaffName) -> Result<(), RegistryError> {
        let removed = sqlx::query("DELETE FROM staff WHERE username = $1")
            .bind(name.as_str().to_owned())
            .execute(self.0.pool())
            .await
            .map_err(unavailable)?;
        known(name, removed.rows_affected())
    }

    /// Replaces the hash of somebody's password.
    pub async fn replace_password(
        &self,
        name: &StaffName,
        hash: &str,
    ) -> Result<(), RegistryError> {
        check(name, hash)?;
        let changed = sqlx::query("UPDATE staff SET password_hash = $2 WHERE username = $1")
            .bind(name.as_str().to_owned())
            .bind(hash.to_owned())
            .execute(self.0.pool())
            .await
            .map_err(unavailable)?;
        known(name, changed.rows_affected())
    }

    /// Who has this name, and the hash of their password.
    async fn find(&self, username: &str) -> Result<Option<(StaffMember, String)>, StoreError> {
        // PostgreSQL knows no text with this character in it: nobody is called so.
        if username.contains('\0') {
            return Ok(None);
        }
        let found = sqlx::query_as::<_, (String, String, String)>(
            "SELECT username, role, password_hash FROM staff WHERE username = $1",
        )
        .bind(username.to_owned())
        .fetch_optional(self.0.pool())
        .await
        .map_err(unavailable)?;
        let found = found.map(|(name, role, hash)| Ok((member(name, &role)?, hash)));
        found.transpose()
    }
}

pub(super) async fn insert<'c>(
    on: impl Executor<'c, Database = Any>,
    member: &StaffMember,
    hash: &str,
) -> Result<(), RegistryError> {
    check(&member.name, hash)?;
    let kept = sqlx::query(
        "INSERT INTO staff (username, role, password_hash) VALUES ($1, $2, $3) ON CONFLICT (username) DO NOTHING",
    )
    .bind(member.name.as_str().to_owned())
    .bind(role_text(member.role))
    .bind(hash.to_owned())
    .execute(on)
    .await
    .map_err(unavailable)?;
    match kept.rows_affected() {
        0 => Err(Refusal::StaffTaken(member.name.clone()).into()),
        _ => Ok(()),
    }
}

fn check(name: &StaffName, hash: &str) -> Result<(), RegistryError> {
    let hashed = is_argon2id(hash);
    (hashed.then_some(())).ok_or_else(|| RegistryError::PasswordHash(name.clone()))
}

fn known(name: &StaffName, rows: u64) -> Result<(), RegistryError> {
    match rows {
        0 => Err(Refusal::NoStaff(name.clone()).into()),
        _ => Ok(()),
    }
}

fn role_text(role: StaffRole) -> &'static str {
    match role {
        StaffRole::Reviewer => "reviewer",
        StaffRole::Admin => "admin",
    }
}

fn member(name: String, role: &str) -> Result<StaffMember, StoreError> {
    let role = [StaffRole::Reviewer, StaffRole::Admin]
        .into_iter()
        .find(|known| role_text(*known) == role);
    let role = role.ok_or_else(|| unavailable("a member of staff has an unknown role"))?;
    let name = StaffName::proven(name);
    Ok(StaffMember { name, role })
}

fn away(error: StoreError) -> LoginError {
    LoginError::Unavailable(error.into())
}

#[async_trait]
impl StaffLogin for SqlStaff {
    async fn prompt(&self, _: &LoginAttempt, _: Proof) -> Result<StaffPrompt, LoginError> {
        Ok(StaffPrompt::Password)
    }

    async fn verify(&self, answer: StaffAnswer) -> Result<StaffMember, LoginError> {
        let StaffAnswer::Password(typed) = answer else {
            return Err(LoginError::Refused);
        };
        let (member, hash) = self.find(&typed.username).await.map_err(away)?.unzip();
        let right = is_password(hash.map(Into::into), typed.password).await?;
        member.filter(|_| right).ok_or(LoginError::Refused)
    }

    async fn standing(&self, name: &StaffName) -> Result<Standing, LoginError> {
        let found = self.find(name.as_str()).await.map_err(away)?;
        Ok(found.map_or(Standing::Gone, |(member, hash)| {
            Standing::Has(member.role, Credential::of_hash(&hash))
        }))
    }
}
