//! What S3 says when something is wrong, in words an operator can act on.

use std::error::Error;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use ehi_core::ports::FileError;

/// Why a request came to nothing. Says neither keys nor signed URLs.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("S3 refused {action}: {status} {code:?}, {message:?}{hint}")]
    Refused {
        action: &'static str,
        status: u16,
        code: String,
        message: String,
        hint: &'static str,
    },
    #[error("S3 did not answer in time when asked for {action}")]
    Late { action: &'static str },
    #[error("could not ask S3 for {action}: {reason}")]
    Unreachable {
        action: &'static str,
        reason: String,
    },
    #[error("S3 answered {action} in a way that makes no sense: {reason}")]
    Nonsense {
        action: &'static str,
        reason: String,
    },
    #[error("a file on S3 can have at most {} GiB", super::writer::LARGEST_FILE >> 30)]
    TooLarge,
    #[error("S3 keeps {count} files that it was told to remove; the first for {code:?}")]
    Kept { count: usize, code: String },
    #[error("no region is set; add region=… to the URL of the files, or set AWS_REGION")]
    NoRegion,
    #[error(
        "no keys for S3 were found ({reason}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role"
    )]
    NoCredentials { reason: String },
    #[error("an earlier write did not finish")]
    Broken,
}

impl Failure {
    pub fn nonsense(action: &'static str, reason: impl Into<String>) -> Self {
        Self::Nonsense {
            action,
            reason: reason.into(),
        }
    }
}

impl From<Failure> for FileError {
    fn from(failure: Failure) -> Self {
        let full = match &failure {
            Failure::Refused { status, code, .. } => {
                *status == 507
                    || matches!(
                        code.as_str(),
                        "QuotaExceeded" | "EntityTooLarge" | "XMinioStorageFull"
                    )
            }
            Failure::TooLarge => true,
            _ => false,
        };
        if full {
            Self::Full(failure.into())
        } else {
            Self::Unavailable(failure.into())
        }
    }
}

/// A server's words may be anything: short, and escaped where they are shown.
pub(super) fn short(text: Option<&str>) -> String {
    text.unwrap_or_default().chars().take(200).collect()
}

/// What became of a request that failed.
pub(super) fn failed<E>(action: &'static str, error: SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match error {
        SdkError::ServiceError(refused) => {
            let status = refused.raw().status().as_u16();
            let code = short(refused.err().code());
            Failure::Refused {
                action,
                status,
                hint: hint(status, &code),
                message: short(refused.err().message()),
                code,
            }
        }
        SdkError::TimeoutError(_) => Failure::Late { action },
        SdkError::DispatchFailure(failure) if failure.is_timeout() => Failure::Late { action },
        error @ SdkError::ResponseError(_) => Failure::nonsense(action, words(&error)),
        error => Failure::Unreachable {
            action,
            reason: words(&error),
        },
    }
}

fn hint(status: u16, code: &str) -> &'static str {
    match (status, code) {
        (
            _,
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "NotSignedUp"
            | "ExpiredToken"
            | "InvalidToken"
            | "TokenRefreshRequired",
        ) => "; check the credentials",
        (_, "NoSuchBucket") => "; check the bucket's name",
        (301, _) | (_, "AuthorizationHeaderMalformed" | "PermanentRedirect") => {
            "; check the region"
        }
        (_, "RequestTimeTooSkewed") => "; set this machine's clock",
        (403, _) => "; check what the credentials may do",
        _ => "",
    }
}

/// The words of an error and of what is behind it, not the values in it.
pub(super) fn words(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        words.push_str(": ");
        words.push_str(&error.to_string());
        source = error.source();
    }
    words
}
