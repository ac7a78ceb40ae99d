use std::collections::{BTreeMap, HashMap};

use tower_api_key::Client;

/// The largest number of shared clients, because memory must stay bounded.
const MAX_CLIENTS: usize = 65_536;

/// The number of rows before clients are shared, because most reads are of one row.
const UNSHARED_ROWS: usize = 8;

/// The columns of a client.
pub(crate) struct ClientColumns<'a> {
    pub(crate) id: &'a str,
    pub(crate) name: Option<&'a str>,
    /// Separated by single blanks.
    pub(crate) scopes: &'a str,
    /// A JSON object of strings.
    pub(crate) metadata: Option<&'a str>,
}

/// The clients of previous rows, by their columns.
#[derive(Default)]
pub(crate) struct SharedClients {
    clients: HashMap<Box<str>, Client>,
    columns: String,
    rows: usize,
}

impl SharedClients {
    /// Returns the client of a row. An error is the name of the invalid column.
    pub(crate) fn get(&mut self, columns: &ClientColumns<'_>) -> Result<Client, &'static str> {
        if self.rows < UNSHARED_ROWS {
            self.rows += 1;
            return columns.client();
        }
        columns.join(&mut self.columns);
        if let Some(client) = self.clients.get(&*self.columns) {
            return Ok(client.clone());
        }
        let client = columns.client()?;
        if self.clients.len() < MAX_CLIENTS {
            self.clients.insert(self.columns.as_str().into(), client.clone());
        }
        Ok(client)
    }
}

impl ClientColumns<'_> {
    /// Writes the columns as one text, which is another one for each client.
    fn join(&self, text: &mut String) {
        text.clear();
        for column in [Some(self.id), self.name, Some(self.scopes), self.metadata] {
            if let Some(column) = column {
                // The length comes first, because a column can have any character.
                let len = column.len().to_le_bytes().map(char::from);
                text.extend(len);
                text.push_str(column);
            }
            text.push('\0');
        }
    }

    fn client(&self) -> Result<Client, &'static str> {
        let mut client = Client::new(self.id);
        if !self.scopes.is_empty() {
            client = client.with_scopes(self.scopes.split(' '));
        }
        if let Some(name) = self.name {
            client = client.with_name(name);
        }
        if let Some(metadata) = self.metadata {
            let entries: BTreeMap<String, String> =
                serde_json::from_str(metadata).map_err(|_| "metadata")?;
            for (key, value) in entries {
                client = client.with_metadata(key, value);
            }
        }
        Ok(client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_columns_are_different_clients() {
        let all = [
            ("a", None, "", None),
            ("a", Some(""), "", None),
            ("a", None, "b", None),
            ("a", Some("b"), "", None),
            ("a\0", None, "", None),
            ("a", None, "", Some("{}")),
            ("a", Some("{}"), "", None),
            ("a", None, "b", Some("{}")),
            ("a", Some("b"), "{}", None),
            ("a", None, "", Some(r#"{"b":"c"}"#)),
        ];
        let mut shared = SharedClients { rows: UNSHARED_ROWS, ..SharedClients::default() };
        for _ in 0..2 {
            for (id, name, scopes, metadata) in all {
                let columns = ClientColumns { id, name, scopes, metadata };
                let client = shared.get(&columns).unwrap();
                assert_eq!(
                    client,
                    columns.client().unwrap(),
                    "{id} {name:?} {scopes} {metadata:?}"
                );
                assert_eq!((client.id(), client.name()), (id, name));
            }
        }
        assert_eq!(shared.clients.len(), all.len());
    }
}
