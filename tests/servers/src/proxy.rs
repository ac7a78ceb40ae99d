use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

/// A TCP proxy that breaks connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// The treatment of all connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Forwards all bytes.
    Pass,
    /// Forwards each part after a delay.
    Slow(Duration),
    /// Keeps connections open and forwards nothing until the next mode.
    Stall,
    /// Closes new connections at once.
    Refuse,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    mode: Mutex<Mode>,
    connections: Mutex<Vec<Arc<Connection>>>,
    has_ended: AtomicBool,
}

#[derive(Debug)]
struct Connection {
    client: TcpStream,
    server: TcpStream,
    /// Whether the client must not notice that the server is gone.
    is_half_open: AtomicBool,
}

impl Proxy {
    /// Starts a proxy in front of a server.
    #[must_use]
    pub fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (mode, connections) = (Mutex::new(Mode::Pass), Mutex::default());
        let shared =
            Arc::new(Shared { target, mode, connections, has_ended: AtomicBool::new(false) });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                if accepting.has_ended.load(SeqCst) {
                    break;
                }
                // A client that is gone already, or a server that is down.
                _ = client.and_then(|client| Shared::connect(&accepting, client));
            }
        });
        Self { address, shared }
    }

    /// Returns the address of the proxy.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the treatment of old and new connections.
    pub fn set(&self, mode: Mode) {
        *self.shared.mode.lock().unwrap_or_else(PoisonError::into_inner) = mode;
    }

    /// Closes all connections.
    pub fn cut(&self) {
        for connection in self.shared.connections().drain(..) {
            _ = connection.client.shutdown(Shutdown::Both);
            _ = connection.server.shutdown(Shutdown::Both);
        }
    }

    /// Closes all connections to the server and leaves those of the clients open, as if a network lost its state.
    pub fn half_open(&self) {
        for connection in self.shared.connections().iter() {
            connection.is_half_open.store(true, SeqCst);
            _ = connection.server.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, SeqCst);
        self.set(Mode::Pass);
        self.cut();
        // It wakes the thread.
        _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn mode(&self) -> Mode {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connections(&self) -> MutexGuard<'_, Vec<Arc<Connection>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(shared: &Arc<Self>, client: TcpStream) -> std::io::Result<()> {
        if shared.mode() == Mode::Refuse {
            return Ok(());
        }
        let server = TcpStream::connect(shared.target)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let connection =
            Arc::new(Connection { client, server, is_half_open: AtomicBool::new(false) });
        shared.connections().push(Arc::clone(&connection));
        for to_server in [true, false] {
            let (shared, connection) = (Arc::clone(shared), Arc::clone(&connection));
            thread::spawn(move || shared.forward(&connection, to_server));
        }
        Ok(())
    }

    fn forward(&self, connection: &Connection, to_server: bool) {
        let (mut from, mut to) = match to_server {
            true => (&connection.client, &connection.server),
            false => (&connection.server, &connection.client),
        };
        let is_lost = || connection.is_half_open.load(SeqCst);
        // Large, because each part costs two switches between threads.
        let mut buffer = vec![0; 256 * 1024];
        while let Ok(len @ 1..) = from.read(&mut buffer) {
            while self.mode() == Mode::Stall && !is_lost() {
                thread::sleep(Duration::from_millis(2));
            }
            if let Mode::Slow(delay) = self.mode() {
                thread::sleep(delay);
            }
            if !is_lost() && to.write_all(&buffer[..len]).is_err() {
                break;
            }
        }
        if !is_lost() {
            _ = to.shutdown(Shutdown::Write);
        }
    }
}
