//! The password of a user, if the URL has none.

use std::{env, fs, path::Path};

use tokio_postgres::{Config, config::Host};

/// Finds the password in a file of its own, or in the file that `PGPASSFILE` names.
///
/// The files are read for each connection, so that a password can change while the service runs.
pub(crate) fn find(config: &Config, file: Option<&Path>) -> Result<Option<String>, String> {
    if let Some(path) = file {
        let text = read(path)?;
        return Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()));
    }
    if config.get_password().is_some() {
        return Ok(None);
    }
    let Some(path) = env::var_os("PGPASSFILE") else { return Ok(None) };
    let text = read(path.as_ref())?;
    Ok(text.lines().find_map(|line| of_line(line, &wanted(config))))
}

fn read(path: &Path) -> Result<String, String> {
    let shown = path.display().to_string().escape_debug().to_string();
    check_mode(path, &shown)?;
    fs::read_to_string(path)
        .map_err(|error| format!("cannot read the password file {shown}: {error}"))
}

/// Refuses a file that others can read, as the programs of PostgreSQL do.
#[cfg(unix)]
fn check_mode(path: &Path, shown: &str) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt as _;

    let others_can_read = |it: fs::Metadata| it.is_file() && it.permissions().mode() & 0o077 != 0;
    if fs::metadata(path).is_ok_and(others_can_read) {
        return Err(format!(
            "other users can read the password file {shown}. Run `chmod 600` on it"
        ));
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_mode(_: &Path, _: &str) -> Result<(), String> {
    Ok(())
}

/// Returns the host, the port, the database and the user of a connection.
fn wanted(config: &Config) -> [String; 4] {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        #[cfg(unix)]
        Some(Host::Unix(_)) => "localhost".to_owned(),
        None => config.get_hostaddrs().first().map(ToString::to_string).unwrap_or_default(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432).to_string();
    let user = config.get_user().unwrap_or_default().to_owned();
    let database = config.get_dbname().map_or_else(|| user.clone(), str::to_owned);
    [host, port, database, user]
}

/// Returns the password of a line `host:port:database:user:password`. A field `*` fits each value.
fn of_line(line: &str, wanted: &[String; 4]) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let mut fields = vec![String::new()];
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        match char {
            // The last field has no escaped colon that would matter, but an escaped backslash.
            '\\' => fields.last_mut()?.extend(chars.next()),
            ':' if fields.len() < 5 => fields.push(String::new()),
            char => fields.last_mut()?.push(char),
        }
    }
    let password = if fields.len() == 5 { fields.pop()? } else { return None };
    let fits = fields.iter().zip(wanted).all(|(field, wanted)| field == "*" || field == wanted);
    fits.then_some(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_the_same_place_and_user_has_the_password() {
        let config: Config = "postgres://svc@db:6000/keys".parse().unwrap();
        let find = |text: &str| text.lines().find_map(|line| of_line(line, &wanted(&config)));
        assert_eq!(find("db:6000:keys:svc:secret").as_deref(), Some("secret"));
        assert_eq!(find("*:*:*:*:a:b\\:c\\\\d").as_deref(), Some("a:b:c\\d"));
        assert_eq!(
            find("# db:6000:keys:svc:no\nother:6000:keys:svc:no\ndb:*:keys:svc:yes").as_deref(),
            Some("yes")
        );
        for wrong in ["", "db:6000:keys:svc", "db:5432:*:svc:no", "db:6000:keys:root:no", "secret"]
        {
            assert_eq!(find(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_password_file_must_be_private_and_can_end_in_a_line_break() {
        let path = env::temp_dir().join(format!("password-{}", std::process::id()));
        fs::write(&path, "hunter2\n").unwrap();
        let config = Config::new();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            let error = find(&config, Some(&path)).unwrap_err();
            assert!(error.contains("chmod 600") && !error.contains("hunter2"), "{error}");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        assert_eq!(find(&config, Some(&path)).unwrap().as_deref(), Some("hunter2"));
        fs::remove_file(&path).unwrap();
        assert!(find(&config, Some(&path)).unwrap_err().contains("cannot read"));
    }
}
