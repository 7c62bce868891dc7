//! Addresses as far as limits are concerned.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// What counts as one place on the network: an IPv4 address, or the /64 network that an IPv6
/// address is in. Everybody with IPv6 has a whole /64 to choose addresses from (RFC 6177).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Network {
    /// The network of an address.
    pub fn of(address: IpAddr) -> Self {
        Self::within(address, 64)
    }

    /// The site an address is in: with IPv6 a whole /56, which is what a home is given.
    pub fn site(address: IpAddr) -> Self {
        Self::within(address, 56)
    }

    fn within(address: IpAddr, bits: u32) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(IpAddr::V4(address)),
            IpAddr::V6(address) => {
                let rest = 128 - bits;
                let prefix = address.to_bits() >> rest << rest;
                Self(IpAddr::V6(Ipv6Addr::from_bits(prefix)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_changes_addresses_within_their_network_is_the_same() {
        let of = |text: &str| Network::of(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        let site = |text: &str| Network::site(text.parse().unwrap());
        assert_eq!(site("2001:db8:1:200::1"), site("2001:db8:1:2ff::1"));
        assert_ne!(site("2001:db8:1:200::1"), site("2001:db8:1:300::1"));
    }
}
