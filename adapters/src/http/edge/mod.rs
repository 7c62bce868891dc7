//! The edge: what happens to a connection before a request reaches the router.
//!
//! | file | what it holds |
//! |---|---|
//! | `serve` | the listener, and what becomes of a connection |
//! | `connections` | how many there may be; the idle ones give way |
//! | `tls` | certificates, read anew when they change |
//! | `stream` | a connection's bytes, checked and timed |
//! | `framing` | where a request ends and the next begins, strictly |
//! | `pace` | how slow the other side may be |
//! | `forwarded` | whom a trusted proxy speaks for |

mod connections;
mod forwarded;
mod framing;
mod pace;
mod serve;
mod stream;
mod tls;

pub use forwarded::{ForwardedBy, Proxies};
pub use framing::{Framing, Malformed};
pub use pace::Patience;
pub use serve::{Edge, ServeLimits, serve};
pub use tls::{Reload, Tls, TlsError, TlsFiles};
