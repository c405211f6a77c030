//! A wire to PostgreSQL that breaks at one commit: before `COMMIT` reaches the
//! database, or after the database has committed and before its answer comes back.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// On which side of a commit the wire breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeveredAt {
    /// `COMMIT` never arrives: the database rolls back.
    BeforeCommit,
    /// The database has committed; whoever asked for it never hears.
    AfterCommit,
    /// `COMMIT` arrives, and the wire breaks while the database is at it.
    WhileCommitting,
}

/// A TCP proxy in front of a PostgreSQL on loopback. It passes everything on until
/// [`Self::sever`] tells it at which commit to break.
#[derive(Clone, Debug)]
pub struct SeveredWire {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    database: SocketAddr,
    next: Mutex<Option<(SeveredAt, Vec<u8>)>>,
    severed: watch::Sender<usize>,
}

impl SeveredWire {
    /// Starts on a free port, in front of the database of a URL as [`crate::Postgres::fresh_database`] gives it.
    ///
    /// # Panics
    ///
    /// When the URL names no address, or loopback has no free port.
    pub async fn start(database: &str) -> Self {
        let url = url::Url::parse(database).expect("a URL");
        let port = url.port().expect("a throwaway database has a port");
        let database = SocketAddr::from(([127, 0, 0, 1], port));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = Arc::new(State { database, next: Mutex::default(), severed: watch::Sender::new(0) });
        let serving = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let state = Arc::clone(&serving);
                tokio::spawn(async move { state.pass(client).await });
            }
        });
        Self { address, state }
    }

    /// The same database, by this wire. In plain text, so that it can be read here.
    ///
    /// # Panics
    ///
    /// When `database` is no URL.
    pub fn url(&self, database: &str) -> String {
        let mut url = url::Url::parse(database).expect("a URL");
        url.set_port(Some(self.address.port())).expect("a URL with a host");
        url.set_query(Some("sslmode=disable"));
        url.into()
    }

    /// Breaks the connection, once, at the commit of the next transaction in which `marker` is sent.
    pub fn sever(&self, at: SeveredAt, marker: &str) {
        *self.state.next() = Some((at, marker.as_bytes().to_vec()));
    }

    /// How many connections were broken so far.
    pub fn severed(&self) -> usize {
        *self.state.severed.borrow()
    }
}

impl State {
    fn next(&self) -> std::sync::MutexGuard<'_, Option<(SeveredAt, Vec<u8>)>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_next(&self) -> Option<SeveredAt> {
        self.next().take().map(|(at, _)| at)
    }

    /// Both directions of one connection, until either ends. Then both are closed.
    async fn pass(&self, client: TcpStream) {
        let Ok(database) = TcpStream::connect(self.database).await else { return };
        // Messages are small and wait for answers: none waits for more to be said.
        let _ = (client.set_nodelay(true), database.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_database, to_database) = database.into_split();
        let deaf = watch::Sender::new(false);
        tokio::select! {
            () = self.forth(from_client, to_database, &deaf) => {}
            () = self.back(from_database, to_client, deaf.subscribe()) => {}
        }
    }

    /// What the client says, message by message. Ends where the wire breaks before a commit.
    async fn forth(&self, mut client: OwnedReadHalf, mut database: OwnedWriteHalf, deaf: &watch::Sender<bool>) {
        // The first message has no type (PostgreSQL's protocol, "Message Formats").
        let mut type_bytes = 0;
        let mut is_marked = false;
        while let Ok(message) = read_message(&mut client, type_bytes).await {
            type_bytes = 1;
            let says = |words: &[u8]| message.first() == Some(&b'Q') && message.get(5..) == Some(words);
            if says(b"BEGIN\0") {
                is_marked = false;
            }
            is_marked = is_marked || self.has_marker(&message);
            if says(b"COMMIT\0")
                && is_marked
                && let Some(at) = self.take_next()
            {
                match at {
                    SeveredAt::BeforeCommit => {}
                    SeveredAt::AfterCommit => {
                        deaf.send_replace(true);
                        let _ = database.write_all(&message).await;
                        // The other direction sees that it was done.
                        std::future::pending::<()>().await;
                    }
                    SeveredAt::WhileCommitting => {
                        let _ = database.write_all(&message).await;
                    }
                }
                self.severed.send_modify(|severed| *severed += 1);
                return;
            }
            if database.write_all(&message).await.is_err() {
                return;
            }
        }
    }

    fn has_marker(&self, message: &[u8]) -> bool {
        let next = self.next();
        let marker = next.as_ref().map(|(_, marker)| marker.as_slice());
        marker.is_some_and(|marker| message.windows(marker.len()).any(|part| part == marker))
    }

    /// What the database says. Where nothing of it is to be heard, it is waited for that it has committed.
    async fn back(&self, mut database: OwnedReadHalf, mut client: OwnedWriteHalf, deaf: watch::Receiver<bool>) {
        while let Ok(message) = read_message(&mut database, 1).await {
            if !*deaf.borrow() {
                if client.write_all(&message).await.is_err() {
                    return;
                }
            } else if message.first() == Some(&b'C') && message.get(5..) == Some(b"COMMIT\0") {
                self.severed.send_modify(|severed| *severed += 1);
                return;
            }
        }
    }
}

/// One message: its type where it has one, its length, and what it says.
async fn read_message(from: &mut OwnedReadHalf, type_bytes: usize) -> std::io::Result<Vec<u8>> {
    let mut message = vec![0; type_bytes + 4];
    from.read_exact(&mut message).await?;
    let length: [u8; 4] = message[type_bytes..].try_into().expect("four bytes");
    // The length counts itself and not the type.
    let whole = type_bytes + usize::try_from(u32::from_be_bytes(length)).expect("a length");
    message.resize(whole.max(type_bytes + 4), 0);
    from.read_exact(&mut message[type_bytes + 4..]).await?;
    Ok(message)
}
