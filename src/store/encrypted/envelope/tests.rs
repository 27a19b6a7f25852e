use proptest::prelude::*;

use super::{super::sealed::is_envelope, *};

/// Computed by another implementation. Every later version must be able to decrypt it.
const PINNED: &str = "tow1.k1.AgICAgICAgICAgICAgICAgICAgICAgICvwNTi88TJ5CMKlRrFAwjIhqlw563Og";

/// As `PINNED`, in a grant with an identity. Computed by this crate.
const PINNED_WITH_IDENTITY: &str =
    "tow1.k1.AgICAgICAgICAgICAgICAgICAgICAgICvwNTi88TfrlNLNnOH0uqbUmLdQI46A";

fn key(id: &str, byte: u8) -> EncryptionKey {
    EncryptionKey::new(id, [byte; 32]).unwrap()
}

fn keys() -> EncryptionKeys {
    EncryptionKeys::new(key("k1", 1))
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

fn binding<'a>(
    client: &'a str,
    tenant: &'a TenantId,
    generation: u64,
    field: Field<'a>,
) -> Binding<'a> {
    Binding {
        client,
        tenant,
        identity: None,
        generation: Generation::from_u64(generation),
        field,
    }
}

/// Encrypts with one binding and returns whether the envelope opens with another.
fn opens_with(from: Binding<'_>, to: Binding<'_>) -> bool {
    let envelope = seal(&key("k1", 1), from, "secret").unwrap();
    assert_eq!(*open(&keys(), from, &envelope).unwrap(), "secret");
    open(&keys(), to, &envelope).is_ok()
}

#[test]
fn format_is_stable_across_versions() {
    let acme = tenant("acme");
    let binding = binding("client", &acme, 7, Field::RefreshToken);
    let envelope = seal_with(&key("k1", 1), binding, "seeded", [2; NONCE]).unwrap();
    assert_eq!(envelope, PINNED);
    assert_eq!(*open(&keys(), binding, &envelope).unwrap(), "seeded");
}

#[test]
fn p25_format_with_an_identity_is_stable_across_versions() {
    let (acme, identity) = (tenant("acme"), ClientIdentity::new("e", "c"));
    let binding = Binding {
        identity: Some(&identity),
        ..binding("client", &acme, 7, Field::RefreshToken)
    };
    let envelope = seal_with(&key("k1", 1), binding, "seeded", [2; NONCE]).unwrap();
    assert_eq!(envelope, PINNED_WITH_IDENTITY);
    assert_eq!(*open(&keys(), binding, &envelope).unwrap(), "seeded");
}

#[test]
fn p25_envelope_opens_with_its_own_identity_only() {
    let acme = tenant("acme");
    let identities = [
        None,
        Some(ClientIdentity::new("", "")),
        Some(ClientIdentity::new("e", "c")),
        Some(ClientIdentity::new("e", "c").with_client_credentials()),
        Some(ClientIdentity::new("e", "d")),
        Some(ClientIdentity::new("f", "c")),
        Some(ClientIdentity::new("ec", "")),
        Some(ClientIdentity::new("c", "e")),
    ];
    for (number, here) in identities.iter().enumerate() {
        for (other, there) in identities.iter().enumerate() {
            let bound = |identity| Binding {
                identity,
                ..binding("client", &acme, 7, Field::AccessToken)
            };
            let opens = opens_with(bound(here.as_ref()), bound(there.as_ref()));
            assert_eq!(opens, number == other, "{here:?} {there:?}");
        }
    }
}

#[test]
fn p23_every_flipped_bit_and_every_cut_is_detected() {
    let acme = tenant("acme");
    let binding = binding("client", &acme, 7, Field::AccessToken);
    // One flipped bit turns one id into the other, and both ids have the same key.
    let keys = EncryptionKeys::new(key("k0", 1))
        .with_decryption_key(key("k1", 1))
        .unwrap();
    let whole = seal(keys.current(), binding, "seeded").unwrap();
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone().into_bytes();
        flipped[bit / 8] ^= 1 << (bit % 8);
        // No store returns a string that is not UTF-8.
        if let Ok(flipped) = String::from_utf8(flipped) {
            let error = open(&keys, binding, &flipped).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Store, "bit {bit}");
        }
    }
    for cut in 0..whole.len() {
        assert!(open(&keys, binding, &whole[..cut]).is_err(), "{cut}");
        assert!(open(&keys, binding, &whole[cut + 1..]).is_err(), "{cut}");
    }
    for longer in [
        format!("{whole}A"),
        format!("{whole}="),
        format!(" {whole}"),
    ] {
        assert!(open(&keys, binding, &longer).is_err());
    }
}

#[test]
fn p23_envelope_opens_with_its_own_binding_only() {
    let (acme, other) = (tenant("acme"), tenant("other"));
    let here = binding("client", &acme, 7, Field::AccessToken);
    for there in [
        binding("client", &other, 7, Field::AccessToken),
        binding("client2", &acme, 7, Field::AccessToken),
        binding("client", &acme, 8, Field::AccessToken),
        binding("client", &acme, 6, Field::AccessToken),
        binding("client", &acme, 7, Field::RefreshToken),
    ] {
        assert!(!opens_with(here, there), "{there:?}");
        assert!(!opens_with(there, here), "{there:?}");
    }
}

