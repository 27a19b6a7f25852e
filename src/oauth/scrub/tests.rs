use super::*;

const LIMIT: usize = 200;

fn secrets() -> Secrets {
    let mut secrets = Secrets::default();
    secrets.add("Kd3-refresh/token+of the~customer");
    secrets.add("pin7");
    secrets.add_credentials("client-1", "se cret&of\"us");
    secrets
}

fn scrubbed(text: &str) -> String {
    secrets().removed_from(text, LIMIT).unwrap_or_default()
}

#[test]
fn p21_secret_is_removed_in_each_form() {
    let json = r"Kd3-refresh\/token+of the~customer";
    for form in [
        "Kd3-refresh/token+of the~customer",
        "KD3-REFRESH/TOKEN+OF THE~CUSTOMER",
        // Encoded in a form, and in a URL.
        "Kd3-refresh%2Ftoken%2Bof+the%7Ecustomer",
        "Kd3-refresh%2ftoken%2bof%20the~customer",
        json,
        // Base64, also without padding and in its alphabet for URLs.
        "S2QzLXJlZnJlc2gvdG9rZW4rb2YgdGhlfmN1c3RvbWVy",
        // A part of it, from the start, the end and the middle.
        "Kd3-refr",
        "Kd3-refresh/tok",
        "~customer",
        "sh/token",
        "se cret&of\"us",
        "se+cret%26of%22us",
        // The credentials of a `Basic` header, raw and form-encoded.
        "Y2xpZW50LTE6c2UgY3JldCZvZiJ1cw==",
        "Y2xpZW50LTE6c2UrY3JldCUyNm9mJTIydXM=",
        "c2UgY3JldCZvZiJ1cw",
        "pin7",
    ] {
        for text in [
            format!("token {form} is unknown"),
            format!("token '{form}' is unknown"),
            format!("token \"{form}\", is unknown"),
            format!("token \u{200b}{form}\u{7} is unknown"),
        ] {
            let scrubbed = scrubbed(&text);
            assert!(scrubbed.starts_with("token "), "{form}: {scrubbed}");
            assert!(scrubbed.ends_with(" is unknown"), "{form}: {scrubbed}");
            assert!(scrubbed.contains("[removed]"), "{form}: {scrubbed}");
            for part in [
                "Kd3", "KD3", "oken+", "ustomer", "se ", "se+", "pin7", "S2Q", "Y2x", "c2U",
            ] {
                assert!(!scrubbed.contains(part), "{form}: {scrubbed}");
            }
        }
    }
}

#[test]
fn p21_word_that_looks_like_a_token_is_removed() {
    for token in [
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJl",
        "1000.c8f1e2d3a4b5c6d7.e8f9a0b1c2d3e4f5",
        "0f8fad5b-d9cb-469f-a165-70867728950e",
        "0123456789abcdef0123456789abcdef",
        "xoxe-1-My0xLTMwMDAwMDAwMDAwMA",
        "ghr_1B4a2e77838347a7E420ce178F2E7c6912E1692",
        "abcdefghijklmnopqrstuvwxyz",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        "qWeRtYuIoPaSdFgH",
        "12345678901234567890",
        "AQAB%2Fxyz01%2Babcdef",
    ] {
        let text = format!("unknown: {token}. Try again");
        let scrubbed = scrubbed(&text);
        assert_eq!(scrubbed, "unknown: [removed] Try again", "{token}");
    }
}

#[test]
fn harmless_text_is_kept() {
    for text in [
        "BAD_REFRESH_TOKEN",
        "invalid_refresh_token",
        "the refresh token is missing, invalid or expired",
        "AADSTS9002313: Invalid request. Request is malformed or invalid.",
        "AADSTS700082: The refresh token has expired due to inactivity.",
        "Unknown or invalid refresh token.",
        "refresh_token is invalid",
        "TokenAlreadyBeingProcessed",
        "see https://developer.example.com/docs/errors/refresh-token for 400",
        "expired at 2026-11-29 10:00:00",
        "トークンは無効です",
    ] {
        assert_eq!(scrubbed(text), text);
    }
}

#[test]
fn text_is_short_and_printable() {
    for text in [
        "word ".repeat(1_000),
        "é".repeat(5_000),
        "\u{1f600} ".repeat(700),
        format!("{}Kd3-refresh/token+of the~customer", "x ".repeat(503)),
        format!(
            "{}Kd3-refresh/token+of the~customer",
            "Kd3-refresh ".repeat(85)
        ),
        "line\r\none\0\u{1b}[31m\u{202e}two\u{2028}".repeat(20),
    ] {
        let scrubbed = scrubbed(&text);
        assert!(scrubbed.chars().count() <= LIMIT, "{scrubbed}");
        assert!(!scrubbed.contains("Kd3"), "{scrubbed}");
        assert!(!scrubbed.chars().any(|c| c.is_control() || is_invisible(c)));
    }
    assert_eq!(scrubbed("a\tb\nc\u{7f}"), "a b c");
    // Nothing is left of these.
    for text in [
        "",
        " ",
        "\0\n",
        "pin7",
        "?!",
        "Kd3-refresh/token+of the~customer",
    ] {
        assert_eq!(secrets().removed_from(text, LIMIT), None, "{text:?}");
    }
}

/// However a server cuts a secret, no more than 7 bytes of it are left.
#[test]
fn p21_no_part_of_a_secret_survives() {
    let secret = "wXq7-Zp0_Lk9vTnB3rYh";
    let mut secrets = Secrets::default();
    secrets.add(secret);
    for start in 0..secret.len() - WINDOW {
        for end in start + WINDOW..=secret.len() {
            for (before, after) in [("", ""), ("x", "y"), ("token=", "..."), ("(", ")")] {
                let text = format!("invalid {before}{}{after}", &secret[start..end]);
                let scrubbed = secrets.removed_from(&text, LIMIT).unwrap();
                for window in secret.as_bytes().windows(4) {
                    let window = str::from_utf8(window).unwrap();
                    assert!(!scrubbed.contains(window), "{text}: {scrubbed}");
                }
            }
        }
    }
}

#[test]
fn p21_short_secret_that_is_encoded_twice_is_removed() {
    let mut secrets = Secrets::default();
    secrets.add("abc$defg");
    for form in ["abc$defg", "abc%24defg", "abc%2524defg"] {
        let scrubbed = secrets.removed_from(&format!("bad {form} here"), LIMIT);
        assert_eq!(scrubbed.as_deref(), Some("bad [removed] here"), "{form}");
    }
}
