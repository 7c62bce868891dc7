//! A connection's bytes: checked on their way in, timed on their way out.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connections::Working;
use super::framing::{Framing, Malformed};
use super::pace::{Pace, Patience};

/// The stream of a connection as the HTTP parser sees it.
#[derive(Debug)]
pub struct Guarded<S> {
    stream: S,
    framing: Framing,
    end: bool,
    pace: Pace,
}

impl<S> Guarded<S> {
    /// Guards a stream whose reader has to be so quick.
    pub fn new(stream: S, patience: Patience) -> Self {
        Self {
            stream,
            framing: Framing::default(),
            end: false,
            pace: Pace::new(patience),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.end {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if let Err(Malformed { at }) = self.framing.read(&buffer.filled()[before..]) {
            // A NUL has no place in a head: the parser answers what came before, refuses the
            // rest with 400, and closes.
            buffer.set_filled(before + at);
            buffer.put_slice(b"\0");
            self.end = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Guarded<S> {
    /// What became of a write, unless the other side takes too long.
    fn timed<T>(
        &mut self,
        context: &mut Context<'_>,
        done: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        match done {
            Poll::Pending => {
                ready!(self.pace.waits(context));
                let message = "the answer is not being read";
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)))
            }
            Poll::Ready(done) => {
                self.pace.moved(done.as_ref().map_or(0, bytes));
                Poll::Ready(done)
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.timed(context, done, |&written| written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.timed(context, done, |&written| written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_flush(context);
        self.timed(context, done, |()| 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_shutdown(context);
        self.timed(context, done, |()| 0)
    }
}

/// The body of a request whose sender has to keep going.
#[derive(Debug)]
pub struct Paced<B> {
    body: B,
    pace: Pace,
}

impl<B> Paced<B> {
    /// A body whose sender has to be so quick.
    pub fn new(body: B, patience: Patience) -> Self {
        Self {
            body,
            pace: Pace::new(patience),
        }
    }
}

impl<B> hyper::body::Body for Paced<B>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
    B::Error: Into<axum::BoxError>,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending => {
                ready!(self.pace.waits(context));
                let message = "the body comes too slowly";
                let error = io::Error::new(io::ErrorKind::TimedOut, message);
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(frame) => {
                let data = frame.as_ref().and_then(|frame| frame.as_ref().ok());
                let data = data.and_then(|frame| frame.data_ref());
                self.pace.moved(data.map_or(0, Bytes::len));
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer. As long as it is there, its connection is at work.
#[derive(Debug)]
pub struct Answer {
    body: Body,
    _working: Option<Working>,
}

impl Answer {
    /// The body of an answer on a connection that is at work.
    pub fn new(body: Body, working: Option<Working>) -> Self {
        Self {
            body,
            _working: working,
        }
    }
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