#[test]
fn p23_similar_names_have_different_bindings() {
    let names = [
        "acme",
        "Acme",
        "acme ",
        " acme",
        "acme2",
        "аcme",
        "acmé",
        "acme\u{301}",
        "ac/me",
        "ac",
    ];
    for one in names.map(tenant) {
        for other in names.map(tenant) {
            let from = binding("client", &one, 7, Field::AccessToken);
            let to = binding("client", &other, 7, Field::AccessToken);
            assert_eq!(opens_with(from, to), one == other, "{one} {other}");
        }
    }
    // The boundary between client and tenant is authenticated too.
    for (client, name) in [("clientac", "me"), ("clien", "tacme"), ("c", "lientacme")] {
        let (acme, other) = (tenant("acme"), tenant(name));
        let from = binding("client", &acme, 7, Field::AccessToken);
        assert!(!opens_with(
            from,
            binding(client, &other, 7, Field::AccessToken)
        ));
    }
}

#[test]
fn equal_secrets_have_different_envelopes() {
    let acme = tenant("acme");
    let binding = binding("client", &acme, 7, Field::AccessToken);
    let texts: std::collections::HashSet<_> = (0..100)
        .map(|_| seal(&key("k1", 1), binding, "secret").unwrap())
        .collect();
    assert_eq!(texts.len(), 100);
}

#[test]
fn errors_say_what_is_wrong() {
    let acme = tenant("acme");
    let binding = binding("client", &acme, 7, Field::AccessToken);
    let sealed = seal(&key("k1", 1), binding, "seeded-secret").unwrap();
    let body = sealed.rsplit('.').next().unwrap();
    let message =
        |keys: &EncryptionKeys, text: &str| open(keys, binding, text).unwrap_err().to_string();

    assert_eq!(
        message(&EncryptionKeys::new(key("k2", 1)), &sealed),
        "the stored access token of generation 7 cannot be decrypted: the key \"k1\" is missing; \
         add it by `with_decryption_key` (tenant in the error source)"
    );
    assert!(message(&EncryptionKeys::new(key("k1", 2)), &sealed).contains("cannot be decrypted"));
    assert!(message(&keys(), "seeded-secret").contains("accept_plaintext"));
    assert!(message(&keys(), &format!("tow2.k1.{body}")).contains("another version"));
    assert!(message(&keys(), "tow1.k1.").contains("is damaged"));
}

#[test]
fn p21_errors_quote_no_stored_text() {
    let acme = tenant("acme");
    let binding = binding("client", &acme, 7, Field::RefreshToken);
    for text in [
        "seeded",
        "tow1.seeded",
        "tow1.seeded.seeded",
        "tow1.seeded seeded.AAAA",
        "tow1.seeded.seeded.seeded",
        "tow2.seeded",
        "tow1..seeded",
    ] {
        let error = open(&keys(), binding, text).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("seeded"), "{error}");
    }
}

#[test]
fn envelopes_of_any_version_are_recognized() {
    for envelope in ["tow1.k.AAAA", "tow2.x", "tow10.", "tow1."] {
        assert!(is_envelope(envelope), "{envelope}");
    }
    for token in ["", "tow", "tow.", "tow1", "towel.x", "Tow1.k.AAAA", "a.b.c"] {
        assert!(!is_envelope(token), "{token}");
    }
}

proptest! {
    #[test]
    fn p23_any_secret_opens_with_its_own_binding_only(
        secret in any::<String>(),
        client in any::<String>(),
        name in "[^\\p{Cc}]{1,40}",
        generation in any::<u64>(),
        other_client in any::<String>(),
        other_name in "[^\\p{Cc}]{1,40}",
        other_generation in any::<u64>(),
    ) {
        let (acme, other) = (tenant(&name), tenant(&other_name));
        let here = binding(&client, &acme, generation, Field::AccessToken);
        let envelope = seal(&key("k1", 1), here, &secret).unwrap();
        prop_assert!(envelope.bytes().all(|byte| byte.is_ascii_graphic()));
        prop_assert_eq!(&*open(&keys(), here, &envelope).unwrap(), &secret);

        for (client, tenant, generation, field) in [
            (&other_client, &acme, generation, Field::AccessToken),
            (&client, &other, generation, Field::AccessToken),
            (&client, &acme, other_generation, Field::AccessToken),
            (&client, &acme, generation, Field::RefreshToken),
        ] {
            let there = binding(client, tenant, generation, field);
            let is_same = there.bytes("k1") == here.bytes("k1");
            prop_assert_eq!(open(&keys(), there, &envelope).is_ok(), is_same);
        }
    }

    #[test]
    fn p23_different_bindings_have_different_bytes(
        one in ("[a-c]{0,3}", "[a-c]{1,3}", 0_u64..3, any::<bool>(), "[a-c]{1,3}"),
        other in ("[a-c]{0,3}", "[a-c]{1,3}", 0_u64..3, any::<bool>(), "[a-c]{1,3}"),
    ) {
        let bytes = |(client, name, generation, is_access, id): &(String, String, u64, bool, String)| {
            let field = if *is_access { Field::AccessToken } else { Field::RefreshToken };
            binding(client, &tenant(name), *generation, field).bytes(id)
        };
        prop_assert_eq!(bytes(&one) == bytes(&other), one == other);
    }

    #[test]
    fn any_other_text_is_refused_without_a_panic(text in any::<String>(), body in "[A-Za-z0-9_-]{0,200}") {
        let acme = tenant("acme");
        let binding = binding("client", &acme, 7, Field::AccessToken);
        prop_assert!(open(&keys(), binding, &text).is_err());
        let envelope = format!("tow1.k1.{body}");
        prop_assert!(open(&keys(), binding, &envelope).is_err());
    }
}
