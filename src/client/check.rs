use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory as _};

use super::Client;
use crate::{
    error::{KeyringError, KeyringErrorKind},
    key::KeyFormat,
};

/// The longest id of a new client, in characters.
const MAX_ID_LEN: usize = 128;

/// The longest name of a new client, in characters.
const MAX_NAME_LEN: usize = 256;

/// The most metadata of a new client, and its longest keys and values in characters.
const MAX_METADATA: usize = 16;
const MAX_METADATA_KEY_LEN: usize = 64;
const MAX_METADATA_VALUE_LEN: usize = 256;

impl Client {
    /// Checks whether logs can show the id, and whether each scope can match.
    pub(crate) fn check(&self) -> Result<(), KeyringError> {
        let is_key = KeyFormat::of(self.id().as_bytes()).is_some();
        if is_key || self.id().trim().is_empty() || self.id().chars().any(char::is_control) {
            return Err(KeyringError::new(KeyringErrorKind::ClientId));
        }
        match self.scopes().position(|scope| !is_scope(scope)) {
            Some(at) => Err(KeyringError::new(KeyringErrorKind::Scope).at(at)),
            None => Ok(()),
        }
    }

    /// Checks the parts of a client that are new in a keyring.
    pub(crate) fn check_new(&self, before: Option<&Self>) -> Result<(), KeyringError> {
        use KeyringErrorKind::{ClientIdTooLong, ClientNameTooLong, HiddenInId, HiddenInName};

        self.check()?;
        if before.is_none_or(|before| before.id() != self.id()) {
            check_text(self.id(), MAX_ID_LEN, ClientIdTooLong, HiddenInId)?;
        }
        if before.is_none_or(|before| before.name() != self.name()) {
            let name = self.name().unwrap_or_default();
            check_text(name, MAX_NAME_LEN, ClientNameTooLong, HiddenInName)?;
        }
        if before.is_none_or(|before| !before.metadata_entries().eq(self.metadata_entries())) {
            self.check_metadata()?;
        }
        Ok(())
    }

    fn check_metadata(&self) -> Result<(), KeyringError> {
        use KeyringErrorKind::{MetadataKey, MetadataTooLong, TooMuchMetadata};

        for (at, (key, value)) in self.metadata_entries().enumerate() {
            let wrong = |kind| Err(KeyringError::new(kind).at(at));
            if at == MAX_METADATA {
                return Err(TooMuchMetadata.into());
            }
            if is_longer(value, MAX_METADATA_VALUE_LEN) {
                return wrong(MetadataTooLong);
            }
            let is_plain = check_text(key, MAX_METADATA_KEY_LEN, MetadataKey, MetadataKey).is_ok();
            if key.is_empty() || !is_plain {
                return wrong(MetadataKey);
            }
        }
        Ok(())
    }
}

/// A scope-token of RFC 6749 §3.3.
pub(crate) fn is_scope(scope: &str) -> bool {
    !scope.is_empty() && scope.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E))
}

fn is_longer(text: &str, max_len: usize) -> bool {
    text.chars().nth(max_len).is_some()
}

fn check_text(
    text: &str,
    max_len: usize,
    too_long: KeyringErrorKind,
    hidden: KeyringErrorKind,
) -> Result<(), KeyringError> {
    if is_longer(text, max_len) {
        return Err(too_long.into());
    }
    let at_edge = [(0, text.starts_with(' ')), (text.len().saturating_sub(1), text.ends_with(' '))];
    let at_edge = at_edge.into_iter().find(|(_, is_blank)| *is_blank).map(|(at, _)| at);
    match at_edge.or_else(|| text.find(is_hidden)) {
        Some(at) => Err(KeyringError::new(hidden).at(at)),
        None => Ok(()),
    }
}

/// Returns whether a character cannot be seen, or looks like a blank.
///
/// These are the controls, marks of format, separators and unassigned characters. Unicode has letters,
/// marks and symbols without a shape as well.
pub(crate) fn is_hidden(char: char) -> bool {
    use GeneralCategoryGroup::{Other, Separator};

    char != ' ' && matches!(char.general_category_group(), Other | Separator)
        || matches!(
            char,
            // Default_Ignorable_Code_Point
            '\u{34F}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}'
                | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FFA0}' | '\u{E0100}'..='\u{E01EF}'
                // An empty pattern of Braille, a filler, a note without a head
                | '\u{2800}' | '\u{16FE4}' | '\u{1D159}'
        )
}
