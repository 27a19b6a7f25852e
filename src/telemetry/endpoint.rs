//! Events and metrics of a token endpoint, which serves all tenants.

use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use super::{
    EndpointListener,
    causes::Causes,
    event::{Level, event, event_at},
    metric::{self, CIRCUIT_OPEN, CLOCK_SKEW},
    url::without_query,
};
use crate::error::Error;

/// Reports the circuit breaker of one token endpoint, and calls the listener.
#[derive(Default)]
pub(crate) struct EndpointTelemetry {
    /// The URL of the endpoint, without its query.
    endpoint: OnceLock<String>,
    listener: Mutex<Option<Arc<dyn EndpointListener>>>,
    outage: Mutex<Outage>,
    notices: Mutex<Notices>,
}

/// The reports since the circuit breaker last closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Outage {
    is_reported: bool,
    is_reported_for_one: bool,
    is_client_rejected: bool,
}

impl Outage {
    /// The circuit breaker has opened, perhaps after a probe has failed. Returns whether that was
    /// not reported yet. A failure of all grants is news after that of one.
    fn opened(&mut self, is_client_rejected: bool, is_for_one: bool) -> bool {
        let reported = if is_client_rejected {
            &mut self.is_client_rejected
        } else if is_for_one && !self.is_reported {
            &mut self.is_reported_for_one
        } else {
            &mut self.is_reported
        };
        !std::mem::replace(reported, true)
    }
}

impl EndpointTelemetry {
    /// Sets the URL of the endpoint. The first client of a gate sets it.
    pub(crate) fn set_endpoint(&self, url: &str) {
        let _ = self.endpoint.set(without_query(url));
    }

    pub(crate) fn set_listener(&self, listener: Arc<dyn EndpointListener>) {
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(listener);
    }

    /// `is_for_one` says whether the circuit breaker is open for a single grant.
    pub(crate) fn circuit_opened(&self, duration: Duration, last_error: &Error, is_for_one: bool) {
        metric::set(CIRCUIT_OPEN, &[], None, 1.0);
        let is_client_rejected = last_error.is_invalid_client();
        let is_news = self.outage().opened(is_client_rejected, is_for_one);
        let endpoint = self.endpoint.get().map(String::as_str);
        if is_news && is_client_rejected {
            event!(
                error,
                "endpoint.client_rejected",
                endpoint,
                kind = last_error.kind().as_str(),
                provider_code = last_error.provider_code(),
                provider_message = last_error.provider_message(),
                pause_seconds = duration.as_secs(),
                error = Causes::of_all(last_error).to_string().as_str(),
                "the provider rejects the client id or secret, so no customer's token can be \
                 refreshed, and customers fail as their tokens expire; compare both with the \
                 provider's console now, and replace the one that is wrong: no customer has to \
                 connect again"
            );
        } else {
            event_at!(
                if is_news { Level::Warn } else { Level::Debug },
                "endpoint.circuit_opened",
                endpoint,
                kind = last_error.kind().as_str(),
                pause_seconds = duration.as_secs(),
                error = Causes::of_all(last_error).to_string().as_str(),
                "the provider's token endpoint fails, so token requests pause and then start again by \
                 themselves; customers fail as their tokens expire"
            );
        }
        if is_news {
            let endpoint = endpoint.unwrap_or_default();
            self.call_listener(|listener| {
                if is_client_rejected {
                    listener.client_rejected(endpoint, last_error);
                } else {
                    listener.circuit_opened(endpoint, last_error, duration);
                }
            });
        }
    }

    pub(crate) fn circuit_closed(&self) {
        metric::set(CIRCUIT_OPEN, &[], None, 0.0);
        *self.outage() = Outage::default();
        let endpoint = self.endpoint.get().map(String::as_str);
        event!(
            info,
            "endpoint.circuit_closed",
            endpoint,
            "the provider's token endpoint works again"
        );
        self.call_listener(|listener| listener.circuit_closed(endpoint.unwrap_or_default()));
    }

    /// If the endpoint rejects the new secret too, that is reported again.
    pub(crate) fn secret_replaced(&self) {
        self.outage().is_client_rejected = false;
    }

