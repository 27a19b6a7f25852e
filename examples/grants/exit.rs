//! Exit codes.

/// How a command ended. A wrong command line ends with code 2, before a command starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The work is done.
    Done,
    /// The work could not be done.
    Failed,
    /// The command ran, and something is left to do.
    Left,
}

impl Exit {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Left => 3,
        }
    }

    /// [`Done`](Self::Done) if nothing is left.
    pub(crate) fn done_if(is_done: bool) -> Self {
        if is_done { Self::Done } else { Self::Left }
    }
}
