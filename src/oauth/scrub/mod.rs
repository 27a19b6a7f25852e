//! Removes secrets from a text that a server wrote.
//!
//! Servers repeat what they were sent: as it was, decoded, encoded in another way, or cut off. Each
//! 8 bytes of the text are therefore compared with each 8 bytes of each form of each secret, and
//! where they are equal, the whole word is removed. So are words that look like a token, which may
//! be a secret of another request.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
};

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use zeroize::Zeroizing;

use super::form_encoding::encode;
use crate::token::SecretBuffer;

/// The length of the parts that are compared.
const WINDOW: usize = 8;

/// A shorter secret is removed only where it is a word by itself.
const SHORTEST_PART: usize = 4;

/// A shorter word is no token.
const SHORTEST_TOKEN: usize = 16;

/// The longest word of a language, in letters.
const LONGEST_WORD: usize = 20;

/// The bytes of a text that are read.
const MAX_READ: usize = 1_024;

const REMOVED: &str = "[removed]";

/// Secrets that a text must not contain. Only hashes of long ones are kept.
#[derive(Default)]
pub(super) struct Secrets {
    hasher: RandomState,
    windows: HashSet<u64>,
    short: Vec<Zeroizing<Vec<u8>>>,
}

impl Secrets {
    pub(super) fn add(&mut self, secret: &str) {
        self.add_form(secret.as_bytes());
        self.add_encoded(secret);
        let mut json = SecretBuffer::with_capacity(2 * secret.len());
        for byte in secret.bytes() {
            if matches!(byte, b'"' | b'\\' | b'/') {
                json.push(b"\\");
            }
            json.push(&[byte]);
        }
        self.add_form(&json.into_vec());
        self.add_base64(secret.as_bytes());
    }

    /// Adds the credentials of a `Basic` header.
    pub(super) fn add_credentials(&mut self, client_id: &str, client_secret: &str) {
        self.add(client_secret);
        for encode in [
            |text: &str, pair: &mut SecretBuffer| pair.push(text.as_bytes()),
            encode,
        ] {
            // An encoded byte has at most three characters.
            let mut pair =
                SecretBuffer::with_capacity(3 * (client_id.len() + client_secret.len()) + 1);
            encode(client_id, &mut pair);
            pair.push(b":");
            encode(client_secret, &mut pair);
            self.add_base64(&pair.into_vec());
        }
    }

    /// The text in at most `limit` characters, without secrets and control characters. `None` if
    /// nothing else is in it.
    pub(super) fn removed_from(&self, text: &str, limit: usize) -> Option<String> {
        let text = readable(text);
        let bytes = text.as_bytes();
        let mut is_secret = vec![false; bytes.len()];
        self.mark(bytes, &mut is_secret);
        for (start, end) in words(bytes) {
            let (word, marks) = (&bytes[start..end], &mut is_secret[start..end]);
            if marks.contains(&true) || is_like_a_token(word) {
                marks.fill(true);
            }
        }
        shortened(&text, &is_secret, limit)
    }

    /// Marks what is equal to a part of a secret.
    fn mark(&self, text: &[u8], is_secret: &mut [bool]) {
        let lower = Zeroizing::new(text.to_ascii_lowercase());
        for (start, window) in lower.windows(WINDOW).enumerate() {
            if self.windows.contains(&self.hasher.hash_one(window)) {
                is_secret[start..start + WINDOW].fill(true);
            }
        }
        for secret in &self.short {
            for (start, window) in lower.windows(secret.len()).enumerate() {
                let end = start + secret.len();
                let is_inside = |at: Option<&u8>| at.is_some_and(u8::is_ascii_alphanumeric);
                let before = start.checked_sub(1).and_then(|before| lower.get(before));
                let is_word = !is_inside(before) && !is_inside(lower.get(end));
                if window == secret.as_slice() && (is_word || secret.len() >= SHORTEST_PART) {
                    is_secret[start..end].fill(true);
                }
            }
        }
    }

    fn add_encoded(&mut self, secret: &str) {
        // An encoded byte has at most three characters.
        let mut form = SecretBuffer::with_capacity(3 * secret.len());
        encode(secret, &mut form);
        let form = form.into_vec();
        self.add_form(&form);
        let mut percent = SecretBuffer::with_capacity(3 * secret.len());
        for byte in form.iter() {
            percent.push(if *byte == b'+' {
                b"%20"
            } else {
                std::slice::from_ref(byte)
            });
        }
        let percent = percent.into_vec();
        self.add_form(&percent);
        // Encoded twice, as by a proxy. Only the percent signs are encoded again.
        let mut twice = SecretBuffer::with_capacity(3 * percent.len());
        for byte in percent.iter() {
            twice.push(std::slice::from_ref(byte));
            if *byte == b'%' {
                twice.push(b"25");
            }
        }
        self.add_form(&twice.into_vec());
    }

