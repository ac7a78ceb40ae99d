//! Runs the command on a pseudo-terminal.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStringExt as _, fs::OpenOptionsExt as _, process::ExitStatusExt as _},
    },
    process::{Child, Command, ExitStatus},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    io::{FdFlags, fcntl_setfd},
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

use super::{Folder, find_minted_keys};

/// The time after which a test fails.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A run of the command on a terminal.
pub(crate) struct Terminal<'f> {
    folder: &'f Folder,
    child: Child,
    keyboard: File,
    /// The command's side of the terminal, kept to read its settings.
    line: OwnedFd,
    before: LocalModes,
    screen: Receiver<Vec<u8>>,
    shown: Vec<u8>,
    issues_key: bool,
}

/// The way in which the command ended.
#[derive(Debug)]
pub(crate) enum Exit {
    Code(i32),
    Signal(i32),
}

impl<'f> Terminal<'f> {
    pub(super) fn start(folder: &'f Folder, mut command: Command, issues_key: bool) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        // A process that inherits the terminal would keep it open.
        fcntl_setfd(&keyboard, FdFlags::CLOEXEC).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap().into_bytes();
        let line = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OpenptFlags::NOCTTY.bits() as i32)
            .open(std::ffi::OsString::from_vec(name))
            .unwrap();
        tcsetwinsize(&line, Winsize { ws_row: 40, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 })
            .unwrap();
        let line = OwnedFd::from(line);
        let keyboard = File::from(keyboard);

        let before = tcgetattr(&line).unwrap().local_modes;
        assert!(before.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG));
        let end = || line.try_clone().unwrap();
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        drop(command);
        let (to_screen, screen) = channel();
        let mut source = keyboard.try_clone().unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // On Linux, the read fails after every process closed the other side.
            while let Ok(read @ 1..) = source.read(&mut buffer) {
                _ = to_screen.send(buffer[..read].to_vec());
            }
        });
        Self { folder, child, keyboard, line, before, screen, shown: Vec::new(), issues_key }
    }

    /// Waits until the terminal shows a text.
    #[track_caller]
    pub(crate) fn expect(mut self, text: &str) -> Self {
        let deadline = Instant::now() + TIMEOUT;
        while !self.text().contains(text) {
            match self.screen.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(shown) => self.shown.extend(shown),
                Err(_) => panic!("{text:?} was never shown: {:?}", self.text()),
            }
        }
        self
    }

    /// Types a text.
    pub(crate) fn type_text(mut self, text: &str) -> Self {
        self.keyboard.write_all(text.as_bytes()).unwrap();
        self
    }

    /// Types a text and makes it a secret.
    pub(crate) fn type_secret(self, text: &str) -> Self {
        let secret = text.trim();
        if secret.len() > 5 {
            self.folder.keep_secret(secret);
        }
        self.type_text(text)
    }

    /// Sends the signal that Ctrl-C sends.
    ///
    /// If a shell runs these tests in the background, processes ignore that signal, and this sends another.
    pub(crate) fn interrupt(self) -> Self {
        let is_ignored =
            Command::new("sh").args(["-c", "kill -s INT $$"]).status().unwrap().success();
        let signal = if is_ignored { Signal::TERM } else { Signal::INT };
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self
    }

    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> String {
        match self.finish() {
            (Exit::Code(ended), shown) if ended == code => shown,
            other => panic!("{other:?}"),
        }
    }

    /// Waits for the end, and returns everything that the terminal showed.
    ///
    /// This asserts that the terminal has its settings back.
    pub(crate) fn finish(mut self) -> (Exit, String) {
        let status = self.wait();
        assert_eq!(tcgetattr(&self.line).unwrap().local_modes, self.before, "{:?}", self.text());
        drop(self.line);
        loop {
            match self.screen.recv_timeout(TIMEOUT) {
                Ok(shown) => self.shown.extend(shown),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("unprivileged_user else has the terminal"),
            }
        }
        let shown = String::from_utf8(self.shown).unwrap().replace("\r\n", "\n");
        let key = match &*find_minted_keys(&shown) {
            [key] if self.issues_key => Some((*key).to_owned()),
            _ => None,
        };
        self.folder.assert_no_secret(&shown, key.as_deref());
        key.iter().for_each(|key| self.folder.keep_secret(key));
        let ended =
            status.signal().map_or_else(|| Exit::Code(status.code().unwrap()), Exit::Signal);
        (ended, shown)
    }

    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            match self.child.try_wait().unwrap() {
                Some(status) => return status,
                None if Instant::now() > deadline => {
                    self.child.kill().unwrap();
                    panic!("the command does not end: {:?}", self.text());
                }
                // This reads while it waits, because a terminal buffers only a few kilobytes.
                None => {
                    self.shown.extend(
                        self.screen.recv_timeout(Duration::from_millis(2)).unwrap_or_default(),
                    );
                }
            }
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown).into_owned()
    }
}
