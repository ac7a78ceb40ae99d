use std::collections::{BTreeMap, HashMap};

use tower_api_key::Client;

/// The largest number of shared clients, because memory must stay bounded.
const MAX_CLIENTS: usize = 65_536;

/// The columns of a client.
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct ClientColumns {
    pub(crate) id: String,
    pub(crate) name: Option<String>,
    pub(crate) scopes: Vec<String>,
    /// A JSON object of strings.
    pub(crate) metadata: Option<String>,
}

/// The clients of previous rows. Most clients have several keys, which share the client in memory.
#[derive(Default)]
pub(crate) struct SharedClients(HashMap<ClientColumns, Client>);

impl SharedClients {
    /// Returns the client of a row. An error is the name of the invalid column.
    pub(crate) fn get(&mut self, columns: ClientColumns) -> Result<Client, &'static str> {
        if let Some(client) = self.0.get(&columns) {
            return Ok(client.clone());
        }
        let client = columns.client()?;
        if self.0.len() < MAX_CLIENTS {
            self.0.insert(columns, client.clone());
        }
        Ok(client)
    }
}

impl ClientColumns {
    fn client(&self) -> Result<Client, &'static str> {
        let mut client = Client::new(&self.id);
        if !self.scopes.is_empty() {
            client = client.with_scopes(&self.scopes);
        }
        if let Some(name) = &self.name {
            client = client.with_name(name);
        }
        if let Some(metadata) = &self.metadata {
            let entries: BTreeMap<String, String> =
                serde_json::from_str(metadata).map_err(|_| "metadata")?;
            for (key, value) in entries {
                client = client.with_metadata(key, value);
            }
        }
        Ok(client)
    }
}
