use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::auth::Door;
use crate::ports::{Credentials, LoginError, MockStaffLogin, Outcome};
use crate::testkit::{FixedClock, RecordedAudit, SeededEntropy, Sessions, at, guard};

struct Set {
    sessions: StaffSessions,
    clock: Arc<FixedClock>,
    audit: Arc<RecordedAudit>,
    /// What the login says of everybody.
    standing: Arc<Mutex<Standing>>,
}

fn set(role: Option<StaffRole>) -> Set {
    let mut login = MockStaffLogin::new();
    login.expect_verify().returning(move |answer| {
        let StaffAnswer::Password(who) = answer else {
            return Err(LoginError::Refused);
        };
        let name = StaffName::proven(who.username);
        let member = role.map(|role| StaffMember { name, role });
        member.ok_or(LoginError::Refused)
    });
    let standing = Arc::new(Mutex::new(Standing::Untold));
    let told = standing.clone();
    login
        .expect_standing()
        .returning(move |_| Ok(told.lock().unwrap().clone()));
    let clock = Arc::new(FixedClock::at(at(0)));
    let audit = Arc::new(RecordedAudit::default());
    let sessions = StaffSessions {
        login: Arc::new(login),
        guard: guard(Door::Staff),
        sessions: Arc::new(Sessions::default()),
        audit: audit.clone(),
        clock: clock.clone(),
        entropy: Arc::new(SeededEntropy::default()),
        lifetimes: SessionLifetimes {
            idle: Duration::from_mins(10),
            absolute: Duration::from_hours(12),
        },
    };
    Set {
        sessions,
        clock,
        audit,
        standing,
    }
}

/// This role, by a credential of this name.
fn has(role: StaffRole, credential: &str) -> Standing {
    Standing::Has(role, Credential::of_hash(credential))
}

impl Set {
    async fn logged_in(&self) -> Secret {
        let origin = Origin::default();
        let (cookie, _) = self.sessions.log_in(ada(), None, &origin).await.unwrap();
        cookie
    }

    async fn recognise(&self, cookie: &Secret) -> Option<StaffSession> {
        match self.sessions.recognise(cookie, &Origin::default()).await {
            Ok(session) => Some(session),
            Err(SessionError::None) => None,
            Err(error) => panic!("{error}"),
        }
    }
}

fn ada() -> StaffAnswer {
    StaffAnswer::Password(Credentials {
        username: "ada".into(),
        password: "secret".to_owned().into(),
    })
}

#[tokio::test]
async fn a_used_session_lasts_and_an_unused_one_ends() {
    let set = set(Some(StaffRole::Reviewer));
    let cookie = set.logged_in().await;
    for minute in [9, 18, 27] {
        set.clock.set(at(minute * 60));
        let session = set.recognise(&cookie).await.unwrap();
        assert_eq!(session.name.as_str(), "ada");
    }
    set.clock.set(at(38 * 60));
    assert!(set.recognise(&cookie).await.is_none());
}

#[tokio::test]
async fn no_session_outlives_its_day_however_much_it_is_used() {
    let set = set(Some(StaffRole::Reviewer));
    let cookie = set.logged_in().await;
    let mut last = 0;
    for now in (1..=200).map(|step| step * 300) {
        set.clock.set(at(now));
        if let Some(session) = set.recognise(&cookie).await {
            assert!(session.expires_at <= at(12 * 3600));
            last = now;
        }
    }
    assert_eq!(last, 12 * 3600 - 300);
}

#[tokio::test]
async fn a_logged_out_cookie_is_worth_nothing() {
    let set = set(Some(StaffRole::Reviewer));
    let cookie = set.logged_in().await;
    let origin = Origin::default();
    set.sessions.log_out(&cookie, &origin).await.unwrap();
    assert!(set.recognise(&cookie).await.is_none());
    let again = set.sessions.log_out(&cookie, &origin).await;
    assert!(matches!(again, Err(SessionError::None)));
    assert_eq!(
        set.audit.actions(),
        [Action::StaffLogin, Action::StaffLogout]
    );
}

#[tokio::test]
async fn a_refused_login_is_remembered_and_makes_no_session() {
    let set = set(None);
    let refused = set.sessions.log_in(ada(), None, &Origin::default()).await;
    assert!(matches!(refused, Err(SessionError::Refused)));
    assert_eq!(set.audit.actions(), [Action::StaffLogin]);
    assert_eq!(set.audit.events()[0].outcome, Outcome::Refused);
}

