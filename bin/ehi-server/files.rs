//! Where files go: a folder, or S3.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use ehi_adapters::fs::FolderFiles;
use ehi_adapters::s3::{S3Files, S3Settings};
use ehi_core::export::Downloads;
use ehi_core::ports::{Clock, Entropy, FileStore};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::Failure;
use crate::config::Config;

/// Where files go, as the operator writes it: a folder, or `s3://bucket/folder?…`. It is read when
/// files are needed: before, who mistakenly put keys into it would see them in the error.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct FilesUrl(SecretString);

impl From<String> for FilesUrl {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

/// Where files go, as the command line or the environment says.
#[derive(Debug, Args)]
pub struct FilesArgument {
    /// Where files go, instead of what the configuration says: a folder, or `s3://bucket/folder?…`
    #[arg(
        long,
        env = "EHI_FILES",
        value_name = "DIR|s3://…",
        hide_env_values = true
    )]
    files: Option<FilesUrl>,
}

impl FilesArgument {
    /// The configuration with this in the place of what it says.
    pub fn over(self, config: Config) -> Config {
        Config {
            files: self.files.or(config.files),
            ..config
        }
    }
}

/// Where files go.
#[derive(Debug, Clone)]
pub enum FilesPlace {
    /// A folder on this machine.
    Folder(PathBuf),
    /// A bucket.
    S3(Box<S3Settings>),
}

/// S3 signs nothing for longer.
const LONGEST_LINK: Duration = Duration::from_hours(7 * 24);

impl FilesPlace {
    /// The folder beside database and keys.
    pub fn below(data: &Path) -> Self {
        Self::Folder(data.join("files"))
    }

    /// Where the operator says, or below `data`.
    pub fn read(told: Option<&FilesUrl>, data: &Path) -> Result<Self, Failure> {
        let Some(FilesUrl(text)) = told else {
            return Ok(Self::below(data));
        };
        let text = text.expose_secret();
        match text.split_once("://") {
            Some(("s3", _)) => {
                let settings = text.parse().map_err(cannot)?;
                Ok(Self::S3(Box::new(settings)))
            }
            None if !text.is_empty() && !text.starts_with("s3:") => Ok(Self::Folder(text.into())),
            _ => Err(Failure::new(
                "files go to a folder such as /var/lib/ehi-server/files, or to a URL such as s3://bucket/folder?region=eu-central-1",
            )),
        }
    }

    /// How apps fetch files: by links that live so long, where some lifetime is given.
    pub fn downloads(&self, links: Option<Duration>) -> Result<Downloads, Failure> {
        let Some(lifetime) = links else {
            return Ok(Downloads::ByToken);
        };
        let Self::S3(settings) = self else {
            return Err(Failure::new(
                "presigned_downloads is for files on S3: a folder has no links. Leave it out, or set files = \"s3://…\"",
            ));
        };
        if settings.goes_in_the_clear() {
            return Err(Failure::new(
                "presigned_downloads needs an https endpoint: health records must not travel in the clear",
            ));
        }
        if lifetime > LONGEST_LINK {
            return Err(Failure::new("presigned_downloads can be 7 days at most"));
        }
        Ok(Downloads::ByLink(lifetime))
    }

    /// Opens the store, and looks whether it can be used.
    pub async fn open(
        &self,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Arc<dyn FileStore>, Failure> {
        match self {
            Self::Folder(folder) => {
                let files = FolderFiles::open(folder).map_err(|error| {
                    let message = format!("the files in {} cannot be used", folder.display());
                    Failure::because(message, error)
                })?;
                Ok(Arc::new(files))
            }
            Self::S3(settings) => {
                let settings = (**settings).clone();
                // Large, and waited for once.
                let files = Box::pin(S3Files::open(settings, clock, entropy));
                Ok(Arc::new(files.await.map_err(cannot)?))
            }
        }
    }
}

fn cannot(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
    Failure::because("the files on S3 cannot be used", cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<FilesPlace, Failure> {
        FilesPlace::read(Some(&text.to_owned().into()), Path::new("/data"))
    }

    fn told(failure: &Failure) -> String {
        format!("{failure} {:?}", failure.cause)
    }

    #[test]
    fn a_folder_or_a_bucket_is_told_by_its_looks() {
        let folder = FilesPlace::read(None, Path::new("/data")).unwrap();
        assert!(matches!(folder, FilesPlace::Folder(path) if path == Path::new("/data/files")));
        for text in ["/srv/files", "files", "s3", "C:files"] {
            let folder = read(text).unwrap();
            assert!(matches!(folder, FilesPlace::Folder(path) if path == Path::new(text)));
        }
        let bucket = read("s3://ehi-files/exports?region=eu-central-1").unwrap();
        assert!(
            matches!(bucket, FilesPlace::S3(settings) if settings.bucket.as_str() == "ehi-files")
        );
        for text in [
            "",
            "https://bucket/x",
            "s3:bucket",
            "gs://bucket",
            "S3://bucket",
        ] {
            let failure = read(text).unwrap_err();
            assert!(
                failure.to_string().contains("s3://bucket"),
                "{text}: {failure}"
            );
        }
    }

    #[test]
    fn what_is_wrong_with_a_url_is_told_without_its_keys() {
        let url = FilesUrl::from("s3://key:hunter2@bucket".to_owned());
        let failure = FilesPlace::read(Some(&url), Path::new("/data")).unwrap_err();
        let told = format!("{} {url:?}", told(&failure));
        assert!(
            told.contains("AWS_ACCESS_KEY_ID") || told.contains("KeysInUrl"),
            "{told}"
        );
        assert!(!told.contains("hunter2"), "{told}");
    }

    #[test]
    fn links_are_for_s3_and_do_not_go_in_the_clear() {
        let hour = Some(Duration::from_hours(1));
        let s3 = read("s3://bucket?region=eu-central-1").unwrap();
        assert_eq!(s3.downloads(None).unwrap(), Downloads::ByToken);
        let by_link = Downloads::ByLink(Duration::from_hours(1));
        assert_eq!(s3.downloads(hour).unwrap(), by_link);
        let local = read("s3://bucket?endpoint=http://127.0.0.1:9000").unwrap();
        assert_eq!(local.downloads(hour).unwrap(), by_link);
        let clear = read("s3://bucket?endpoint=http://10.0.0.1:9000&allow_http=true").unwrap();
        for (place, lifetime, about) in [
            (&read("/srv/files").unwrap(), hour, "folder"),
            (&clear, hour, "https"),
            (&s3, Some(Duration::from_hours(7 * 24 + 1)), "7 days"),
        ] {
            let failure = place.downloads(lifetime).unwrap_err();
            assert!(failure.to_string().contains(about), "{failure}");
            assert!(place.downloads(None).is_ok());
        }
    }
}
