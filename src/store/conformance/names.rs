//! Names of tenants that a careless store confuses.

use crate::token::TenantId;

/// Names that differ only in what some file system, database or key-value store ignores or
/// interprets.
///
/// `@` stands for the 20 digits of the suite, so that some names are numbers.
#[rustfmt::skip] // one name a line would take five pages
const ALIKE: &[&str] = &[
    // Prefixes of each other.
    "@", "@a", "@aa", "@ab",
    // Case, also where one letter becomes two, or the language decides.
    "@A", "@AA", "@i", "@I", "@ı", "@İ", "@ss", "@ß", "@ẞ", "@ſs", "@k", "@\u{212a}", "@σ", "@ς", "@Σ",
    // Spaces of all widths.
    "@a ", "@a  ", " @a", "@ a", "@a\u{a0}", "@a\u{200b}", "@a\u{feff}", "@a\u{ad}",
    // Unicode: composed and not, of another alphabet, of another width.
    "@\u{e9}", "@e\u{301}", "@e", "@\u{c5}", "@\u{212b}", "@\u{430}", "@\u{ff41}", "@\u{fb01}", "@fi", "@\u{1f600}", "@\u{1f601}",
    // Numbers.
    "0@", "+@", "-@", "@.0", "@e0", "0x@",
    // Separators and paths.
    "@/", "@/a", "@//a", "@/./a", "@/../a", "/@", "../@", "./@", "@.", "@..", "@\\a", "@:a", "@::a", "@|a", "@,a", "@;a",
    "@.json", "@.lock", "@~",
    // Syntax of queries, patterns, templates, shells and URLs.
    "@%", "@_", "@*", "@?", "@[a]", "@[ab]", "@{a}", "{@}a", "@'", "@''", "@\"", "@`a`", "@$a", "@${a}", "@--", "@#", "@&a",
    "@=a", "@%61", "@%2561", "@\\u0061", "@+a", "@<a>", "@' OR '1'='1", "@^", "@!",
];

/// All names, with `@` for the suite's tag.
pub(super) fn alike() -> Vec<String> {
    const TAG: usize = 20;
    // Names of the greatest length, which differ in their last letter or miss it.
    let longest = [
        ("x", "a"),
        ("x", "b"),
        ("x", ""),
        ("x", "aa"),
        ("ü", "aa"),
        ("ü", "ab"),
        ("%", "a"),
        ("%", "b"),
    ];
    let longest = longest.map(|(filling, last)| {
        let room = TenantId::MAX_LENGTH - TAG - last.len();
        format!("@{}{last}", filling.repeat(room / filling.len()))
    });
    let short = ALIKE.iter().map(|name| (*name).to_owned());
    short.chain(longest).collect()
}

/// The tenant's name, with characters that look alike spelled out.
pub(super) fn shown(tenant: &TenantId) -> String {
    format!("tenant \"{}\"", tenant.as_str().escape_default())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn p23_names_are_legal_and_distinct() {
        let tag = "01234567890123456789";
        let tenants = alike()
            .into_iter()
            .map(|name| TenantId::new(name.replace('@', tag)).unwrap());
        let distinct: HashSet<_> = tenants.collect();
        assert_eq!(distinct.len(), alike().len());
        assert!(distinct.iter().any(|name| name.as_str().len() == 255));
    }
}
