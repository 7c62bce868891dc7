//! Wrong passwords.

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ehi_core::auth::{
    Attempt, Guesses, Patience, REMEMBER_GUESSES, REMEMBER_OWNERS, Tally, Turn, Verdict,
};
use ehi_core::ports::{GuessStore, StoreError};
use jiff::Timestamp;

use super::pool::Transaction;
use super::{Database, nanoseconds, unavailable};

/// How many rows a sweep leaves.
const ROWS: i64 = 200_000;

/// What stands for all places together.
const EVERYWHERE: &str = "";

/// Wrong passwords in a database.
#[derive(Debug, Clone)]
pub struct SqlGuesses {
    database: Database,
    rows: i64,
}

impl SqlGuesses {
    /// The guesses of this database.
    pub fn new(database: &Database) -> Self {
        Self::of_at_most(database, ROWS)
    }

    pub(super) fn of_at_most(database: &Database, rows: i64) -> Self {
        Self {
            database: database.clone(),
            rows,
        }
    }

    /// What is remembered; nobody else changes it for this account until the transaction ends.
    async fn open(&self, attempt: &Attempt, new: Timestamp) -> Result<Open, StoreError> {
        let account = BASE64_URL_SAFE_NO_PAD.encode(attempt.account.as_bytes());
        let place = attempt
            .place
            .map_or("?".to_owned(), |place| place.to_string());
        let mut transaction = self.database.begin().await?;
        // Made or not, the row of all places is locked now, and with it the account.
        let everywhere = sqlx::query_as::<_, Row>(
            "INSERT INTO guesses (account, place, wrong, last_at, owners) VALUES ($1, $2, 0, $3, 0) ON CONFLICT (account, place) DO UPDATE SET wrong = guesses.wrong RETURNING wrong, last_at, owners",
        )
        .bind(account.clone())
        .bind(EVERYWHERE)
        .bind(nanoseconds(new))
        .fetch_one(&mut *transaction)
        .await
        .map_err(unavailable)?;
        let here = sqlx::query_as::<_, Row>(
            "SELECT wrong, last_at, owners FROM guesses WHERE account = $1 AND place = $2",
        )
        .bind(account.clone())
        .bind(place.clone())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(unavailable)?;
        let here = here.map_or(Ok(Guesses::none(new)), guesses)?;
        let tally = Tally {
            here,
            everywhere: guesses(everywhere)?,
        };
        Ok(Open {
            transaction,
            account,
            place,
            tally,
        })
    }
}

type Row = (i64, i64, i64);

fn guesses((wrong, last, owners): Row) -> Result<Guesses, StoreError> {
    Ok(Guesses {
        wrong: u32::try_from(wrong).unwrap_or(u32::MAX),
        last: Timestamp::from_nanosecond(last.into()).map_err(unavailable)?,
        owners: owners != 0,
    })
}

/// What is remembered, while nobody else changes it.
struct Open {
    transaction: Transaction,
    account: String,
    place: String,
    tally: Tally,
}

impl Open {
    async fn keep(mut self) -> Result<(), StoreError> {
        let Tally { here, everywhere } = self.tally;
        for (place, guesses) in [(self.place.as_str(), here), (EVERYWHERE, everywhere)] {
            sqlx::query(
                "INSERT INTO guesses (account, place, wrong, last_at, owners) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (account, place) DO UPDATE SET wrong = excluded.wrong, last_at = excluded.last_at, owners = excluded.owners",
            )
            .bind(self.account.clone())
            .bind(place.to_owned())
            .bind(i64::from(guesses.wrong))
            .bind(nanoseconds(guesses.last))
            .bind(i64::from(guesses.owners))
            .execute(&mut *self.transaction)
            .await
            .map_err(unavailable)?;
        }
        self.transaction.commit().await.map_err(unavailable)
    }
}

#[async_trait]
impl GuessStore for SqlGuesses {
    async fn begin(
        &self,
        attempt: &Attempt,
        patience: Patience,
        now: Timestamp,
    ) -> Result<Turn, StoreError> {
        let mut open = self.open(attempt, now).await?;
        let turn = open.tally.begin(patience, now);
        open.keep().await?;
        Ok(turn)
    }

    async fn end(&self, attempt: Attempt, verdict: Verdict) -> Result<(), StoreError> {
        // Should it have been forgotten meanwhile, it is as if it had never been.
        let mut open = self.open(&attempt, Timestamp::UNIX_EPOCH).await?;
        open.tally.end(verdict);
        open.keep().await
    }

    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        let before = |span| nanoseconds(now.saturating_sub(span).unwrap_or(Timestamp::MIN));
        for (owners, span) in [(0_i64, REMEMBER_GUESSES), (1, REMEMBER_OWNERS)] {
            sqlx::query("DELETE FROM guesses WHERE owners = $1 AND last_at < $2")
                .bind(owners)
                .bind(before(span))
                .execute(self.database.pool())
                .await
                .map_err(unavailable)?;
        }
        let kept = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM guesses")
            .fetch_one(self.database.pool())
            .await
            .map_err(unavailable)?;
        if kept > self.rows {
            // What says least goes first, and where owners log in last of all.
            sqlx::query("DELETE FROM guesses WHERE (account, place) IN (SELECT account, place FROM guesses ORDER BY owners DESC, CASE WHEN wrong > 2 THEN 1 ELSE 0 END DESC, last_at DESC LIMIT 9223372036854775807 OFFSET $1)")
                .bind(self.rows)
                .execute(self.database.pool())
                .await
                .map_err(unavailable)?;
        }
        Ok(())
    }
}
