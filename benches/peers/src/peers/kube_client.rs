//! `AuthLayer` of kube-client, with a token that a plugin prints (`exec`), as for clusters of cloud
//! providers. The plugin is this program, run with one argument.

use std::{
    collections::BTreeMap,
    env,
    io::{self, Write},
};

use jiff::{SignedDuration, Timestamp};
use kube_client::{
    Config,
    client::ConfigExt,
    config::{AuthInfo, ExecConfig, ExecInteractiveMode},
};
use tower::{BoxError, Layer};

use super::peer::{Failure, Peer, Side};
use crate::{
    load::{Stack, load},
    work::{LIFETIME, Noop, ORIGIN, TOKEN},
};

/// The argument with which this program prints a credential.
pub(crate) const PLUGIN: &str = "exec-credential";

const API: &str = "client.authentication.k8s.io/v1";

pub(super) const EXEC: Peer = Peer {
    package: "kube-client",
    part: "`AuthLayer` (exec)",
    variant: None,
    retry: "no",
    side: Side::Theirs,
    warm: |_| {
        let mut config = Config::new(ORIGIN.parse()?);
        config.auth_info = AuthInfo {
            exec: Some(plugin()?),
            ..AuthInfo::default()
        };
        let layer = config.auth_layer()?.ok_or("the plugin printed no token")?;
        Ok(load(Stack(layer.layer(Noop::<BoxError>::new()))))
    },
    bare: None,
};

fn plugin() -> Result<ExecConfig, Failure> {
    let program = env::current_exe()?;
    Ok(ExecConfig {
        api_version: Some(API.into()),
        command: Some(
            program
                .to_str()
                .ok_or("the path of this program is not UTF-8")?
                .into(),
        ),
        args: Some(vec![PLUGIN.into()]),
        env: None,
        drop_env: None,
        install_hint: None,
        interactive_mode: Some(ExecInteractiveMode::Never),
        provide_cluster_info: false,
        cluster: None,
        other: BTreeMap::new(),
    })
}

/// Prints a credential as a plugin does.
pub(crate) fn print_credential() -> Result<(), Failure> {
    let credential = serde_json::json!({
        "apiVersion": API,
        "kind": "ExecCredential",
        "status": {
            "token": TOKEN.as_str(),
            "expirationTimestamp": (Timestamp::now() + SignedDuration::try_from(LIFETIME)?).to_string(),
        },
    });
    writeln!(io::stdout(), "{credential}")?;
    Ok(())
}
