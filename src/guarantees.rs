//! What is promised, and where it is tested.
//!
//! Each guarantee has a number, and each test of it begins with that number: `cargo test p03_ --all-features` runs those
//! of the third. Numbers that are missing here are not promised yet.
//!
//! # Hot path
//!
//! * **P1** While the token is fresh a request takes no lock, awaits nothing and boxes nothing: one look at what is held, one clock
//!   read, one refcounted copy of a header value that is marked sensitive. From its second request on a clone of a service
//!   counts on its own, so that threads with clones of their own change nothing in common.
//! * **P2** A request that waits for a token holds none of the inner service's capacity: readiness is polled for the service
//!   that is called, and again for the retry.
//!
//! # Single flight
//!
//! * **P3** Any number of callers of one grant cause one exchange, whatever brought them.
//! * **P4** An exchange that has begun runs to its end in a task of its own with its own deadline. Dropping any caller, or
//!   all of them, never aborts it; a panic in it wakes the waiters with an error. Each waiter keeps its own deadline.
//! * **P5** A failed early refresh costs no request anything while the held token is valid. A failure never evicts a valid
//!   token. A grant in use is renewed in the background, from a random point of the last 15 % of the token's life on.
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
//! * **P10** Lease, read, note, exchange, save (conditional on the generation), publish, release, in this order. A new access
//!   token is not used before its save commits while an older valid one can serve.
//! * **P11** A refresh token is presented once, and again only after an answer that says that nothing came of it (a status that
//!   is no success, and not 504). If the answer is lost it is presented once more, within 30 seconds of the
//!   first time by the wall clock, and that is noted; and then only when nothing is left to lose: in the last five minutes
//!   of the access token, after its end, after a 401, or because the program asks. Among replicas over one store, the one
//!   that holds the grant's lease presents it, and looks whether it still does just before. One that is stopped, or cut off from
//!   the store, for longer than the lease lasts (15 seconds) while its request is on the wire has lost an answer, as far as
//!   the others can know.
//! * **P12** Whoever loses a race adopts the winner's tokens. Nobody writes a terminal state without reading again and
//!   comparing generations.
//! * **P13** `kill -9` at any instant loses at most an answer that was still on the wire, or not yet stored. The next start
//!   knows that grant by its note, asks once more for an answer that is recent, and says so if it is lost.
//! * **P14** A store that cannot be read or written is found out before the refresh token is spent: that an exchange begins is
//!   written first. If a save fails after it, memory serves, the save goes on being retried, and it is told as an error event.
//!
//! # Failure
//!
//! * **P15** An answer ends a grant only if it is `invalid_grant`, parsed, with a status of 4xx, and the store holds nothing
//!   newer. The end is durable, says why (revoked there, expired, or a rotation whose answer was lost), is told once, and
//!   there is no further exchange until a new grant arrives. `invalid_client` ends no grant: it pauses the endpoint,
//!   for 30 seconds to 30 minutes, or until the program gives the client another secret.
//! * **P16** Pauses after failures saturate, are spread at random, obey `Retry-After`, and there is never more than one
//!   exchange a second for a grant, whatever the server answers. All grants of a client share one limit and one breaker for
//!   each token endpoint; renewals that nobody waits for take half of what the limit lets through at most.
//! * **P17** No token means an error, never an unauthenticated request.
//!
//! # Time
//!
//! * **P18** A lifetime is `expires_at` − the response's `Date` (or `expires_in`), counted from when the request was sent, and
//!   the shorter one that this machine's clock makes of it if that is not less than half; the end is judged by the earlier
//!   of the monotonic and the wall clock, a suspend within 30 seconds.
//! * **P19** The refresh token has a clock of its own, where its life is known (30 days for Justworks): a grant that is not used
//!   is renewed when two thirds of it are over, and somebody hears of it when 7, 3 and 1 days are left. Of many tenants those
//!   that are held are looked after so, and the others by a sweep, which one of all processes over a store makes.
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
//!   With the feature `encryption` each stored token is encrypted, and bound by that to its tenant, client, generation and
//!   kind: moved elsewhere it does not decrypt, and what does not decrypt is an error, never an absent grant, and is not
//!   overwritten.
