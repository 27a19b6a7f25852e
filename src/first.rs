//! The first of two futures. Tokio has that as a macro, which would bring one more crate.

use std::{
    future::{Future, poll_fn},
    pin::pin,
};

/// What the first of two brings; if neither has to wait, what `one` does. Both are dropped then: who goes on with one lends it.
pub(crate) async fn first_of<T>(one: impl Future<Output = T>, other: impl Future<Output = T>) -> T {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|context| {
        let brought = one.as_mut().poll(context);
        if brought.is_ready() {
            return brought;
        }
        other.as_mut().poll(context)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        task::Poll,
    };

    use tokio::sync::oneshot;
    use tokio_test::{assert_pending, assert_ready_eq, task};

    use super::*;

    #[test]
    fn either_may_come_first_and_one_goes_before_the_other() {
        let first = |one, other| task::spawn(first_of(one, other)).poll();
        assert_eq!(first(ready(1), ready(2)), Poll::Ready(1));

        let (send, receive) = oneshot::channel();
        let mut waiting = task::spawn(first_of(pending(), receive));
        assert_pending!(waiting.poll());
        send.send(2).unwrap();
        assert!(waiting.is_woken());
        assert_ready_eq!(waiting.poll(), Ok(2));
    }
}
