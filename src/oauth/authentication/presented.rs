//! The credentials that the attempts of one request have sent.

use std::sync::{Mutex, PoisonError};

use super::ClientCredentials;
use crate::oauth::{assertion::CLIENT_ASSERTION_TYPE, scrub::Secrets};

/// The credentials that were sent, because the provider may repeat them in its response.
#[derive(Default)]
pub(in crate::oauth) struct Presented(Mutex<Vec<ClientCredentials>>);

impl Presented {
    pub(in crate::oauth) fn add(&self, credentials: ClientCredentials) {
        let mut presented = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        presented.push(credentials);
    }

    /// Adds them to the secrets of the request.
    pub(in crate::oauth) fn add_to(&self, secrets: &mut Secrets, client_id: &str) {
        let presented = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for credentials in &*presented {
            if let Some(secret) = &credentials.client_secret {
                secrets.add_credentials(client_id, secret.expose());
            }
            let parameters = credentials.parameters.iter().map(|(_, value)| value);
            let headers = credentials.headers.iter().map(|(_, value)| value);
            for value in parameters.chain(headers) {
                if ![client_id, CLIENT_ASSERTION_TYPE].contains(&value.as_str()) {
                    secrets.add(value);
                }
            }
        }
    }
}
