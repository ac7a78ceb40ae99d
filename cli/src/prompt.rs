//! What people and other programs hand in: keys and consent. Keys never come as arguments, which
//! other users of a machine and the shell's history can see.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use zeroize::Zeroizing;

use crate::Failure;

/// One key: the line of a pipe, or what somebody types without seeing it.
pub(crate) fn key() -> Result<Zeroizing<Vec<u8>>, Failure> {
    if io::stdin().is_terminal() {
        return Ok(hidden("Key (it is not shown): ")?);
    }
    let mut key = all()?;
    for end in [b'\n', b'\r'] {
        if key.last() == Some(&end) {
            key.pop();
        }
    }
    if key.is_empty() {
        return Err(Failure::usage("no key on standard input: `printf %s \"$KEY\" | apikey …`"));
    }
    if key.contains(&b'\n') {
        return Err(Failure::usage("more than one line on standard input: one key is wanted"));
    }
    Ok(key)
}

/// All of standard input.
pub(crate) fn all() -> Result<Zeroizing<Vec<u8>>, Failure> {
    // With room for what is usual: a vector that grows leaves a part of the keys behind.
    let mut text = Zeroizing::new(Vec::with_capacity(1 << 16));
    io::stdin().lock().read_to_end(&mut text)?;
    // The mark that some systems put before text is no part of a name.
    if text.starts_with("\u{feff}".as_bytes()) {
        text.drain(..3);
    }
    Ok(text)
}

/// Asks on a terminal; elsewhere nobody is there to be asked.
pub(crate) fn consent(is_given: bool, question: &str) -> Result<(), Failure> {
    if is_given {
        return Ok(());
    }
    if !may_ask() {
        return Err(Failure::usage("nobody is here to be asked: add --yes to do it"));
    }
    write!(io::stderr(), "{question} [y/N] ")?;
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::refused("declined", "nothing was changed")),
    }
}

/// Whether a person can read a question and answer it.
pub(crate) fn may_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Reads a line that is not shown. Ctrl-C is read as well, and not left to the system: whoever ends
/// a program so would be left with a terminal that shows nothing.
#[cfg(unix)]
fn hidden(question: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

    struct Restore(Termios);

    impl Drop for Restore {
        fn drop(&mut self) {
            _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
            _ = writeln!(io::stderr());
        }
    }

    const ROOM: usize = 4096;

    let before = tcgetattr(io::stdin())?;
    let mut silent = before.clone();
    silent.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
    let restore = Restore(before);
    tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
    write!(io::stderr(), "{question}")?;
    io::stderr().flush()?;

    let mut key = Zeroizing::new(Vec::with_capacity(ROOM));
    // Not through the standard library's handle, whose buffer would keep it.
    let mut typed =
        std::fs::File::from(std::os::fd::AsFd::as_fd(&io::stdin()).try_clone_to_owned()?);
    let (mut byte, mut is_too_long) = ([0], false);
    while typed.read(&mut byte)? > 0 {
        match byte[0] {
            b'\n' | b'\r' => break,
            // Ctrl-C, Ctrl-\, and Ctrl-D where nothing stands before it
            0x03 | 0x1C => return Err(io::ErrorKind::Interrupted.into()),
            0x04 if key.is_empty() => return Err(io::ErrorKind::Interrupted.into()),
            0x04 => break,
            // Backspace, Ctrl-U
            0x7F | 0x08 => drop(key.pop()),
            0x15 => key.clear(),
            byte if key.len() < ROOM => key.push(byte),
            // The rest of the line is read as well, and not left to the shell.
            _ => is_too_long = true,
        }
    }
    drop(restore);
    if is_too_long {
        return Err(io::Error::other("that is too long to be a key"));
    }
    Ok(key)
}

#[cfg(not(unix))]
fn hidden(_: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    Err(io::Error::other("no prompt on this system: hand the key in on standard input"))
}
