use std::time::Duration;

/// The limits of a listener.
#[derive(Clone, Debug)]
pub struct ServerLimits {
    /// The most connections at once; more wait in the kernel's queue.
    pub connections: usize,
    /// The pause after a failed accept.
    pub accept_pause: Duration,
    /// The longest TLS handshake.
    pub handshake: Duration,
    /// The longest time from the first byte of an HTTP/1 request's head to its last;
    /// the longest wait for the answer to an HTTP/2 ping.
    pub head: Duration,
    /// How long a connection may stay open without a request.
    pub idle: Duration,
    /// How long a client may take nothing of what is sent to it.
    pub write_stall: Duration,
    /// How long connections may go on after the order to stop.
    pub drain: Duration,
    /// The most bytes of an HTTP/1 head. At least 8,192.
    pub head_buffer: usize,
    /// The most HTTP/2 streams of one connection at once.
    pub streams: u32,
    /// The most HTTP/2 streams that a client may reset before they are served
    /// (RUSTSEC-2023-0034, RUSTSEC-2024-0003).
    pub pending_resets: usize,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            accept_pause: Duration::from_millis(100),
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(30),
            idle: Duration::from_secs(75),
            write_stall: Duration::from_secs(60),
            drain: Duration::from_secs(20),
            head_buffer: 64 * 1024,
            streams: 100,
            pending_resets: 20,
        }
    }
}
