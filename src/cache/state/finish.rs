//! The end of a job: removes it from the state, and updates the backoff.

use super::{
    CacheState, event::Event, job::Done, moment::Moment, reason::Reason, reported::Reported,
};
use crate::error::{Error, ErrorKind};

impl CacheState {
    /// Records the end of a job. Its waiters are woken afterwards.
    pub(crate) fn finish(&mut self, done: &Done, m: Moment<'_>) {
        let Done {
            job,
            outcome,
            has_sent,
            is_deferred,
            is_interrupted,
        } = done;
        self.work -= 1;
        if job.is_store_check() {
            // A store check is no evidence about the token endpoint.
            self.is_checking_store = false;
            self.store_checked_at = Some(m.now);
            return;
        }
        if self.is_current(job.conditions) {
            self.refresh = None;
            let epoch = job.conditions.secret_epoch;
            match outcome {
                Ok(_) if self.is_due_again(m) => {
                    self.end_backoff(m);
                    self.backoff.add_soft(m.now, epoch, due_again(), m.jitter);
                }
                Ok(_) => self.end_backoff(m),
                // Nothing was sent, so this is no evidence about the token endpoint.
                Err(_) if *is_deferred || *is_interrupted => {}
                Err(error) => {
                    let error = error.clone();
                    self.events.extend(
                        self.backoff
                            .add(m.now, epoch, error.clone(), m.jitter)
                            .map(|trouble| Event::Stuck {
                                error,
                                attempts: trouble.times(),
                                lasts: trouble.lasts(m.now),
                            }),
                    );
                }
            }
            self.backoff.observe(m.recoveries);
        }
        let label = job.label;
        if let (Err(error), false) = (outcome, is_deferred) {
            let is_news = self.reported.is_news(error);
            self.events.push(Event::RefreshFailed {
                label,
                error: error.clone(),
                is_news,
            });
        }
        self.events.push(Event::RefreshCompleted {
            label,
            result: match outcome {
                Ok(_) if *has_sent => "refreshed",
                Ok(_) => "adopted",
                Err(_) if *is_deferred => "deferred",
                Err(error) if error.is_response_lost() => "response_lost",
                Err(error) if error.is_end_of_grant() => "ended",
                Err(_) => "failed",
            },
            duration: m.now.saturating_duration_since(job.since),
        });
    }

    /// The failure was not reported for this grant, because its endpoint fails for all grants.
    pub(crate) fn failure_not_reported(&mut self, error: &Error) {
        self.reported.forget(error);
    }

    /// Ends the backoff after a success, or for a new grant. A grant that was stuck has recovered.
    pub(super) fn end_backoff(&mut self, m: Moment<'_>) {
        self.reported = Reported::default();
        if let Some(trouble) = self.backoff.clear() {
            let lasted = trouble.lasts(m.now);
            self.events.push(Event::Recovered { lasted });
        }
    }

    /// Whether the new token set is already due for a refresh.
    fn is_due_again(&self, m: Moment<'_>) -> bool {
        let refresh_token = self.held.refresh_token();
        if refresh_token.is_some_and(|expiry| expiry.is_due(m.now, m.wall)) {
            return true;
        }
        self.held.alive(m.now).is_some() && self.held.token_for(Reason::Advisory, m.now).is_none()
    }
}

fn due_again() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the newest token set is already due for a refresh: it is about to expire, or was issued by a clock that is wrong",
    )
}
