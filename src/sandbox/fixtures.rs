//! The test data: a company and its members.

use serde_json::{Value, json};

/// A member of the company.
pub(super) struct Member {
    pub(super) id: String,
    pub(super) active: bool,
    /// RFC 3339, in UTC.
    pub(super) updated_at: String,
    /// Name, required scope, and value of each field.
    pub(super) fields: Vec<(&'static str, &'static str, Value)>,
}

pub(super) fn company() -> Value {
    json!({
        "id": id("company", 1),
        "tax_id": "00-0000001",
        "display_name": COMPANY_NAME,
        "legal_name": "Sandbox Bakery, Inc.",
        "addresses": [{
            "line1": "1 Loopback Lane",
            "city": "New York",
            "state": "NY",
            "postal_code": "10001",
            "country": "US",
        }],
        "departments": [{ "id": id("department", 1), "name": "Ovens" }],
        "offices": [{ "id": id("office", 1), "name": "Main office" }],
        "phones": [],
        "country_data": { "US": {} },
        "created_at": "2020-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
    })
}

/// An id in the form of the real ones: a word and 26 characters.
pub(super) fn id(prefix: &str, number: usize) -> String {
    format!("{prefix}_{number:026}")
}

pub(super) const COMPANY_NAME: &str = "Sandbox Bakery";

const BASIC: &str = "member.basic:read";
const DETAIL: &str = "member.detail:read";
const EMPLOYMENT: &str = "member.employment:read";
const PAY: &str = "member.pay:read";

/// The member at this index, always with the same data.
pub(super) fn member(index: usize) -> Member {
    let number = index + 1;
    let given = GIVEN_NAMES[index % GIVEN_NAMES.len()];
    let family = FAMILY_NAMES[index / GIVEN_NAMES.len() % FAMILY_NAMES.len()];
    let active = !number.is_multiple_of(5);
    let day = index % 28 + 1;
    let started = format!("2021-03-{day:02}");
    let updated_at = format!("2026-01-{day:02}T12:00:00Z");
    let member_type = match number % 10 {
        3 => "contractor",
        7 => "international_employee",
        _ => "employee",
    };
    let mut fields = vec![
        ("id", BASIC, id("member", number).into()),
        ("company_id", BASIC, id("company", 1).into()),
        ("work_id", BASIC, format!("W{number:04}").into()),
        (
            "name",
            BASIC,
            json!({
                "given_name": given,
                "family_name": family,
                "full_preferred_name": format!("{given} {family}"),
                "additional_names": [],
            }),
        ),
        ("active", BASIC, active.into()),
        ("type", BASIC, member_type.into()),
        ("job_title", BASIC, "Baker".into()),
        (
            "emails",
            BASIC,
            json!([{ "address": format!("member{number}@sandbox.example"), "type": "work" }]),
        ),
        (
            "department",
            BASIC,
            json!({ "id": id("department", 1), "name": "Ovens" }),
        ),
        (
            "office",
            BASIC,
            json!({ "id": id("office", 1), "name": "Main office" }),
        ),
        ("created_at", BASIC, format!("{started}T09:00:00Z").into()),
        ("updated_at", BASIC, updated_at.clone().into()),
    ];
    fields.extend(detailed_fields(index, &started));
    // The Partner API omits empty values.
    if !active {
        fields.push((
            "employment_termination_date",
            EMPLOYMENT,
            "2025-11-30".into(),
        ));
    }
    Member {
        id: id("member", number),
        active,
        updated_at,
        fields,
    }
}

/// The fields that need more than the basic scope.
fn detailed_fields(index: usize, started: &str) -> Vec<(&'static str, &'static str, Value)> {
    let number = index + 1;
    let day = index % 28 + 1;
    let employment = json!({
        "job_title": "Baker",
        "start_date": started,
        "department_id": id("department", 1),
    });
    let pay = json!({
        "amount": 2_500 + 100 * (index % 10),
        "currency": "USD",
        "unit": "hour",
        "effective_date": started,
    });
    vec![
        ("employment_location_type", DETAIL, "office".into()),
        (
            "addresses",
            DETAIL,
            json!([{
                "line1": format!("{number} Crumb Street"),
                "city": "New York",
                "state": "NY",
                "postal_code": "10001",
                "country": "US",
            }]),
        ),
        ("phones", DETAIL, json!([])),
        ("date_added_to_justworks", DETAIL, started.into()),
        ("employment_start_date", EMPLOYMENT, started.into()),
        ("current_employment", EMPLOYMENT, employment.clone()),
        ("employment_history", EMPLOYMENT, json!([employment])),
        ("current_pay", PAY, pay.clone()),
        ("current_pay_frequency", PAY, "biweekly".into()),
        ("pay_history", PAY, json!([pay])),
        (
            "date_of_birth",
            "member.dob:read",
            format!("{}-06-{day:02}", 1960 + index % 40).into(),
        ),
        (
            "sex_assigned_at_birth",
            "member.sex:read",
            ["female", "male"][index % 2].into(),
        ),
    ]
}

const GIVEN_NAMES: [&str; 8] = [
    "Ada", "Béla", "Chidi", "Dana", "Esra", "Fumiko", "Grace", "Hedy",
];
const FAMILY_NAMES: [&str; 5] = ["Rye", "Wheat", "Spelt", "Barley", "Millet"];
