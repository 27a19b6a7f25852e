//! What is told of the findings: a table, and a picture.

pub(crate) mod plot;
pub(crate) mod table;

/// A whole number with a comma between its thousands.
fn grouped(number: f64) -> String {
    let digits = format!("{:.0}", number.abs());
    let mut text = String::from(if number < 0.0 && digits != "0" {
        "-"
    } else {
        ""
    });
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
