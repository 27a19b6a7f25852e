//! The command `diagnose`.

use std::{
    error::Error,
    io::{Write as _, stdout},
};

use tower_oauth2_client::cache::Cause;

use crate::{
    arguments::Show,
    exit::Exit,
    session::{Session, tenant},
};

pub(crate) async fn diagnose(session: &Session, options: &Show) -> Result<Exit, Box<dyn Error>> {
    let tenant = tenant(&options.tenant)?;
    let diagnosis = session.tenants()?.diagnose(&tenant).await;
    if options.json {
        writeln!(stdout(), "{}", serde_json::to_string(&diagnosis)?)?;
    } else {
        writeln!(stdout(), "{diagnosis}")?;
    }
    Ok(Exit::done_if(diagnosis.cause == Cause::None))
}
