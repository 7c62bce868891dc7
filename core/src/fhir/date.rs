//! FHIR dates of any precision, and the instants they cover.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

/// Why a text is not a FHIR date, dateTime or instant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a date: write 2019, 2019-05, 2019-05-03 or 2019-05-03T10:30:00Z")]
pub struct DateError;

/// A FHIR `date`, `dateTime` or `instant`: a year, a month, a day, or a moment with a time zone.
///
/// Keeps the text as it was given; [`period`](Self::period) tells the instants it covers. Days
/// are days of UTC.
///
/// Source: FHIR R4, datatypes `date`, `dateTime`, `instant`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PartialDate {
    text: String,
    period: Period,
}

impl PartialDate {
    /// The instants it covers: 2019 is the whole year.
    pub fn period(&self) -> Period {
        self.period
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// A span of time, both ends included. An end that is `None` is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Period {
    /// First instant.
    pub start: Option<Timestamp>,
    /// Last instant.
    pub end: Option<Timestamp>,
}

impl Period {
    /// Whether the two have an instant in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        let starts_in_time = |a: Option<Timestamp>, b: Option<Timestamp>| match (a, b) {
            (Some(start), Some(end)) => start <= end,
            _ => true,
        };
        starts_in_time(self.start, other.end) && starts_in_time(other.start, self.end)
    }
}

impl FromStr for PartialDate {
    type Err = DateError;

    fn from_str(text: &str) -> Result<Self, DateError> {
        Ok(Self {
            period: parse(text).ok_or(DateError)?,
            text: text.to_owned(),
        })
    }
}

impl TryFrom<String> for PartialDate {
    type Error = DateError;

    fn try_from(text: String) -> Result<Self, DateError> {
        text.parse()
    }
}

impl From<PartialDate> for String {
    fn from(date: PartialDate) -> Self {
        date.text
    }
}

impl fmt::Display for PartialDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn parse(text: &str) -> Option<Period> {
    // jiff reads far more than FHIR allows; the shape is checked first.
    if !text.is_ascii() || text.len() > 40 {
        return None;
    }
    let shape: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '9' } else { c })
        .collect();
    let (first, next) = match shape.as_str() {
        "9999" => {
            let first = Date::new(text.parse().ok()?, 1, 1).ok()?;
            (first, first.checked_add(1.year()))
        }
        "9999-99" => {
            let first = Date::new(text[..4].parse().ok()?, text[5..].parse().ok()?, 1).ok()?;
            (first, first.checked_add(1.month()))
        }
        "9999-99-99" => {
            let first: Date = text.parse().ok()?;
            (first, first.checked_add(1.day()))
        }
        moment => return parse_moment(text, moment),
    };
    let start = midnight(first)?;
    // Year 9999 has no "next" day; its end is open.
    let end = next
        .ok()
        .and_then(midnight)
        .map(|next| next - SignedDuration::from_nanos(1));
    Some(Period {
        start: Some(start),
        end,
    })
}

fn parse_moment(text: &str, shape: &str) -> Option<Period> {
    let zone_at = shape.len()
        - match shape {
            s if s.ends_with('Z') => 1,
            s if s.ends_with("+99:99") || s.ends_with("-99:99") => 6,
            _ => return None,
        };
    let body = shape[..zone_at].strip_prefix("9999-99-99T99:99:99")?;
    let fraction = body.strip_prefix('.').map(str::len);
    if !(body.is_empty() || fraction.is_some_and(|digits| (1..=9).contains(&digits))) {
        return None;
    }
    let start: Timestamp = text.parse().ok()?;
    // A moment covers the unit it is given in: 10:30:00 is the whole second.
    let digits = u32::try_from(fraction.unwrap_or(0)).ok()?;
    let unit = SignedDuration::from_nanos(10_i64.pow(9 - digits) - 1);
    Some(Period {
        start: Some(start),
        end: Some(start.checked_add(unit).unwrap_or(start)),
    })
}

fn midnight(date: Date) -> Option<Timestamp> {
    TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(text: &str) -> (String, String) {
        let period = text.parse::<PartialDate>().unwrap().period();
        let show = |t: Option<Timestamp>| t.map_or("open".to_owned(), |t| t.to_string());
        (show(period.start), show(period.end))
    }

    #[test]
    fn a_partial_date_covers_all_of_its_unit() {
        for (text, start, end) in [
            (
                "2019",
                "2019-01-01T00:00:00Z",
                "2019-12-31T23:59:59.999999999Z",
            ),
            (
                "2020-02",
                "2020-02-01T00:00:00Z",
                "2020-02-29T23:59:59.999999999Z",
            ),
            (
                "2020-02-29",
                "2020-02-29T00:00:00Z",
                "2020-02-29T23:59:59.999999999Z",
            ),
            (
                "2019-05-03T10:30:00Z",
                "2019-05-03T10:30:00Z",
                "2019-05-03T10:30:00.999999999Z",
            ),
            (
                "2019-05-03T10:30:00+02:00",
                "2019-05-03T08:30:00Z",
                "2019-05-03T08:30:00.999999999Z",
            ),
            (
                "2019-05-03T10:30:00.25-05:00",
                "2019-05-03T15:30:00.25Z",
                "2019-05-03T15:30:00.259999999Z",
            ),
            ("9999", "9999-01-01T00:00:00Z", "open"),
        ] {
            assert_eq!(covers(text), (start.to_owned(), end.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_fhir_does_not_allow_is_no_date() {
        for text in [
            "",
            "19",
            "0000-13",
            "2019-13",
            "2019-02-29",
            "2019-5-3",
            "20190503",
            "2019-05-03T10:30",
            "2019-05-03T10:30:00",
            "2019-05-03 10:30:00Z",
            "2019-05-03T25:00:00Z",
            "yesterday",
            "2019-05-03T10:30:00Z ",
            "２０１９",
            "2019-05-03T10:30:00.1234567890Z",
        ] {
            assert!(text.parse::<PartialDate>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn periods_overlap_when_they_share_an_instant() {
        let period = |text: &str| text.parse::<PartialDate>().unwrap().period();
        assert!(period("2019").overlaps(&period("2019-12-31")));
        assert!(!period("2019").overlaps(&period("2020-01-01T00:00:00Z")));
        let since = Period {
            start: period("2019").start,
            end: None,
        };
        assert!(since.overlaps(&period("2030")) && !since.overlaps(&period("2018")));
        assert!(Period::default().overlaps(&period("1900")));
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC*") {
            let _ = text.parse::<PartialDate>();
        }

        #[test]
        fn a_parsed_date_keeps_its_text_and_its_order(text in "[0-9]{4}(-[0-9]{2}(-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2}))?)?)?") {
            if let Ok(date) = text.parse::<PartialDate>() {
                proptest::prop_assert_eq!(date.as_str(), text);
                let period = date.period();
                proptest::prop_assert!(period.end.is_none_or(|end| period.start.unwrap() <= end));
            }
        }
    }
}
