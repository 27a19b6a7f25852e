//! Device authorization (RFC 8628).

use std::time::Duration;

use super::model::{Authority, Decision, DeviceAuthorization, DeviceState, IssuedTokens, Refusal};
use crate::sandbox::{behavior::Behavior, clock::Moment, scope::Scopes};

/// The codes of a new device authorization.
pub(in crate::sandbox) struct DeviceCodes {
    pub(in crate::sandbox) device_code: String,
    pub(in crate::sandbox) user_code: String,
}

impl Authority {
    /// Starts a device authorization of an authenticated client.
    pub(in crate::sandbox) fn start_device(
        &mut self,
        client_id: &str,
        requested: Option<Scopes>,
        behavior: &Behavior,
        now: Moment,
    ) -> Result<DeviceCodes, Refusal> {
        let allowed = self.client(client_id).map(|client| client.scopes.clone());
        let allowed = allowed.unwrap_or_default();
        let scopes = requested.unwrap_or_else(|| allowed.clone());
        if !allowed.allows_all(&scopes) {
            let description = "the client may not request this scope";
            return Err(Refusal::new("invalid_scope", description));
        }
        self.devices
            .retain(|_, device| now < device.expires_at.saturating_add(RETENTION));
        let codes = DeviceCodes {
            device_code: self.random_secret("device"),
            user_code: self.random_user_code(),
        };
        let device = DeviceAuthorization {
            client_id: client_id.to_owned(),
            user_code: codes.user_code.clone(),
            scopes,
            expires_at: now.saturating_add(behavior.device_code_lifetime),
            interval: behavior.device_interval,
            next_poll_at: now.saturating_add(behavior.device_interval),
            state: DeviceState::Pending,
        };
        self.devices.insert(codes.device_code.clone(), device);
        Ok(codes)
    }

    /// The client and the scopes of a device authorization that waits for its user. Case and
    /// punctuation of the user code have no meaning (RFC 8628, section 6.1).
    pub(in crate::sandbox) fn pending_device(
        &self,
        user_code: &str,
        now: Moment,
    ) -> Option<(String, Scopes)> {
        let mut devices = self.devices.values();
        let device = devices.find(|device| device.awaits(user_code, now))?;
        Some((device.client_id.clone(), device.scopes.clone()))
    }

    /// Records the decision of the user. Returns the client and the scopes, or `None` if no device
    /// authorization with this code waits for a decision.
    pub(in crate::sandbox) fn decide_device(
        &mut self,
        user_code: &str,
        decision: Decision,
        now: Moment,
    ) -> Option<(String, Scopes)> {
        let mut devices = self.devices.values_mut();
        let device = devices.find(|device| device.awaits(user_code, now))?;
        device.state = DeviceState::Decided(decision);
        Some((device.client_id.clone(), device.scopes.clone()))
    }

    /// Issues tokens for a device code, once its user has allowed it.
    pub(in crate::sandbox) fn poll_device(
        &mut self,
        device_code: &str,
        client_id: &str,
        behavior: &Behavior,
        now: Moment,
    ) -> Result<IssuedTokens, Refusal> {
        let Some(device) = self.devices.get_mut(device_code) else {
            return Err(Refusal::invalid_grant("the device code is unknown"));
        };
        if device.client_id != client_id {
            return Err(Refusal::invalid_grant(
                "the device code was issued to another client",
            ));
        }
        if device.state == DeviceState::Used {
            return Err(Refusal::invalid_grant("the device code was already used"));
        }
        if now >= device.expires_at {
            return Err(Refusal::new("expired_token", "the device code has expired"));
        }
        let is_early = now < device.next_poll_at;
        if is_early {
            device.interval = device.interval.saturating_add(SLOW_DOWN);
        }
        device.next_poll_at = now.saturating_add(device.interval);
        if is_early {
            return Err(Refusal::new("slow_down", "the device polls too often"));
        }
        match device.state {
            DeviceState::Pending | DeviceState::Used => {
                return Err(Refusal::new(
                    "authorization_pending",
                    "the user has not decided yet",
                ));
            }
            DeviceState::Decided(Decision::Deny) => {
                return Err(Refusal::new("access_denied", "the user denied consent"));
            }
            DeviceState::Decided(Decision::Allow) => device.state = DeviceState::Used,
        }
        let scopes = device.scopes.clone();
        let grant = self.create_grant(client_id.to_owned(), None, scopes.clone(), behavior, now);
        Ok(self.issue_first_tokens(grant, scopes, behavior, now))
    }
}

impl DeviceAuthorization {
    fn awaits(&self, user_code: &str, now: Moment) -> bool {
        self.state == DeviceState::Pending
            && now < self.expires_at
            && letters(&self.user_code).eq(letters(user_code))
    }
}

fn letters(code: &str) -> impl Iterator<Item = char> {
    code.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_uppercase())
}

/// How much longer the interval is after a poll that is too early (RFC 8628, section 3.5).
const SLOW_DOWN: Duration = Duration::from_secs(5);

/// How long an expired device code stays known.
const RETENTION: Duration = Duration::from_secs(60 * 60);