    /// Reports what is odd about a token response: each oddity once, and later at debug level.
    pub(crate) fn notice(&self, notice: &ResponseNotice) {
        let notices = self.notices.lock();
        let is_news = notices.unwrap_or_else(PoisonError::into_inner).add(notice);
        let level = if is_news { Level::Warn } else { Level::Debug };
        let endpoint = self.endpoint.get().map(String::as_str);
        match notice {
            ResponseNotice::ClockSkew { size, is_large } => {
                metric::set(CLOCK_SKEW, &[], None, size.as_secs_f64());
                if *is_large {
                    event_at!(
                        level,
                        "endpoint.clock_skewed",
                        endpoint,
                        skew_seconds = size.as_secs(),
                        "the clocks of the token endpoint and of this machine differ; correct this \
                         machine's clock, unless it is right: a token counts as expired by \
                         whichever clock says so first"
                    );
                }
            }
            ResponseNotice::LifetimeAssumed(lifetime) => event_at!(
                level,
                "endpoint.lifetime_assumed",
                endpoint,
                lifetime_seconds = lifetime.as_secs(),
                "the token response contains no usable lifetime; the provider's usual lifetime is \
                 assumed"
            ),
            ResponseNotice::LifetimeUnknown => event!(
                debug,
                "endpoint.lifetime_unknown",
                endpoint,
                "the token response contains no usable lifetime; the token is used until the API \
                 rejects it"
            ),
            ResponseNotice::ValueDropped { name, reason } => event_at!(
                level,
                "endpoint.value_dropped",
                endpoint,
                value = name,
                reason,
                "a value of the token response is not kept with the grant; an earlier one stays"
            ),
        }
    }

    fn outage(&self) -> MutexGuard<'_, Outage> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A panic in the listener must not end the task that calls it.
    fn call_listener(&self, call: impl FnOnce(&dyn EndpointListener)) {
        let listener = self.listener.lock();
        let listener = listener.unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(listener) = listener {
            let _ = catch_unwind(AssertUnwindSafe(|| call(&*listener)));
        }
    }
}

/// Something odd about a token response that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ResponseNotice {
    /// The difference of the clocks, by the `Date` of the response.
    ClockSkew {
        size: Duration,
        is_large: bool,
    },
    LifetimeAssumed(Duration),
    LifetimeUnknown,
    /// A value that the provider's data name is not kept. The name comes from these data.
    ValueDropped {
        name: String,
        reason: &'static str,
    },
}

/// The oddities that were reported.
#[derive(Debug, Default)]
struct Notices {
    is_skewed: bool,
    is_lifetime_assumed: bool,
    dropped: HashSet<(String, &'static str)>,
}

impl Notices {
    /// Whether this was not reported yet. A clock that was corrected and is wrong again is news.
    fn add(&mut self, notice: &ResponseNotice) -> bool {
        match notice {
            ResponseNotice::ClockSkew { is_large, .. } => {
                !std::mem::replace(&mut self.is_skewed, *is_large) && *is_large
            }
            ResponseNotice::LifetimeAssumed(_) => {
                !std::mem::replace(&mut self.is_lifetime_assumed, true)
            }
            ResponseNotice::LifetimeUnknown => false,
            // The provider's data bound their number.
            ResponseNotice::ValueDropped { name, reason } => {
                self.dropped.insert((name.clone(), reason))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trouble_is_reported_once_until_the_circuit_closes() {
        let mut outage = Outage::default();
        let reports: Vec<_> = [false, false, true, true, false]
            .into_iter()
            .map(|is_client_rejected| outage.opened(is_client_rejected, false))
            .collect();
        assert_eq!(reports, [true, false, true, false, false]);
    }

    #[test]
    fn outage_is_reported_after_the_trouble_of_one_grant() {
        let mut outage = Outage::default();
        let reports: Vec<_> = [true, true, false, true, false]
            .into_iter()
            .map(|is_for_one| outage.opened(false, is_for_one))
            .collect();
        assert_eq!(reports, [true, false, true, false, false]);
    }

    #[test]
    fn each_oddity_is_reported_once_and_a_skew_again_after_it_was_gone() {
        let skew = |is_large| ResponseNotice::ClockSkew {
            size: Duration::from_secs(40),
            is_large,
        };
        let dropped = |name: &str| ResponseNotice::ValueDropped {
            name: name.to_owned(),
            reason: "pattern",
        };
        let assumed = ResponseNotice::LifetimeAssumed(Duration::from_secs(60));
        let mut notices = Notices::default();
        for (notice, is_news) in [
            (skew(false), false),
            (skew(true), true),
            (skew(true), false),
            (skew(false), false),
            (skew(true), true),
            (assumed.clone(), true),
            (assumed, false),
            (ResponseNotice::LifetimeUnknown, false),
            (dropped("a"), true),
            (dropped("b"), true),
            (dropped("a"), false),
        ] {
            assert_eq!(notices.add(&notice), is_news, "{notice:?}");
        }
    }
}
