//! The rights of roles.

/// The rights of every role. Anyone may listen to notifications.
const READ: &str = "SELECT ON api_keys, api_keys_gone, api_keys_schema";

/// The triggers run with the rights of the writer.
const CHANGE: [&str; 5] = [
    "INSERT, UPDATE, DELETE ON api_keys",
    "INSERT, UPDATE, DELETE ON api_keys_gone",
    "SELECT, USAGE ON SEQUENCE api_keys_version",
    "EXECUTE ON FUNCTION api_keys_tell()",
    "SELECT ON api_key_usage, api_key_last_use, api_key_usage_since",
];

/// Usage never changes a key.
const COUNT: &str = "SELECT, INSERT, UPDATE, DELETE ON api_key_usage, api_key_last_use, api_key_flush, api_key_usage_since";

/// Returns the statements for a role that reads keys and writes usage.
pub(crate) fn service(role: &str) -> String {
    grant(role, &[READ, COUNT])
}

/// Returns the statements for a role that changes keys and reads usage.
pub(crate) fn operator(role: &str) -> String {
    let rights: Vec<_> = std::iter::once(READ).chain(CHANGE).collect();
    grant(role, &rights)
}

fn grant(role: &str, rights: &[&str]) -> String {
    let role = format!("\"{}\"", role.replace('"', "\"\""));
    rights.iter().map(|right| format!("GRANT {right} TO {role};\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_role_is_quoted() {
        assert!(service("a\"; DROP TABLE x; --").contains("TO \"a\"\"; DROP TABLE x; --\";\n"));
    }
}
