//! An S3 server for tests: it checks signatures, keeps its objects in a folder, remembers what it
//! was asked, and has faults when told to.

#![expect(
    clippy::unwrap_used,
    reason = "in a test, what is missing is a failure"
)]
#![expect(
    missing_docs,
    clippy::missing_panics_doc,
    reason = "the names of its parts are those of the protocol"
)]

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use axum::body::Body;
use ehi_core::ports::Clock;
use ehi_core::testkit::{FixedClock, SeededEntropy, at};
use futures::StreamExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput,
    DeleteObjectsInput, DeleteObjectsOutput, Error, GetObjectInput, GetObjectOutput,
    HeadObjectInput, HeadObjectOutput, ListMultipartUploadsInput, ListMultipartUploadsOutput,
    ListObjectsV2Input, ListObjectsV2Output, MultipartUpload, PutObjectInput, PutObjectOutput,
    UploadPartInput, UploadPartOutput,
};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub const BUCKET: &str = "ehi-files";
pub const ACCESS_KEY: &str = "access";
pub const SECRET_KEY: &str = "the secret that nobody may read";

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    Put,
    Get,
    Head,
    List,
    Delete,
    Begin,
    Part,
    Complete,
    Abort,
    Uploads,
    Other,
}

/// What happens to a request instead of an answer.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// An error of this status and code.
    Status(u16, &'static str),
    /// The connection ends before the request was looked at.
    Reset,
    /// The request is done, and then the connection ends.
    LostAnswer,
    /// No answer, ever.
    Stall,
    /// The connection ends behind so many bytes of the content.
    CutBehind(usize),
    /// Nothing comes behind so many bytes of the content.
    StallBehind(usize),
}

/// A server on a port of its own. It ends when it is dropped.
pub struct Server {
    pub bucket: Arc<Bucket>,
    pub clock: Arc<FixedClock>,
    pub entropy: Arc<SeededEntropy>,
    pub port: u16,
    folder: TempDir,
    accepting: JoinHandle<()>,
}

/// What it keeps, and what it is told to do.
pub struct Bucket {
    files: FileSystem,
    folder: PathBuf,
    clock: Arc<FixedClock>,
    uploads: Mutex<BTreeMap<(String, String), SystemTime>>,
    asked: Mutex<Vec<(Ask, HeaderMap)>>,
    faults: Mutex<Vec<(Ask, usize, Fault)>>,
    struck: AtomicUsize,
    distance: Mutex<Duration>,
    locked: Mutex<HashSet<String>>,
}

impl Server {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
        let clock = Arc::new(FixedClock::at(at(1_000_000)));
        let bucket = Arc::new(Bucket {
            files: FileSystem::new(folder.path()).unwrap(),
            folder: folder.path().join(BUCKET),
            clock: clock.clone(),
            uploads: Mutex::default(),
            asked: Mutex::default(),
            faults: Mutex::default(),
            struck: AtomicUsize::new(0),
            distance: Mutex::default(),
            locked: Mutex::default(),
        });
        let mut builder = S3ServiceBuilder::new(Shared(bucket.clone()));
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepting = tokio::spawn(accept(listener, service, bucket.clone()));
        Self {
            bucket,
            clock,
            entropy: Arc::default(),
            port,
            folder,
            accepting,
        }
    }

    /// The URL of the store, with more settings behind it.
    pub fn url(&self, path: &str, more: &str) -> String {
        let port = self.port;
        format!(
            "s3://{BUCKET}{path}?endpoint=http://127.0.0.1:{port}&path_style=true&first_wait=5ms{more}"
        )
    }

    /// Where the bucket's objects are.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().join(BUCKET)
    }

    /// What of unfinished uploads is on its disk.
    pub fn leftovers(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.folder.path()).unwrap();
        names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with(".upload"))
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Bucket {
    /// The next `times` requests of this kind have that fault.
    pub fn fail(&self, ask: Ask, times: usize, fault: Fault) {
        self.faults.lock().unwrap().push((ask, times, fault));
    }

    /// No more faults.
    pub fn heal(&self) {
        self.faults.lock().unwrap().clear();
    }

    /// This key cannot be deleted.
    pub fn lock(&self, key: &str) {
        self.locked.lock().unwrap().insert(key.to_owned());
    }

    /// It is far away: from now on a request takes that much longer.
    pub fn move_away(&self, by: Duration) {
        *self.distance.lock().unwrap() = by;
    }

    /// How many requests had a fault.
    pub fn struck(&self) -> usize {
        self.struck.load(Ordering::Relaxed)
    }

    pub fn count(&self, ask: Ask) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(seen, _)| *seen == ask).count()
    }

    /// The values of a header on requests of one kind.
    pub fn headers(&self, ask: Ask, name: &str) -> Vec<Option<String>> {
        let asked = self.asked.lock().unwrap();
        let of_kind = asked.iter().filter(|(seen, _)| *seen == ask);
        of_kind
            .map(|(_, headers)| headers.get(name).map(|v| v.to_str().unwrap().to_owned()))
            .collect()
    }

    /// The keys of uploads that are neither complete nor aborted.
    pub fn uploads(&self) -> Vec<String> {
        let uploads = self.uploads.lock().unwrap();
        uploads.keys().map(|(key, _)| key.clone()).collect()
    }

    fn see(&self, ask: Ask, headers: &HeaderMap) -> Option<Fault> {
        self.asked.lock().unwrap().push((ask, headers.clone()));
        let mut faults = self.faults.lock().unwrap();
        let (_, times, fault) =
            (faults.iter_mut()).find(|(kind, times, _)| *kind == ask && *times > 0)?;
        *times -= 1;
        self.struck.fetch_add(1, Ordering::Relaxed);
        Some(*fault)
    }

    fn is_file(&self, key: &str) -> bool {
        self.folder.join(key).is_file()
    }
}

