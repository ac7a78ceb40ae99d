use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::limit::Peer;

/// Notices that one peer makes most of all requests, as a proxy does.
///
/// It watches the first peer of each window. If that peer made 90 % of the requests in the window, it dominates.
/// Most windows begin with such a peer. Otherwise a later window notices it. After some windows without such a
/// peer it stops, because threads wait for each other when they count.
#[derive(Default)]
pub(super) struct ProxyWatch {
    /// The watched peer, from the first request on.
    watched: AtomicU64,
    /// The requests of the window in the upper half, and those of the watched peer in the lower half.
    counts: AtomicU64,
    clean_windows: AtomicU32,
    is_done: AtomicBool,
}

/// The requests of a window.
const WINDOW: u64 = 10_000;
const LAST: u64 = WINDOW - 1;
const DOMINATING: u64 = WINDOW / 10 * 9;
/// If so many windows in a row show no proxy, there is none.
const CLEAN_WINDOWS: u32 = 16;
const HALF: u32 = 32;

impl ProxyWatch {
    /// Counts a request, and returns a peer once, if a window shows that this peer dominates.
    ///
    /// Requests that arrive while a window ends can count for either window.
    pub(super) fn dominating(&self, peer: Peer) -> Option<Peer> {
        if self.is_done.load(Relaxed) {
            return None;
        }
        let watched = self.watched.load(Relaxed);
        let is_watched = watched == peer.to_bits();
        let before = self.counts.fetch_add(1 << HALF | u64::from(is_watched), Relaxed);
        match before >> HALF {
            0 => self.watched.store(peer.to_bits(), Relaxed),
            // This request alone ends the window.
            LAST => {
                let of_watched = self.counts.swap(0, Relaxed) & u64::from(u32::MAX);
                // The first request of the window is not counted yet.
                let dominates = of_watched + 1 >= DOMINATING;
                if !dominates && self.clean_windows.fetch_add(1, Relaxed) + 1 >= CLEAN_WINDOWS {
                    self.is_done.store(true, Relaxed);
                }
                let is_first = dominates && !self.is_done.swap(true, Relaxed);
                return is_first.then(|| Peer::from_bits(watched));
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, thread};

    use super::*;

    fn peer(number: u32) -> Peer {
        Ipv4Addr::from_bits(number).into()
    }

    /// Sends requests, of which some in ten are of other peers, and returns the ones that noticed a proxy.
    fn dominated(others_in_ten: u64, requests: u64) -> Vec<u64> {
        let watch = ProxyWatch::default();
        let is_other = |at: u64| at % 10 + others_in_ten >= 10;
        (0..requests)
            .filter(|at| {
                let noticed = watch.dominating(peer(if is_other(*at) { *at as u32 } else { 0 }));
                assert!(noticed.is_none_or(|it| it == peer(0)));
                noticed.is_some()
            })
            .collect()
    }

    #[test]
    fn one_peer_with_nine_of_ten_requests_is_noticed_once() {
        assert_eq!(dominated(1, 100_000), [WINDOW - 1]);
        assert_eq!(dominated(0, 100_000), [WINDOW - 1]);
    }

    #[test]
    fn one_peer_with_eight_of_ten_requests_is_not_noticed() {
        assert_eq!(dominated(2, 100_000), [0; 0]);
        assert_eq!(dominated(10, 100_000), [0; 0]);
        assert_eq!(dominated(0, WINDOW - 1), [0; 0]);
    }

    #[test]
    fn after_sixteen_windows_without_a_proxy_it_counts_no_more() {
        for (clean, notices) in [(15, true), (16, false)] {
            let watch = ProxyWatch::default();
            for at in 0..clean * WINDOW {
                assert_eq!(watch.dominating(peer(at as u32)), None);
            }
            let noticed = (0..2 * WINDOW).any(|_| watch.dominating(peer(0)).is_some());
            assert_eq!((noticed, watch.is_done.load(Relaxed)), (notices, true), "{clean}");
            let before = watch.counts.load(Relaxed);
            assert_eq!((watch.dominating(peer(0)), watch.counts.load(Relaxed)), (None, before));
        }
    }

    #[test]
    fn threads_notice_once() {
        let watch = ProxyWatch::default();
        let noticed: usize = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        (0..20_000).filter(|_| watch.dominating(peer(0)).is_some()).count()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(noticed, 1);
    }
}