#[tokio::test]
async fn a_refused_login_names_whom_it_was_tried_for_only_where_there_is_somebody() {
    let set = set(None);
    for (standing, expected) in [
        (has(StaffRole::Admin, "a"), Some("ada")),
        (Standing::Gone, None),
    ] {
        *set.standing.lock().unwrap() = standing;
        let _ = set.sessions.log_in(ada(), None, &Origin::default()).await;
        let named = set.audit.events().pop().unwrap().staff;
        assert_eq!(named.as_ref().map(StaffName::as_str), expected);
    }
}

#[tokio::test]
async fn a_cookie_from_before_the_login_never_becomes_a_session() {
    let set = set(Some(StaffRole::Reviewer));
    let first = set.logged_in().await;
    let planted = Secret::presented("planted-by-somebody-else").unwrap();
    for before in [&first, &planted] {
        let origin = Origin::default();
        let (after, _) = (set.sessions.log_in(ada(), Some(before), &origin).await).unwrap();
        assert_ne!(after.expose(), before.expose());
        assert!(set.recognise(&after).await.is_some());
        assert!(set.recognise(before).await.is_none());
    }
}

#[tokio::test]
async fn only_an_admin_is_an_admin() {
    for (role, is_admin) in [(StaffRole::Reviewer, false), (StaffRole::Admin, true)] {
        let set = set(Some(role));
        let cookie = set.logged_in().await;
        let session = set.recognise(&cookie).await.unwrap();
        assert_eq!(session.role, role);
        assert_eq!(session.admin().is_ok(), is_admin);
    }
}

#[tokio::test]
async fn a_role_that_was_taken_away_is_gone_at_once() {
    let set = set(Some(StaffRole::Admin));
    *set.standing.lock().unwrap() = has(StaffRole::Admin, "a");
    let cookie = set.logged_in().await;
    *set.standing.lock().unwrap() = has(StaffRole::Reviewer, "a");
    let session = set.recognise(&cookie).await.unwrap();
    assert_eq!(session.admin().err(), Some(NotAdmin));
}

#[tokio::test]
async fn the_session_of_somebody_who_left_ends_and_does_not_come_back() {
    let set = set(Some(StaffRole::Admin));
    *set.standing.lock().unwrap() = has(StaffRole::Admin, "a");
    let cookie = set.logged_in().await;
    *set.standing.lock().unwrap() = Standing::Gone;
    assert!(set.recognise(&cookie).await.is_none());
    *set.standing.lock().unwrap() = has(StaffRole::Admin, "a");
    assert!(set.recognise(&cookie).await.is_none());
}

#[tokio::test]
async fn no_session_outlives_the_password_it_began_with() {
    let set = set(Some(StaffRole::Admin));
    *set.standing.lock().unwrap() = has(StaffRole::Admin, "a");
    let cookie = set.logged_in().await;
    assert!(set.recognise(&cookie).await.is_some());
    *set.standing.lock().unwrap() = has(StaffRole::Admin, "b");
    assert!(set.recognise(&cookie).await.is_none());
    *set.standing.lock().unwrap() = has(StaffRole::Admin, "a");
    assert!(set.recognise(&cookie).await.is_none());
}

#[tokio::test]
async fn guessing_is_slowed_down_and_the_right_password_then_works() {
    let mut login = MockStaffLogin::new();
    login
        .expect_verify()
        .times(5)
        .returning(|_| Err(LoginError::Refused));
    login.expect_verify().returning(|_| {
        Ok(StaffMember {
            name: StaffName::proven("ada"),
            role: StaffRole::Reviewer,
        })
    });
    login.expect_standing().returning(|_| Ok(Standing::Untold));
    let mut set = set(None);
    set.sessions.login = Arc::new(login);
    let tried = async || {
        let origin = Origin::default();
        set.sessions.log_in(ada(), None, &origin).await
    };
    for _ in 0..5 {
        assert!(matches!(tried().await, Err(SessionError::Refused)));
    }
    let Err(SessionError::TooMany(wait)) = tried().await else {
        panic!("there is no wait");
    };
    assert_eq!(wait, Duration::from_secs(1));
    assert_eq!(set.audit.actions(), [Action::StaffLogin; 6]);
    set.clock.set(at(1));
    tried().await.unwrap();
}
