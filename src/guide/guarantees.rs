//! The guarantees of this crate.
//!
//! Each guarantee has a number. The tests of a guarantee are named after it: `cargo test p03_
//! --all-features` runs those of the third. A number that is missing here is not guaranteed yet.
//! The words are those of the [glossary](crate::guide::glossary).
//!
//! # Hot path
//!
//! * **P1** While the token is fresh, a request takes no lock, awaits nothing and boxes nothing:
//!   one snapshot load, one clock read, and one reference-counted copy of a header value that was
//!   marked sensitive when the token arrived. From its second request on, a clone of a service
//!   keeps a private copy of the token, so that threads with clones of their own write no shared
//!   memory. Where only trailers say whether a token was rejected, as with gRPC, the response costs
//!   a few allocations.
//! * **P2** A request that waits for a token holds none of the inner service's capacity, neither
//!   before the first call nor between a 401 and the retry: no readiness, no connection, and no
//!   response body for longer than a second. Readiness is acquired for each call.
//!
//! # Single flight
//!
//! * **P3** Any number of callers of one grant cause one refresh, whatever their reasons: expiry, a
//!   401, a manual refresh, an idle grant.
//! * **P4** A refresh that has started runs to its end in a task of its own, with its own
//!   deadlines. Dropping any or all of its callers does not stop it. A panic of the token source or
//!   store is an error of that call. If the runtime of a refresh ends, or stands still for 10
//!   seconds, its waiters start another one. Each waiter has a deadline of its own: 15 seconds, by
//!   a timer of its own runtime. The refresh continues, and its token request waits for the
//!   response for 60 seconds. Both can be set.
//! * **P5** A failed early refresh does not affect requests while the held token is valid. A
//!   failure never evicts a valid token. A token in use is refreshed in the background, from a
//!   random point in the first half of its advisory window on: the last 15 % of its lifetime, 5
//!   minutes to 4 hours, never over half.
//!
//! # 401
//!
//! * **P6** A 401 concerns the generation that the request was sent with. A newer generation in the
//!   cache or in the store is adopted without a refresh. A 401 to a token that is less than 5
//!   seconds old, or a tenth of its lifetime, causes no refresh: the request waits until the token
//!   is older, without any of the inner service's capacity, and is retried with the same token.
//! * **P7** A request is retried at most once. The caller gets the second response as it is, or the
//!   first if there is no newer token, the newer one is not meant for the request's origin, or the
//!   body cannot be replayed. If the inner service fails the retry, the caller gets that error. A
//!   403 never causes a refresh, unless the provider's data or the program's classifier say so. A
//!   401 whose challenge names a cause other than the token is not retried. Apart from the retry, a
//!   request with a DPoP proof is sent once more, with the same token, if the server asks for
//!   another nonce. Successful refreshes after a 401 are at least 30 seconds apart, and up to 30
//!   minutes while the API rejects the token of each soon.
//! * **P8** The retry sends the same method, URI, headers, extensions and body bytes, with the
//!   token and the kept values of one snapshot. A recorded body takes at most 64 KiB of memory, or
//!   as much as the program sets, in whatever frames it comes. A request that cannot be replayed is
//!   not retried: its caller gets the first response, and the token is refreshed for later
//!   requests. A body is never truncated or emptied, provided that a clone of a cloneable body
//!   yields the same frames as the original.
//! * **P9** The first response is drained up to a cap of 64 KiB and a second, so that its
//!   connection is reused. Beyond the cap it is dropped. If its caller gets it after all, because
//!   there is no newer token, it has the data that were read, and ends with an error where it was
//!   dropped.
//!
//! # Rotation and durability
//!
//! * **P10** The order of a refresh is: acquire the lease, load, save the intent, send the token
//!   request, save the token set on condition of the generation, publish it, release the lease. A
//!   new token is not used before it is saved as long as an older one is valid.
//! * **P11** A refresh token is sent once. It is sent again only after an outcome which proves that
//!   the provider did not use it (nothing was sent, a 429 or 503, or a 4xx with an OAuth error
//!   code), or after a lost response: [every other
//!   outcome](crate::oauth#outcomes-of-a-token-request). The replay after a lost response is
//!   recorded, and passed to the HTTP client within 30 seconds of the first request by the wall
//!   clock, or not at all if its signature takes longer. It uses another
//!   connection if the HTTP client opens one for each request, [as it
//!   should](crate::oauth#the-http-client). If the provider's data name a reuse grace, replays
//!   follow until it ends, at growing pauses. If their responses are lost too, the refresh token is
//!   sent again only in the last 5 minutes of the access token's lifetime, after its
//!   expiry, after a 401, or by a manual refresh. Among replicas that share a store, only the owner
//!   of the grant's lease sends it, and checks the lease before. A replica that is stopped or cut
//!   off from the store for longer than its lease (15 seconds) during a token request is treated by
//!   the others as a lost response.
//! * **P12** The loser of a race adopts the winner's tokens. An end of a grant is saved only after
//!   another load and a comparison of the generations. Each replica uses what another one has saved
//!   (a rotation, an end, a new consent) within a second, if the store announces it, and otherwise
//!   within 30 seconds while requests use the grant.
//! * **P13** `kill -9` at any instant loses at most a response that was on the wire or not saved
//!   yet. The intent in the store identifies that grant at the next start, which replays a recent
//!   request and reports a lost one. A program that ends without a shutdown loses nothing within
//!   its first minute: until then a refresh starts only if a caller waits for it.
//! * **P14** A store that cannot be read or written is detected before the refresh token is sent,
//!   because the intent is saved first. If a save fails afterwards, the token set in memory serves,
//!   the save is retried, and an error event is emitted. A file store that has vanished (unmounted,
//!   moved, replaced) while it is open is an error, never an empty store. After a restart that
//!   holds with [`must_exist`](crate::store::FileStoreBuilder::must_exist).
//! * **P24** A rotated refresh token is saved from every successful token response in which it can
//!   be read, whatever else is wrong with the response. If the response has no usable access token,
//!   the refresh has failed, and the held access token keeps its expiry. A web page is not read.
//!   A consent that brings no refresh token neither drops a stored one that can be used, nor is
//!   combined with it, unless the program decides so. Each such consent that is rejected or
//!   saved causes an event and calls a listener.
//!
//! # Failure
//!
//! * **P15** A refresh ends a grant only by a parsed `invalid_grant` with a 4xx status, and only if
//!   the store holds nothing newer. A grant without a refresh token ends with its access token:
//!   when that expires, or was rejected for an hour. The end is saved with its reason (revoked,
//!   expired, a lost rotation, or no refresh token), is reported once, and prevents any refresh
//!   until a new grant arrives. An access token that the API has rejected is not used after the
//!   end, also not after a restart. `invalid_client` ends no grant. It opens the endpoint's circuit
//!   breaker for 30 seconds to 30 minutes, or until the program replaces the client secret.
//! * **P16** Backoff saturates, has jitter, and obeys `Retry-After`. There is at most one refresh a
//!   second for a grant, whatever the server responds. All grants of a client share one limiter and
//!   one circuit breaker for each token endpoint. Refreshes that requests wait for, background
//!   refreshes and code exchanges have separate permits, so none of them waits for another class. A
//!   tenant uses at most one permit of a class. A code that the provider rejects does not open the
//!   circuit breaker. When the circuit breaker closes, the backoff of failures that were the
//!   endpoint's ends too.
//! * **P17** Without a token a request fails. It is never sent unauthenticated.
//!
//! # Time
//!
//! * **P18** The lifetime of a token is `expires_at` minus the response's `Date`, or `expires_in`,
//!   and counts from when the request was sent. If this machine's clock yields a shorter lifetime,
//!   which is at least half of that, the shorter one counts. A lifetime that is absent, has passed
//!   when the token arrives, or is longer than 100 years, is the usual one of the provider's data,
//!   and otherwise unknown: that token serves until a 401. A token expires when the first of the
//!   monotonic and the wall clock says so. A suspend is detected within 30 seconds.
//! * **P19** If the lifetime of refresh tokens is known (30 days for Justworks, or what a token
//!   response states), an idle grant is refreshed after two thirds of it, and an event is emitted
//!   when 7, 3 and 1 days are left. The time of the last refresh that a provider accepts before the
//!   access token expires counts like the end of such a lifetime. With
//!   many tenants this holds for residents, and for the others by a sweep, which one of all
//!   processes that share a store performs.
//!
//! # Security
//!
//! * **P20** A token is sent only to the origins that it is meant for, and only over https (http to
//!   loopback). Where they differ from customer to customer, they are those of the token's own
//!   snapshot, for each attempt: no forged callback or stored value, no other tenant and no new
//!   consent in between makes a token leave for a host that is not its own. A header of the token
//!   that the caller has set, such as `Authorization`, is not silently replaced.
//! * **P21** Secrets have no `Display` and a redacted `Debug`. They are wiped on drop from the
//!   memory of this crate, also from buffers that grow. That does not include the buffers of an
//!   HTTP client, nor of the PostgreSQL and Redis libraries. They occur in no log, span, error,
//!   panic or [history](crate::token::History) of a grant, even if the server echoes them.
//! * **P22** A response of the token endpoint is read up to 1 MiB, before and after decompression.
//!   This crate follows no redirects of the token endpoint, and sends the client credentials in one
//!   way only.
//! * **P23** A tenant's token is never visible to another tenant. Keys never derive from secrets,
//!   and stored grants name their tenant. With the feature `encryption`, each stored token is
//!   encrypted and bound to its tenant, client, identity, generation and kind. A token that cannot
//!   be decrypted is an error. It is never treated as an absent grant, and never overwritten. On
//!   Unix, [`FileStore`](crate::store::FileStore#permissions) uses no file or directory that other
//!   users can write to, and no file that they own or can read.
//! * **P25** A stored grant names the client that it was issued to and its token endpoint: the
//!   [identity](crate::token::ClientIdentity) of its source, which also separates the client's own
//!   tokens from those of a customer. No process sends, refreshes, ends, replaces or sweeps a grant
//!   of another identity. Such a grant is an [error](crate::ErrorKind::ForeignGrant) that names
//!   both identities, and no authorization code is spent for its tenant. A source without an
//!   identity, such as a [`token_fn`](crate::cache::token_fn), has to keep its grants in a store of
//!   its own.
//!
//! ----
//!
//! Previous: [How it works](super::how_it_works). Next: [Performance](super::performance)
