//! The style sheet of the pages, for phones and desktops, light and dark.

/// The style sheet. Policies contain its hash.
pub(super) const STYLE: &str = "\
    :root{color-scheme:light dark;--text:#1b1f24;--dim:#4f5a65;--page:#f3f5f7;--card:#fff;--line:#d5dbe1;--edge:#76818c;--main:#1b3a57;--on-main:#fff;--head:#1b3a57;--link:#0b57a4;--wrong:#a1260d}\
    @media (prefers-color-scheme:dark){:root{--text:#e6e9ed;--dim:#aab4be;--page:#14181d;--card:#1d232a;--line:#3a444f;--edge:#8a949e;--main:#9cc3ee;--on-main:#10202f;--head:#22384f;--link:#9cc3ee;--wrong:#ff9c85}}\
    body{margin:0;font:16px/1.5 system-ui,sans-serif;color:var(--text);background:var(--page)}\
    header{padding:.75rem 1.5rem;background:var(--head);color:#fff;font-weight:600}\
    main{max-width:34rem;margin:2rem auto;padding:1.5rem 2rem;background:var(--card);border:1px solid var(--line);border-radius:8px}\
    main.wide{max-width:64rem}\
    h1{font-size:1.4rem;margin:0 0 1rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}\
    h1,p,li,td:not(:first-child){overflow-wrap:anywhere}td{overflow-wrap:break-word}a{color:var(--link)}\
    nav{display:flex;flex-wrap:wrap;gap:.25rem 1rem}nav a{padding:.25rem 0}\
    label{display:block;margin:.75rem 0 .25rem;font-weight:600}\
    input,select,button{box-sizing:border-box;max-width:100%;padding:.5rem;font:inherit;color:inherit;background:var(--card);border:1px solid var(--edge);border-radius:4px}\
    input[type=email],input[type=password],input[type=text]{width:100%}\
    input[type=checkbox]{flex:none;width:1.5rem;height:1.5rem;margin:0;accent-color:var(--main)}\
    .choice{display:flex;gap:.5rem;align-items:center}.choice label{margin:0;font-weight:400}\
    code{font-size:.85em;color:var(--dim)}.note{color:var(--dim);font-size:.9rem}.wrong{color:var(--wrong);font-weight:600}\
    .buttons{display:flex;flex-wrap:wrap;gap:.5rem;align-items:end;margin:1rem 0}.buttons>*{max-width:100%}.buttons label{margin:0 0 .25rem}.buttons .choice{padding:.5rem 0}.buttons .choice label{margin:0}\
    button{padding:.5rem 1rem;cursor:pointer}button.main{background:var(--main);border-color:var(--main);color:var(--on-main)}\
    :focus-visible{outline:3px solid var(--link);outline-offset:2px}\
    table{border-collapse:collapse;width:100%;font-size:.9rem}th,td{text-align:left;padding:.3rem .5rem;border-bottom:1px solid var(--line);vertical-align:top}\
    @media (max-width:40rem){main{margin:0;padding:1rem;border-width:1px 0;border-radius:0}header{padding:.75rem 1rem}\
    .cards,.cards tbody,.cards tr,.cards td{display:block}.cards thead{display:none}\
    .cards tr{padding:.5rem 0;border-bottom:1px solid var(--line)}.cards td{padding:.1rem 0;border:0}.cards td::before{content:attr(data-label) \": \";font-weight:600}}";

/// The source of the style sheet in a content security policy. A macro, because `concat!` takes
/// literals only.
macro_rules! style_hash {
    () => {
        "'sha256-4hGTe5dlfJ21MKxr8733RZptN1wVVDBeX9gpUZItqNU='"
    };
}
pub(super) use style_hash;

#[cfg(test)]
mod tests {
    use base64::{Engine as _, prelude::BASE64_STANDARD};

    use super::*;

    #[test]
    fn style_has_the_hash_of_the_policies() {
        let hash = BASE64_STANDARD.encode(hmac_sha256::Hash::hash(STYLE.as_bytes()));
        assert_eq!(style_hash!(), format!("'sha256-{hash}'"));
    }
}
