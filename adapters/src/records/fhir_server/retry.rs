//! Patience with a server that is busy or away.

use std::sync::Arc;
use std::time::Duration;

use ehi_core::ports::{Clock, Entropy};
use jiff::Timestamp;
use reqwest::header::{HeaderMap, RETRY_AFTER};

use super::config::RetryConfig;

/// How requests are repeated.
#[derive(Debug, Clone)]
pub(super) struct Retries {
    pub(super) config: RetryConfig,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
}

/// The attempts at one request.
#[derive(Debug)]
pub(super) struct Attempts<'a> {
    retries: &'a Retries,
    made: u32,
    started: Timestamp,
}

impl Retries {
    /// Begins the first attempt.
    pub(super) fn start(&self) -> Attempts<'_> {
        Attempts {
            retries: self,
            made: 1,
            started: self.clock.now(),
        }
    }
}

impl Attempts<'_> {
    /// Waits until it is time for another attempt; `false` when there will be none. `asked` is
    /// how long the server wants to be left alone, where it said so.
    pub(super) async fn again(&mut self, asked: Option<Duration>) -> bool {
        let Retries {
            config,
            clock,
            entropy,
        } = self.retries;
        let wait = wait(config, self.made, asked, &entropy.bytes());
        let spent = clock.now().duration_since(self.started);
        let spent = Duration::try_from(spent).unwrap_or_default();
        if self.made >= config.attempts || spent + wait > config.total {
            return false;
        }
        self.made += 1;
        clock.sleep(wait).await;
        true
    }
}

/// How long to wait behind so many attempts.
fn wait(config: &RetryConfig, made: u32, asked: Option<Duration>, random: &[u8; 32]) -> Duration {
    let [a, b, c, d, ..] = *random;
    let fraction = f64::from(u32::from_be_bytes([a, b, c, d])) / f64::from(u32::MAX);
    if let Some(asked) = asked {
        // Never sooner than asked, and not everybody at once.
        let late = config.first_wait.mul_f64(fraction);
        return asked.saturating_add(late).min(config.longest_wait);
    }
    let doubled = 1_u32.checked_shl(made - 1).unwrap_or(u32::MAX);
    let full = (config.first_wait.saturating_mul(doubled)).min(config.longest_wait);
    full.mul_f64(1.0 - fraction / 2.0)
}

/// What `Retry-After` asks for: seconds or a date.
///
/// Source: RFC 9110, 10.2.3.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(text)
        .ok()?;
    // A date that has passed asks for nothing.
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use ehi_core::testkit::at;
    use reqwest::header::HeaderValue;

    use super::*;

    const LEAST: [u8; 32] = [0xff; 32];
    const MOST: [u8; 32] = [0; 32];

    #[test]
    fn waits_double_up_to_the_longest_and_are_cut_at_random() {
        let config = RetryConfig::default();
        let millis = |made, random| wait(&config, made, None, random).as_millis();
        let full: Vec<u128> = (1..=7).map(|made| millis(made, &MOST)).collect();
        assert_eq!(full, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        let least: Vec<u128> = (1..=3).map(|made| millis(made, &LEAST)).collect();
        assert_eq!(least, [500, 1000, 2000]);
        assert_eq!(millis(u32::MAX, &MOST), 30_000);
    }

    #[test]
    fn the_servers_wish_goes_before_within_limits() {
        let config = RetryConfig::default();
        let seconds = |asked, random| {
            let asked = Some(Duration::from_secs(asked));
            wait(&config, 4, asked, random).as_secs()
        };
        assert_eq!([seconds(7, &MOST), seconds(7, &LEAST)], [7, 8]);
        assert_eq!([seconds(30, &LEAST), seconds(u64::MAX, &MOST)], [30, 30]);
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
            retry_after(&headers, at(0)).map(|wait| wait.as_secs())
        };
        assert_eq!(read("12"), Some(12));
        assert_eq!(read("Mon, 01 Jan 2024 00:01:30 GMT"), Some(90));
        assert_eq!(read("Sun, 31 Dec 2023 00:00:00 GMT"), Some(0));
        for text in ["", "soon", "-3", "1.5"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), at(0)), None);
    }
}
