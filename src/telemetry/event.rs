//! How an event is emitted: with its name as metadata and as a field.

/// The level of an event whose level depends on what happened before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

/// Emits an event of this crate. The field `event` repeats the name, because formatters show
/// fields and no names.
macro_rules! event {
    ($level:ident, $name:literal, $($rest:tt)*) => {
        tracing::$level!(
            name: $name,
            target: "tower_oauth2_client",
            event = $name,
            $($rest)*
        )
    };
}

/// As [`event!`], at a [`Level`] that is known at run time only.
macro_rules! event_at {
    ($level:expr, $name:literal, $($rest:tt)*) => {
        match $level {
            $crate::telemetry::event::Level::Error => {
                $crate::telemetry::event::event!(error, $name, $($rest)*);
            }
            $crate::telemetry::event::Level::Warn => {
                $crate::telemetry::event::event!(warn, $name, $($rest)*);
            }
            $crate::telemetry::event::Level::Info => {
                $crate::telemetry::event::event!(info, $name, $($rest)*);
            }
            $crate::telemetry::event::Level::Debug => {
                $crate::telemetry::event::event!(debug, $name, $($rest)*);
            }
        }
    };
}

pub(super) use {event, event_at};
