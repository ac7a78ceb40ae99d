//! Reads keys and confirmations from standard input or a terminal.
//!
//! The command accepts no key as an argument, because other users and the shell's history can see
//! arguments.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use zeroize::Zeroizing;

use crate::Failure;

/// Reads one key, as a line of standard input or from a prompt that hides it.
pub(crate) fn read_key() -> Result<Zeroizing<Vec<u8>>, Failure> {
    if io::stdin().is_terminal() {
        return Ok(read_hidden("Key (hidden): ")?);
    }
    let mut key = read_all()?;
    for end in [b'\n', b'\r'] {
        if key.last() == Some(&end) {
            key.pop();
        }
    }
    if key.is_empty() {
        return Err(Failure::usage("no key on standard input: `printf %s \"$KEY\" | apikey …`"));
    }
    if key.contains(&b'\n') {
        return Err(Failure::usage("more than one line on standard input: expected one key"));
    }
    Ok(key)
}

/// Reads all of standard input.
pub(crate) fn read_all() -> Result<Zeroizing<Vec<u8>>, Failure> {
    // The capacity is for the usual input, because a vector that grows leaves keys in freed memory.
    let mut text = Zeroizing::new(Vec::with_capacity(1 << 16));
    io::stdin().lock().read_to_end(&mut text)?;
    // The byte order mark, which some systems write first, is not part of a client id.
    if text.starts_with("\u{feff}".as_bytes()) {
        text.drain(..3);
    }
    Ok(text)
}

/// Asks for confirmation on a terminal. Without a terminal, the command needs `--yes`.
pub(crate) fn confirm(is_confirmed: bool, question: &str) -> Result<(), Failure> {
    if is_confirmed {
        return Ok(());
    }
    if !can_ask() {
        return Err(Failure::usage(
            "cannot ask for confirmation without a terminal: add --yes to confirm",
        ));
    }
    write!(io::stderr(), "{question} [y/N] ")?;
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::rejected("declined", "nothing was changed")),
    }
}

/// Returns whether a person can read a question and answer it.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Reads a line without showing it.
///
/// This reads Ctrl-C as a byte too. If the system handled it, the process would end and leave a
/// terminal that shows no input.
#[cfg(unix)]
fn read_hidden(question: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

    struct Restore(Termios);

    impl Drop for Restore {
        fn drop(&mut self) {
            _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
            _ = writeln!(io::stderr());
        }
    }

    const MAX_LEN: usize = 4096;

    let before = tcgetattr(io::stdin())?;
    let mut silent = before.clone();
    silent.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
    let restore = Restore(before);
    tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
    write!(io::stderr(), "{question}")?;
    io::stderr().flush()?;

    let mut key = Zeroizing::new(Vec::with_capacity(MAX_LEN));
    // This reads from the file descriptor, because the standard library's buffer would keep the key.
    let mut typed =
        std::fs::File::from(std::os::fd::AsFd::as_fd(&io::stdin()).try_clone_to_owned()?);
    let (mut byte, mut is_too_long) = ([0], false);
    while typed.read(&mut byte)? > 0 {
        match byte[0] {
            b'\n' | b'\r' => break,
            // Ctrl-C, Ctrl-\, and Ctrl-D on an empty line.
            0x03 | 0x1C => return Err(io::ErrorKind::Interrupted.into()),
            0x04 if key.is_empty() => return Err(io::ErrorKind::Interrupted.into()),
            0x04 => break,
            // Backspace and Ctrl-U.
            0x7F | 0x08 => drop(key.pop()),
            0x15 => key.clear(),
            byte if key.len() < MAX_LEN => key.push(byte),
            // This reads the rest of the line too, because the shell would run it.
            _ => is_too_long = true,
        }
    }
    drop(restore);
    if is_too_long {
        return Err(io::Error::other("the input is too long for a key"));
    }
    Ok(key)
}

#[cfg(not(unix))]
fn read_hidden(_: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    Err(io::Error::other("no prompt on this system: write the key to standard input"))
}