fn ask<B>(request: &Request<B>) -> Ask {
    let query = request.uri().query().unwrap_or_default();
    let has = |name: &str| {
        let mut pairs = query.split('&');
        pairs.any(|pair| pair.split('=').next() == Some(name))
    };
    let of_bucket = request
        .uri()
        .path()
        .trim_end_matches('/')
        .matches('/')
        .count()
        == 1;
    match *request.method() {
        Method::GET if has("uploads") => Ask::Uploads,
        Method::POST if has("uploads") => Ask::Begin,
        Method::POST if has("uploadId") => Ask::Complete,
        Method::POST if has("delete") => Ask::Delete,
        Method::PUT if has("uploadId") => Ask::Part,
        Method::DELETE if has("uploadId") => Ask::Abort,
        Method::GET if of_bucket => Ask::List,
        Method::GET => Ask::Get,
        Method::HEAD => Ask::Head,
        Method::PUT => Ask::Put,
        _ => Ask::Other,
    }
}

async fn accept(listener: TcpListener, service: S3Service, bucket: Arc<Bucket>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (service, bucket) = (service.clone(), bucket.clone());
        let answer = service_fn(move |request| answer(service.clone(), bucket.clone(), request));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}

async fn answer(
    service: S3Service,
    bucket: Arc<Bucket>,
    request: Request<Incoming>,
) -> io::Result<Response<Body>> {
    let fault = bucket.see(ask(&request), request.headers());
    let distance = *bucket.distance.lock().unwrap();
    tokio::time::sleep(distance).await;
    let cut = || io::Error::from(io::ErrorKind::ConnectionReset);
    match fault {
        Some(Fault::Status(status, code)) => {
            let body = format!("<Error><Code>{code}</Code><Message>told to</Message></Error>");
            let answer = Response::builder().status(status).body(body.into());
            return answer.map_err(io::Error::other);
        }
        Some(Fault::Reset) => return Err(cut()),
        Some(Fault::Stall) => return std::future::pending().await,
        _ => {}
    }
    let answer = service.call(request.map(s3s::Body::from)).await;
    let (head, body) = answer.map_err(|_| cut())?.into_parts();
    let body = Body::new(body);
    let body = match fault {
        Some(Fault::LostAnswer) => return Err(cut()),
        Some(Fault::CutBehind(bytes)) => {
            let end = futures::stream::iter([Err(axum::Error::new(cut()))]);
            Body::from_stream(first(body, bytes).chain(end))
        }
        Some(Fault::StallBehind(bytes)) => {
            Body::from_stream(first(body, bytes).chain(futures::stream::pending()))
        }
        _ => body,
    };
    Ok(Response::from_parts(head, body))
}

/// The first bytes of a body, slowly enough that the head goes out before the end comes.
fn first(
    body: Body,
    bytes: usize,
) -> impl futures::Stream<Item = Result<bytes::Bytes, axum::Error>> + Send {
    let mut left = bytes;
    let body = body.into_data_stream().map(move |chunk| {
        let mut chunk = chunk?;
        chunk.truncate(left);
        left -= chunk.len();
        Ok(chunk)
    });
    body.take_while(|chunk: &Result<bytes::Bytes, _>| {
        let more = chunk.as_ref().map_or(true, |chunk| !chunk.is_empty());
        async move {
            tokio::task::yield_now().await;
            more
        }
    })
}

