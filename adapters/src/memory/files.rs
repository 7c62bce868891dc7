//! Files in memory: for tests and benchmarks.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use ehi_core::ports::{FileBytes, FileError, FilePath, FileStore, FileWriter};
use futures::{StreamExt, stream};

use super::lock;

type Files = Arc<Mutex<BTreeMap<FilePath, Arc<[Bytes]>>>>;

/// Files in memory.
#[derive(Debug, Default)]
pub struct MemoryFiles(Files);

#[async_trait]
impl FileStore for MemoryFiles {
    async fn writer(&self, path: &FilePath) -> Result<Box<dyn FileWriter>, FileError> {
        Ok(Box::new(MemoryWriter {
            files: self.0.clone(),
            path: path.clone(),
            chunks: Vec::new(),
        }))
    }

    async fn size(&self, path: &FilePath) -> Result<Option<u64>, FileError> {
        let size = |chunks: &Arc<[Bytes]>| chunks.iter().map(|chunk| chunk.len() as u64).sum();
        Ok(lock(&self.0).get(path).map(size))
    }

    async fn read(
        &self,
        path: &FilePath,
        range: Range<u64>,
    ) -> Result<Option<FileBytes>, FileError> {
        let Some(chunks) = lock(&self.0).get(path).cloned() else {
            return Ok(None);
        };
        let mut at = 0;
        let mut parts = Vec::new();
        for chunk in chunks.iter() {
            let end = at + chunk.len() as u64;
            let (from, to) = (
                range.start.clamp(at, end) - at,
                range.end.clamp(at, end) - at,
            );
            if from < to {
                let place = |offset| usize::try_from(offset).unwrap_or(usize::MAX);
                parts.push(Ok(chunk.slice(place(from)..place(to))));
            }
            at = end;
        }
        Ok(Some(stream::iter(parts).boxed()))
    }

    async fn delete_prefix(&self, folder: &FilePath) -> Result<(), FileError> {
        lock(&self.0).retain(|path, _| !path.is_below(folder));
        Ok(())
    }

    async fn folders(&self) -> Result<Vec<FilePath>, FileError> {
        let tops: BTreeSet<FilePath> = lock(&self.0).keys().map(FilePath::top).collect();
        Ok(tops.into_iter().collect())
    }

    async fn list(&self, folder: &FilePath) -> Result<Vec<FilePath>, FileError> {
        let files = lock(&self.0);
        Ok(files
            .keys()
            .filter(|path| path.is_below(folder))
            .cloned()
            .collect())
    }
}

struct MemoryWriter {
    files: Files,
    path: FilePath,
    chunks: Vec<Bytes>,
}

#[async_trait]
impl FileWriter for MemoryWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<(), FileError> {
        self.chunks.push(bytes);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<(), FileError> {
        lock(&self.files).insert(self.path, self.chunks.into());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    ehi_core::file_store_contract!(async { (MemoryFiles::default(), ()) });
}
