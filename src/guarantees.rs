//! What is promised, and where it is tested.
//!
//! Each guarantee has a number, and each test of it begins with that number: `cargo test p03_ --all-features` runs those
//! of the third. Numbers that are missing here are not promised yet.
//!
//! # Hot path
//!
//! * **P1** While the token is fresh a request takes no lock, awaits nothing and boxes nothing: one snapshot load, one clock
//!   read, one refcounted copy of a header value that was built, and marked sensitive, when the token arrived.
//! * **P2** A request that waits for a token holds none of the inner service's capacity: readiness is polled for the service
//!   that is called, and again for the retry.
//!
//! # Single flight
//!
//! * **P3** Any number of callers of one grant cause one exchange, whatever brought them.
//! * **P4** An exchange that has begun runs to its end in a task of its own with its own deadline. Dropping any caller, or
//!   all of them, never aborts it; a panic in it wakes the waiters with an error. Each waiter keeps its own deadline.
//! * **P5** A failed early refresh costs no request anything while the held token is valid. A failure never evicts a valid
//!   token.
//!
//! # 401
//!
//! * **P6** A 401 speaks of the generation it was sent with. If the cache, or the store, already holds a newer one, that is
//!   adopted and no exchange is made.
//! * **P7** One retry, never two; the caller gets the second response as it is, or the first when there is no newer token or
//!   the body cannot be sent again. An inner service that fails the retry is an error, as it was.
//!   403 never refreshes. A 401 whose challenge names a cause other than the token is not retried. After an exchange
//!   that a 401 forced, the next such one is made 30 seconds later at the earliest.
//! * **P8** The retry sends the same method, URI, headers, extensions and body bytes. What cannot be replayed is not retried:
//!   the first response is returned, and the token is refreshed for those who come next. A body is never cut or emptied.
//! * **P9** The first response is drained to a cap, so that its connection is reused, or dropped beyond the cap.
//!
//! # Rotation and durability
//!
//! * **P10** Read, exchange, save (conditional on the generation), publish, in this order. A new access token is not used
//!   before its save commits while an older valid one can serve.
//! * **P11** Replicas over one store do not present the same refresh token twice if one has stored its answer before the other
//!   begins. (Two that begin at the same instant still do: a lease across processes is not promised yet.)
//! * **P12** Whoever loses a race adopts the winner's tokens. Nobody writes a terminal state without reading again and
//!   comparing generations.
//! * **P14** A store that cannot be read is found out before the refresh token is spent. If a save fails after it, memory
//!   serves, the save goes on being retried, and it is told as an error event.
//!
//! # Failure
//!
//! * **P15** An answer ends a grant only if it is `invalid_grant`, parsed, with a status of 4xx, and the store holds nothing
//!   newer. The end is durable, and there is no further exchange until a new grant arrives.
//! * **P16** Pauses after failures saturate, are spread at random, obey `Retry-After`, and there is never more than one
//!   exchange a second for a grant, whatever the server answers.
//! * **P17** No token means an error, never an unauthenticated request.
//!
//! # Time
//!
//! * **P18** A lifetime is `expires_at` − the response's `Date` (or `expires_in`), counted from when the request was sent;
//!   the end is judged by the earlier of the monotonic and the wall clock, a suspend within 30 seconds.
//!
//! # Security
//!
//! * **P20** A token leaves only for the origins it is meant for, over https (http to loopback only). An `Authorization` set
//!   by the caller is not silently replaced.
//! * **P21** Secrets have no `Display`, a starred `Debug`, are wiped on drop where this crate holds them (not in the buffers
//!   of an HTTP client), and stand in no log, error or panic, even when the server echoes them.
//! * **P22** The token endpoint's answer is read up to 1 MiB, redirects are not followed by this crate, and credentials go in
//!   one way only.
//! * **P23** One tenant's token is never seen by another: keys never derive from secrets, and stored grants name their tenant.
