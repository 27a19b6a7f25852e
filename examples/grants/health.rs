//! The command `health`.

use std::{
    error::Error,
    io::{Write as _, stdout},
};

use crate::{exit::Exit, session::Session};

pub(crate) async fn health(session: &Session) -> Result<Exit, Box<dyn Error>> {
    let health = session.tenants()?.health().await;
    writeln!(stdout(), "{}", serde_json::to_string(&health)?)?;
    Ok(Exit::done_if(health.is_ready()))
}
