//! Presents the results in a table and a chart.

pub(crate) mod plot;
pub(crate) mod table;

/// Formats a whole number with commas between thousands.
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
