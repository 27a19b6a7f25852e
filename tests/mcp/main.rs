//! The authorization of MCP clients, against servers in this process and in virtual time.

mod company;
mod connecting;
mod enterprise;
mod hostile;
mod kept;
mod pushed;
mod step_up;
mod support;