    fn add_base64(&mut self, secret: &[u8]) {
        // Encoded in place: to append to a text, the encoder uses a buffer that it does not wipe.
        let mut text = Zeroizing::new(vec![0; 4 * secret.len().div_ceil(3)]);
        let length = BASE64_STANDARD_NO_PAD.encode_slice(secret, &mut text);
        text.truncate(length.unwrap_or_default());
        self.add_form(&text);
        for byte in text.iter_mut() {
            *byte = match *byte {
                b'+' => b'-',
                b'/' => b'_',
                other => other,
            };
        }
        self.add_form(&text);
    }

    fn add_form(&mut self, form: &[u8]) {
        let form = Zeroizing::new(form.to_ascii_lowercase());
        if form.len() < WINDOW {
            let is_new = !form.is_empty() && !self.short.contains(&form);
            if is_new {
                self.short.push(form);
            }
            return;
        }
        for window in form.windows(WINDOW) {
            self.windows.insert(self.hasher.hash_one(window));
        }
    }
}

/// The first part of a text, without control characters and invisible ones.
fn readable(text: &str) -> Zeroizing<String> {
    let mut end = text.len().min(MAX_READ);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut readable = Zeroizing::new(String::with_capacity(end));
    for c in text.get(..end).unwrap_or_default().chars() {
        match c {
            '\t' | '\n' | '\r' => readable.push(' '),
            c if c.is_control() || is_invisible(c) => {}
            c => readable.push(c),
        }
    }
    if end < text.len() {
        // The rest of a word that was cut off cannot be recognized.
        let length = readable
            .trim_end_matches(|c: char| !c.is_whitespace())
            .len();
        readable.truncate(length);
    }
    readable
}

/// Characters without a glyph, or that change the direction of the text.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    )
}

/// The starts and ends of all words: of characters that tokens consist of.
fn words(text: &[u8]) -> impl Iterator<Item = (usize, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        at += text[at..].iter().position(|byte| is_of_token(*byte))?;
        let start = at;
        let length = text[at..].iter().position(|byte| !is_of_token(*byte));
        at = length.map_or(text.len(), |length| start + length);
        Some((start, at))
    })
}

fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~+/=%".contains(&byte)
}

/// Whether a word is long, and does not consist of words of a language and short numbers.
fn is_like_a_token(word: &[u8]) -> bool {
    let is_separator = |byte: &u8| !byte.is_ascii_alphanumeric();
    word.len() >= SHORTEST_TOKEN
        && !word
            .split(is_separator)
            .all(|part| is_number(part) || is_of_language(part))
}

fn is_number(part: &[u8]) -> bool {
    part.len() <= 6 && part.iter().all(u8::is_ascii_digit)
}

/// Letters in one case, or words with a capital letter each.
fn is_of_language(part: &[u8]) -> bool {
    if part.iter().all(u8::is_ascii_uppercase) {
        return part.len() <= LONGEST_WORD;
    }
    let mut rest = part;
    while !rest.is_empty() {
        let tail = rest.split_first().map_or(&[][..], |(_, tail)| tail);
        let small = tail.iter().take_while(|byte| byte.is_ascii_lowercase());
        let length = 1 + small.count();
        if !rest[0].is_ascii_alphabetic() || !(3..=LONGEST_WORD).contains(&length) {
            return false;
        }
        rest = &rest[length..];
    }
    true
}

/// The text with each marked part replaced, and cut off after `limit` characters.
fn shortened(text: &str, is_secret: &[bool], limit: usize) -> Option<String> {
    let mut output = String::new();
    let (mut length, mut was_secret, mut is_empty) = (0, false, true);
    for (at, c) in text.char_indices() {
        let is_secret = is_secret.get(at).copied().unwrap_or(true);
        let is_removed = is_secret && !was_secret;
        let is_leading = output.is_empty() && c.is_whitespace();
        let is_kept = !is_secret && !is_leading;
        was_secret = is_secret;
        let added = match (is_removed, is_kept) {
            (true, _) => REMOVED.len(),
            (_, true) => 1,
            _ => continue,
        };
        // One character is left for the end.
        if length + added >= limit {
            output.push('…');
            break;
        }
        length += added;
        if is_removed {
            output.push_str(REMOVED);
        } else {
            output.push(c);
            is_empty &= !c.is_alphanumeric();
        }
    }
    output.truncate(output.trim_end().len());
    (!is_empty).then_some(output)
}

#[cfg(test)]
mod tests;
