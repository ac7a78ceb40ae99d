//! Key files.

use std::path::{Path, PathBuf};

use tower_api_key::{
    key_file::{KeyFile, KeyFileEvent},
    store::{KeyStore, StoreFuture},
};

use super::engine::{Engine, Opened};
use crate::output;

pub(super) struct KeyFileEngine {
    pub(super) path: PathBuf,
}

impl Engine for KeyFileEngine {
    fn open(&self, create: bool, json: bool) -> StoreFuture<'_, Box<dyn Opened>> {
        Box::pin(async move {
            let options = KeyFile::options().create(create).follow(false);
            let file = options.observe(move |event| warn(event, json)).open(&self.path)?;
            Ok(Box::new(file) as Box<dyn Opened>)
        })
    }

    fn is_database(&self) -> bool {
        false
    }
}

impl Opened for KeyFile {
    fn keys(&self) -> &dyn KeyStore {
        self
    }

    fn file(&self) -> Option<&Path> {
        Some(self.path())
    }
}

fn warn(event: &KeyFileEvent, json: bool) {
    let why = match event {
        KeyFileEvent::WritableByOthers => {
            "another user can write or replace the file: check the owner and mode of the file and of \
             each folder on its path"
        }
        KeyFileEvent::HasOtherNames => {
            "the file has another name (a hard link or a mount): a service that reads it by that name \
             does not see this change"
        }
        _ => return,
    };
    output::warn(why, json);
}
