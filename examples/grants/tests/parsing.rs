//! URLs of stores, and times.

use crate::{
    store_url::{Location, encoded},
    text::{days_left, parse_duration},
};

use super::*;

#[test]
fn the_parameters_of_a_store_are_taken_out_of_its_url() {
    let postgres = Location::parse("postgres://u:p@h/db?sslmode=require&schema=partner").unwrap();
    let expected = Location::Postgres {
        url: "postgres://u:p@h/db?sslmode=require".into(),
        schema: Some("partner".into()),
    };
    assert_eq!(postgres, expected);
    let redis = Location::parse("redis://h/?prefix=a%3A").unwrap();
    let expected = Location::Redis {
        url: "redis://h/".into(),
        prefix: Some("a:".into()),
    };
    assert_eq!(redis, expected);
    let file = Location::parse("file:///a%20b?group=true").unwrap();
    let expected = Location::File {
        directory: "/a b".into(),
        has_group: true,
    };
    assert_eq!(file, expected);
    let url = format!("file://{}", encoded("/odd?%#name"));
    let expected = Location::File {
        directory: "/odd?%#name".into(),
        has_group: false,
    };
    assert_eq!(Location::parse(&url).unwrap(), expected);
}

#[test]
fn p21_the_error_of_a_wrong_url_does_not_quote_it() {
    for url in [
        "secret",
        "mysql://u:secret@h/",
        "file://secret",
        "file:///a?group=secret",
        "file:///a?secret=1",
    ] {
        let error = Location::parse(url).unwrap_err();
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn times_have_a_unit_and_days_are_whole() {
    for (text, seconds) in [("0s", 0), ("30m", 1_800), ("12h", 43_200), ("7d", 604_800)] {
        assert_eq!(parse_duration(text).unwrap().as_secs(), seconds);
    }
    for text in [
        "",
        "7",
        "d",
        "7 d",
        "-7d",
        "99999999999999999999d",
        "36501d",
    ] {
        parse_duration(text).unwrap_err();
    }
    let now = SystemClock.wall();
    assert_eq!(days_left(now + DAY * 3 - Duration::from_secs(1), now), 2);
    assert_eq!(days_left(now - DAY, now), 0);
}
