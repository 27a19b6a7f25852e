//! Encryption keys, from files and environment variables. They are never on the command line, which
//! other users of the machine see.

use std::{env, error::Error, fs, path::Path};

use tower_oauth2_client::store::{EncryptionKey, EncryptionKeys};
use zeroize::Zeroizing;

use crate::{arguments::Settings, settings::variable};

pub(crate) fn read(settings: &Settings) -> Result<Option<EncryptionKeys>, Box<dyn Error>> {
    let current = match &settings.key_file {
        Some(file) => Some(content(file)?),
        None => env::var("GRANT_KEY").ok().map(Zeroizing::new),
    };
    let Some(current) = current else {
        let needs_key = settings.key_id.is_some()
            || settings.accept_plaintext
            || !settings.decryption_key.is_empty();
        if needs_key {
            return Err("there is no encryption key; name its file with --key-file".into());
        }
        return Ok(None);
    };
    let id = match &settings.key_id {
        Some(id) => Some(id.clone()),
        None => variable("GRANT_KEY_ID")?,
    };
    let id = id.ok_or("the encryption key has no id; name it with --key-id")?;
    let mut keys = EncryptionKeys::new(EncryptionKey::from_base64(id, &current)?);
    for key in &settings.decryption_key {
        let (id, file) = key.split_once('=').ok_or("--decryption-key: use ID=FILE")?;
        let key = EncryptionKey::from_base64(id, &content(Path::new(file))?)?;
        keys = keys.with_decryption_key(key)?;
    }
    Ok(Some(keys))
}

fn content(file: &Path) -> Result<Zeroizing<String>, String> {
    let content = fs::read_to_string(file).map(Zeroizing::new);
    content.map_err(|error| format!("key file {}: {error}", file.display()))
}
