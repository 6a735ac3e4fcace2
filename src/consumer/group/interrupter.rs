//! What ends a wait for records from another thread.
//!
//! Invariant: it ends one `poll`, the one that waits or the next.

use std::sync::Arc;

use super::mailbox::Mailbox;

/// Ends a `poll` of a consumer from elsewhere: the one that waits, or the next one, hands out nothing and returns.
#[derive(Clone, Debug)]
pub struct Interrupter {
    mailbox: Arc<Mailbox>,
}

impl Interrupter {
    pub(super) fn of(mailbox: &Arc<Mailbox>) -> Interrupter {
        Interrupter { mailbox: mailbox.clone() }
    }

    /// Ends the `poll`.
    pub fn interrupt(&self) {
        self.mailbox.interrupt();
    }
}