/// Objects in a folder, and what that lacks: folders that are no objects, unfinished uploads, and
/// keys that cannot be deleted.
struct Shared(Arc<Bucket>);

type Answer<T> = S3Result<S3Response<T>>;

#[async_trait]
impl S3 for Shared {
    async fn put_object(&self, request: S3Request<PutObjectInput>) -> Answer<PutObjectOutput> {
        self.0.files.put_object(request).await
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> Answer<GetObjectOutput> {
        if !self.0.is_file(&request.input.key) {
            return Err(s3_error!(NoSuchKey));
        }
        let same = request.input.if_match.clone();
        let got = self.0.files.get_object(request).await?;
        let same = same.as_ref().and_then(|same| same.as_etag().cloned());
        if same.is_some() && same != got.output.e_tag {
            return Err(s3_error!(PreconditionFailed));
        }
        Ok(got)
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> Answer<HeadObjectOutput> {
        if !self.0.is_file(&request.input.key) {
            return Err(s3_error!(NoSuchKey));
        }
        self.0.files.head_object(request).await
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> Answer<ListObjectsV2Output> {
        self.0.files.list_objects_v2(request).await
    }

    async fn delete_objects(
        &self,
        mut request: S3Request<DeleteObjectsInput>,
    ) -> Answer<DeleteObjectsOutput> {
        let objects = &mut request.input.delete.objects;
        if objects.len() > 1000 {
            return Err(s3_error!(MalformedXML));
        }
        let locked = self.0.locked.lock().unwrap().clone();
        let (stay, go) = std::mem::take(objects)
            .into_iter()
            .partition::<Vec<_>, _>(|object| locked.contains(&object.key));
        *objects = go;
        let errors = stay.into_iter().map(|object| Error {
            key: Some(object.key),
            code: Some("AccessDenied".to_owned()),
            ..Error::default()
        });
        let errors: Vec<_> = errors.collect();
        let mut deleted = self.0.files.delete_objects(request).await?;
        deleted.output.errors = (!errors.is_empty()).then_some(errors);
        Ok(deleted)
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> Answer<CreateMultipartUploadOutput> {
        let begun = self.0.files.create_multipart_upload(request).await?;
        let name = (
            begun.output.key.clone().unwrap(),
            begun.output.upload_id.clone().unwrap(),
        );
        let now = SystemTime::try_from(self.0.clock.now()).unwrap();
        self.0.uploads.lock().unwrap().insert(name, now);
        Ok(begun)
    }

    async fn upload_part(&self, request: S3Request<UploadPartInput>) -> Answer<UploadPartOutput> {
        self.0.files.upload_part(request).await
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> Answer<CompleteMultipartUploadOutput> {
        let name = (request.input.key.clone(), request.input.upload_id.clone());
        if !self.0.uploads.lock().unwrap().contains_key(&name) {
            return Err(s3_error!(NoSuchUpload));
        }
        let completed = self.0.files.complete_multipart_upload(request).await?;
        self.0.uploads.lock().unwrap().remove(&name);
        Ok(completed)
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> Answer<AbortMultipartUploadOutput> {
        let name = (request.input.key.clone(), request.input.upload_id.clone());
        if !self.0.uploads.lock().unwrap().contains_key(&name) {
            return Err(s3_error!(NoSuchUpload));
        }
        let aborted = self.0.files.abort_multipart_upload(request).await?;
        self.0.uploads.lock().unwrap().remove(&name);
        Ok(aborted)
    }

    /// Two at a time, so that there are pages.
    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> Answer<ListMultipartUploadsOutput> {
        let input = request.input;
        let prefix = input.prefix.unwrap_or_default();
        let behind = (
            input.key_marker.unwrap_or_default(),
            input.upload_id_marker.unwrap_or_default(),
        );
        let uploads = self.0.uploads.lock().unwrap().clone();
        let mut left =
            (uploads.into_iter()).filter(|(name, _)| *name > behind && name.0.starts_with(&prefix));
        let page: Vec<_> = left.by_ref().take(2).collect();
        let last = page.last().map(|(name, _)| name.clone());
        let (next_key_marker, next_upload_id_marker) = last.unzip();
        let page = page.into_iter().map(|((key, id), begun)| MultipartUpload {
            key: Some(key),
            upload_id: Some(id),
            initiated: Some(begun.into()),
            ..MultipartUpload::default()
        });
        Ok(S3Response::new(ListMultipartUploadsOutput {
            uploads: Some(page.collect()),
            is_truncated: Some(left.next().is_some()),
            next_key_marker,
            next_upload_id_marker,
            ..ListMultipartUploadsOutput::default()
        }))
    }
}
