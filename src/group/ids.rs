//! Names of groups and of their members.
//!
//! Invariants: a group's name and an instance id have 1 to 255 bytes and no control character; a member's
//! id is given by the coordinator and never given again.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::types::check_plain;

/// The longest name of a group or an instance, in bytes.
pub const MAX_NAME_LEN: usize = 255;

fn check(what: &str, name: &str) -> Result<()> {
    check_plain(what, name, MAX_NAME_LEN).map_err(Error::invalid_argument)
}

/// What a member calls itself must be a name.
///
/// # Errors
/// `InvalidArgument` says which rule it breaks.
pub(crate) fn check_client_id(name: &str) -> Result<()> {
    check("client id", name)
}

/// The name of an assignor is written down with the group.
///
/// # Errors
/// `InvalidArgument` says which rule it breaks.
pub(super) fn check_assignor(name: &str) -> Result<()> {
    check("name of the assignor", name)
}

macro_rules! names {
    ($type:ident) => {
        impl $type {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

/// A group's name: 1 to 255 bytes without control characters.
///
/// ```
/// use millpond::group::GroupId;
/// assert_eq!(GroupId::new("billing")?.as_str(), "billing");
/// assert!(GroupId::new("").is_err());
/// # Ok::<(), millpond::Error>(())
/// ```
#[doc(alias = "group.id")]
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(Arc<str>);

impl GroupId {
    /// Checks a name.
    ///
    /// # Errors
    /// `InvalidArgument` says which rule it breaks.
    pub fn new(name: &str) -> Result<GroupId> {
        check("group name", name)?;
        Ok(GroupId(Arc::from(name)))
    }
}

impl FromStr for GroupId {
    type Err = Error;

    fn from_str(text: &str) -> Result<GroupId> {
        GroupId::new(text)
    }
}

/// The lasting name of a static member: whoever joins by it gets the partitions back that it had.
///
/// ```
/// use millpond::group::InstanceId;
/// assert_eq!(InstanceId::new("worker-1")?.to_string(), "worker-1");
/// assert!(InstanceId::new("two\nlines").is_err());
/// # Ok::<(), millpond::Error>(())
/// ```
#[doc(alias = "group.instance.id")]
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(Arc<str>);

impl InstanceId {
    /// Checks a name.
    ///
    /// # Errors
    /// `InvalidArgument` says which rule it breaks.
    pub fn new(name: &str) -> Result<InstanceId> {
        check("instance id", name)?;
        Ok(InstanceId(Arc::from(name)))
    }
}

/// Names a member of a group, for as long as it is one.
///
/// ```
/// use millpond::group::MemberId;
/// assert_eq!(MemberId::new("consumer-1").to_string(), "consumer-1");
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(Arc<str>);

impl MemberId {
    /// The member of this id; for tests of an assignor.
    #[must_use]
    pub fn new(id: &str) -> MemberId {
        MemberId(Arc::from(id))
    }
}

names!(GroupId);
names!(InstanceId);
names!(MemberId);
