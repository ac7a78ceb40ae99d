//! A terminal with nobody before it but the test.

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

use super::{Folder, minted_keys};

/// What takes longer than this has failed.
const LONGEST: Duration = Duration::from_secs(30);

/// The command, on a terminal of its own.
pub(crate) struct Terminal<'f> {
    folder: &'f Folder,
    child: Child,
    keyboard: File,
    /// The side that the command sees, kept to look at how it is set.
    line: OwnedFd,
    before: LocalModes,
    screen: Receiver<Vec<u8>>,
    shown: Vec<u8>,
    makes_a_key: bool,
}

/// How the command has ended.
#[derive(Debug)]
pub(crate) enum Ended {
    Code(i32),
    Signal(i32),
}

impl<'f> Terminal<'f> {
    pub(super) fn start(folder: &'f Folder, mut command: Command, makes_a_key: bool) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        // Who inherits it keeps the terminal from being hung up.
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
            // Linux ends with an error once nobody has the other side.
            while let Ok(read @ 1..) = source.read(&mut buffer) {
                _ = to_screen.send(buffer[..read].to_vec());
            }
        });
        Self { folder, child, keyboard, line, before, screen, shown: Vec::new(), makes_a_key }
    }

    /// Waits until this is shown.
    #[track_caller]
    pub(crate) fn shows(mut self, text: &str) -> Self {
        let deadline = Instant::now() + LONGEST;
        while !self.text().contains(text) {
            match self.screen.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(shown) => self.shown.extend(shown),
                Err(_) => panic!("{text:?} was never shown: {:?}", self.text()),
            }
        }
        self
    }

    /// Types, once it has been asked for something.
    pub(crate) fn types(mut self, text: &str) -> Self {
        self.keyboard.write_all(text.as_bytes()).unwrap();
        self
    }

    /// Types what nobody is to see.
    pub(crate) fn types_secretly(self, text: &str) -> Self {
        let secret = text.trim();
        if secret.len() > 5 {
            self.folder.keep_secret(secret);
        }
        self.types(text)
    }

    /// Ends it as Ctrl-C does where the terminal sees to it. Whoever runs these tests in the background
    /// of a shell has them ignore that, and all that they start.
    pub(crate) fn interrupt(self) -> Self {
        let is_ignored =
            Command::new("sh").args(["-c", "kill -s INT $$"]).status().unwrap().success();
        let signal = if is_ignored { Signal::TERM } else { Signal::INT };
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self
    }

    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> String {
        match self.end() {
            (Ended::Code(ended), shown) if ended == code => shown,
            other => panic!("{other:?}"),
        }
    }

    /// How it ends, and all that was shown. The terminal has to be as it was before.
    pub(crate) fn end(mut self) -> (Ended, String) {
        let status = self.wait();
        assert_eq!(tcgetattr(&self.line).unwrap().local_modes, self.before, "{:?}", self.text());
        drop(self.line);
        loop {
            match self.screen.recv_timeout(LONGEST) {
                Ok(shown) => self.shown.extend(shown),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("somebody else has the terminal"),
            }
        }
        let shown = String::from_utf8(self.shown).unwrap().replace("\r\n", "\n");
        let key = match &*minted_keys(&shown) {
            [key] if self.makes_a_key => Some((*key).to_owned()),
            _ => None,
        };
        self.folder.look(&shown, key.as_deref());
        key.iter().for_each(|key| self.folder.keep_secret(key));
        let ended =
            status.signal().map_or_else(|| Ended::Code(status.code().unwrap()), Ended::Signal);
        (ended, shown)
    }

    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + LONGEST;
        loop {
            match self.child.try_wait().unwrap() {
                Some(status) => return status,
                None if Instant::now() > deadline => {
                    self.child.kill().unwrap();
                    panic!("it does not end: {:?}", self.text());
                }
                // Reading meanwhile: a terminal holds few kilobytes that nobody has read.
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
