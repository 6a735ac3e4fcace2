//! Topics: made, found, described, changed, deleted.
//!
//! ```text
//!   create:  manifest (ready 0) -> folders -> manifest (ready n) -> registry
//!   change:  manifest -> the partitions' settings
//!   delete:  manifest (Deleting) -> see delete.rs
//! ```
//!
//! Invariants
//! - One such call at a time (`Shared::admin`), and none on a broker that closes.
//! - What a call has answered for is durable; what was interrupted is finished, or undone, at the next
//!   opening. What has failed may be called again.
//! - Arguments are checked before anything is written.

use std::sync::Arc;

use super::broker::{Broker, Shared};
use super::description::TopicDescription;
use super::memory::{self, NoLock};
use super::open_partition::PartitionOpener;
use super::topic::Topic;
use super::topic_ref::TopicRef;
use super::topic_state::TopicState;
use super::{delete, folders};
use crate::config::{TopicConfig, Volatile};
use crate::env::{DirLock, Environment};
use crate::error::{Error, ErrorKind, Result};
use crate::partition::LogSettings;
use crate::segment::OpenSegments;
use crate::topic::{CodecMark, TopicLife, TopicManifest};
use crate::types::{TopicId, TopicName, TopicPartition};

impl Broker {
    /// Creates a topic, durably.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use millpond::prelude::*;
    /// use millpond::ErrorKind;
    ///
    /// let broker = Broker::open(dir.path())?;
    /// let config = TopicConfig::new().partitions(3).durability(Durability::Memory);
    /// let clicks = broker.create_topic("clicks", config)?;
    /// assert_eq!(clicks.partition_count(), 3);
    /// assert_eq!(broker.create_topic("clicks", TopicConfig::new()).unwrap_err().kind(), ErrorKind::TopicExists);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` says which rule the name breaks; `InvalidConfig` names the setting; `TopicExists`;
    /// `StorageFull`, `Io`; `Closed`.
    pub fn create_topic(&self, name: impl AsRef<str>, config: TopicConfig) -> Result<Topic> {
        let name = TopicName::new(name.as_ref())?;
        refuse_internal(&name)?;
        let _admin = self.begin_admin()?;
        let topic = self.create(name, config, None)?;
        Ok(Topic::new(self.shared.clone(), topic))
    }

    /// Opens a topic: one named by text with raw bytes, if it exists; one named by a
    /// [`TopicDef`](crate::TopicDef) with its codecs, and it is created if it does not exist.
    ///
    /// A topic remembers the codecs of its first definition; another definition of it is refused.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use millpond::prelude::*;
    /// use millpond::ErrorKind;
    /// use millpond::codec::U64;
    ///
    /// const VISITS: TopicDef<Utf8, U64> = TopicDef::new("visits").partitions(2);
    ///
    /// let broker = Broker::open(dir.path())?;
    /// assert_eq!(broker.topic("visits").unwrap_err().kind(), ErrorKind::TopicNotFound);
    /// let typed = broker.topic(&VISITS)?;                       // made here
    /// let raw = broker.topic("visits")?;                        // the same topic, as bytes
    /// assert_eq!(typed.id(), raw.id());
    ///
    /// const WRONG: TopicDef<Utf8, Utf8> = TopicDef::new("visits");
    /// assert_eq!(broker.topic(&WRONG).unwrap_err().kind(), ErrorKind::InvalidArgument);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `TopicNotFound`; `InvalidArgument` for a name that breaks the rules or a codec that is not the
    /// topic's; for a definition also those of [`create_topic`](Broker::create_topic); `Closed`.
    pub fn topic<R: TopicRef>(&self, topic: R) -> Result<Topic<R::Key, R::Value>> {
        topic.open_in(self)
    }

    /// The names of all topics, sorted; without internal ones, whose names begin with `__`.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let broker = millpond::Broker::open(dir.path())?;
    /// broker.create_topic("b", millpond::config::TopicConfig::new())?;
    /// broker.create_topic("a", millpond::config::TopicConfig::new())?;
    /// let names: Vec<String> = broker.topics().into_iter().map(String::from).collect();
    /// assert_eq!(names, ["a", "b"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn topics(&self) -> Vec<TopicName> {
        let mut names = self.shared.topics.read().names();
        names.retain(|name| !name.is_internal());
        names
    }

    /// What a topic is, and where its partitions stand.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let broker = millpond::Broker::open(dir.path())?;
    /// use millpond::config::TopicConfig;
    /// broker.create_topic("clicks", TopicConfig::new().partitions(2))?;
    /// let description = broker.describe_topic("clicks")?;
    /// assert_eq!(description.config(), &TopicConfig::new().partitions(2));
    /// assert_eq!(description.partitions().len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `TopicNotFound`, `InvalidArgument`.
    pub fn describe_topic(&self, name: impl AsRef<str>) -> Result<TopicDescription> {
        let topic = self.find(name.as_ref())?;
        Ok(TopicDescription::of(&topic))
    }

    /// Deletes a topic with everything in it. It is gone, durably, when this returns; readers keep the
    /// records that they look at, and every handle of the topic answers `Closed`.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let broker = millpond::Broker::open(dir.path())?;
    /// broker.create_topic("clicks", millpond::config::TopicConfig::new())?;
    /// broker.delete_topic("clicks")?;
    /// assert!(broker.topics().is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `TopicNotFound`, `InvalidArgument`, `Io`, `Closed`.
    pub fn delete_topic(&self, name: impl AsRef<str>) -> Result<()> {
        let _admin = self.begin_admin()?;
        let topic = self.find(name.as_ref())?;
        refuse_internal(topic.name())?;
        self.delete(&topic)
    }

    /// Gives a topic more partitions, `total` in all. Records already there stay where they are; a key may be
    /// sent to another partition from now on.
    ///
    /// If it fails, the topic has the partitions that it had. That is undone on the disk, too, unless this fails as well:
    /// then the next opening makes the partitions. Either way it may be called again.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let broker = millpond::Broker::open(dir.path())?;
    /// let clicks = broker.create_topic("clicks", millpond::config::TopicConfig::new())?;
    /// broker.add_partitions("clicks", 4)?;
    /// assert_eq!(clicks.partition_count(), 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` if the topic has as many already; `InvalidConfig` above the greatest number;
    /// `TopicNotFound`, `StorageFull`, `Io`, `Closed`.
    #[doc(alias = "create_partitions")]
    pub fn add_partitions(&self, name: impl AsRef<str>, total: u32) -> Result<()> {
        let _admin = self.begin_admin()?;
        let topic = self.find(name.as_ref())?;
        refuse_internal(topic.name())?;
        let old = topic.manifest();
        let count = old.config.partition_count();
        if total <= count && old.ready == count {
            let message = format!(
                "topic {} has {count} partitions: they can only be added, so give more than that",
                topic.name()
            );
            return Err(Error::invalid_argument(message));
        }
        let config = old.config.clone().partitions(total.max(count));
        config.validate()?;
        let mut manifest = TopicManifest { config, ..(*old).clone() };
        let (shared, memory) = (&self.shared, topic.memory());
        let home = shared.home(memory);
        let made = manifest
            .store(home.files(), home.dir)
            .and_then(|()| shared.with_opener(memory, |opener| opener.create_missing(&mut manifest)));
        let logs = made.inspect_err(|_| self.take_back(&topic, &manifest))?;
        topic.set_manifest(manifest);
        topic.partitions().add(logs);
        self.shared.groups.topic_changed(topic.name(), topic.known());
        Ok(())
    }

    /// Undoes what is done of a change to more partitions: first nobody looks for their folders any more.
    fn take_back(&self, topic: &TopicState, failed: &TopicManifest) {
        let home = self.shared.home(topic.memory());
        if topic.manifest().store(home.files(), home.dir).is_err() {
            return;
        }
        for number in topic.partitions().count()..failed.config.partition_count() {
            let tp = TopicPartition::new(topic.name().clone(), number);
            let _ = folders::remove(home.files(), &folders::folder(home.dir, &tp));
        }
    }

    /// Changes the settings of a topic; the number of partitions is changed by
    /// [`add_partitions`](Broker::add_partitions). Records that are there stay as they are; raising the durability
    /// brings them to the device first.
    ///
    /// If it fails, some partitions may have the new settings already, and the next opening gives all of them the new ones.
    /// [`Topic::config`] answers the old settings then, or, where the durability was to be lowered, the new ones: no
    /// partition promises less than it says. Call again to have the rest changed, or changed back.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let broker = millpond::Broker::open(dir.path())?;
    /// use millpond::config::{Durability, TopicConfig};
    /// let clicks = broker.create_topic("clicks", TopicConfig::new())?;
    /// broker.alter_topic("clicks", clicks.config().durability(Durability::Memory))?;
    /// assert_eq!(clicks.config().durability_level(), Durability::Memory);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidConfig` names the setting; `TopicNotFound`, `StorageFull`, `Io`, `Poisoned`, `Closed`.
    pub fn alter_topic(&self, name: impl AsRef<str>, config: TopicConfig) -> Result<()> {
        config.validate()?;
        let _admin = self.begin_admin()?;
        let topic = self.find(name.as_ref())?;
        refuse_internal(topic.name())?;
        let old = topic.manifest();
        let (count, wanted) = (old.config.partition_count(), config.partition_count());
        if count != wanted {
            let bound = format!("{count}, as the topic has it; add_partitions gives it more");
            return Err(Error::invalid_config("partitions", wanted, &bound));
        }
        if old.config.volatile_bound() != config.volatile_bound() {
            let shown =
                |bound: Option<Volatile>| bound.map_or_else(|| "none".to_owned(), |bound| bound.to_string());
            let known = shown(old.config.volatile_bound());
            let bound = format!("{known}, as the topic was made: a topic stays where it is");
            return Err(Error::invalid_config("volatile", shown(config.volatile_bound()), &bound));
        }
        self.change_settings(&topic, config)
    }

    /// Gives a topic settings that have been checked; the caller holds `admin`.
    pub(super) fn change_settings(&self, topic: &TopicState, config: TopicConfig) -> Result<()> {
        let old = topic.manifest();
        let manifest = TopicManifest { config, ..(*old).clone() };
        let home = self.shared.home(topic.memory());
        manifest.store(home.files(), home.dir)?;
        if manifest.config.durability_level().at_risk() > old.config.durability_level().at_risk() {
            // While some partitions have the old level and others the new one, the topic promises the weaker.
            topic.set_manifest(manifest.clone());
        }
        let lazy_flush = self.shared.config.memory_flush_interval_duration();
        let expiration = self.shared.config.producer_expiration_duration();
        let mut changed = Ok(());
        for log in topic.partitions().iter() {
            let settings = LogSettings::of(&manifest.config, log.settings().in_place, lazy_flush, expiration);
            // One that cannot be changed is no reason to leave the others as they are.
            changed = changed.and(log.change_settings(settings));
        }
        changed?;
        topic.set_manifest(manifest);
        Ok(())
    }

    /// Opens the topic, or makes it, and checks its codecs.
    pub(super) fn open_or_create(
        &self,
        name: TopicName,
        config: impl FnOnce() -> TopicConfig,
        codecs: [CodecMark; 2],
    ) -> Result<Arc<TopicState>> {
        let known = self.shared.topics.read().find(&name);
        if let Some(topic) = known {
            let manifest = topic.manifest();
            if manifest.key_codec.is_some() {
                return check_codecs(&manifest, &codecs).map(|()| topic);
            }
        }
        let _admin = self.begin_admin()?;
        let known = self.shared.topics.read().find(&name);
        let Some(topic) = known else { return self.create(name, config(), Some(codecs)) };
        let old = topic.manifest();
        if old.key_codec.is_some() {
            return check_codecs(&old, &codecs).map(|()| topic);
        }
        // The topic was made without a definition: this is its first.
        let [key, value] = codecs;
        let manifest = TopicManifest { key_codec: Some(key), value_codec: Some(value), ..(*old).clone() };
        let home = self.shared.home(topic.memory());
        manifest.store(home.files(), home.dir)?;
        topic.set_manifest(manifest);
        Ok(topic)
    }

    /// The topic of this name.
    pub(super) fn find(&self, name: &str) -> Result<Arc<TopicState>> {
        self.shared.closing.check_open()?;
        self.shared.topics.read().get(&TopicName::new(name)?)
    }

    pub(super) fn begin_admin(&self) -> Result<parking_lot::MutexGuard<'_, ()>> {
        let admin = self.shared.admin.lock();
        self.shared.closing.check_open()?;
        Ok(admin)
    }

    /// Makes a topic; the caller holds `admin`.
    pub(super) fn create(
        &self,
        name: TopicName,
        config: TopicConfig,
        codecs: Option<[CodecMark; 2]>,
    ) -> Result<Arc<TopicState>> {
        let shared = &*self.shared;
        config.validate()?;
        shared.topics.read().check_free(&name)?;
        let id = TopicId::from_bytes(super::manifest::random_id(&**shared.environment.random()));
        let mut manifest = TopicManifest::new(name.clone(), id, config);
        if let Some([key, value]) = codecs {
            (manifest.key_codec, manifest.value_codec) = (Some(key), Some(value));
        }
        let memory = memory::for_topic(&manifest.config, &shared.environment);
        let home = shared.home(memory.as_ref());
        if memory.is_none() {
            self.check_folders_free(&manifest)?;
        }
        let made = manifest.store(home.files(), home.dir).and_then(|()| {
            shared.with_opener(memory.as_ref(), |opener| opener.create_missing(&mut manifest))
        });
        let logs = match made {
            Ok(logs) => logs,
            Err(error) => {
                // What is left over must not come to life at the next opening. If this fails too, the
                // next opening finishes the topic, which then is there, and empty.
                let gone = TopicManifest { life: TopicLife::Deleting, ..manifest };
                if gone.store(home.files(), home.dir).is_ok() {
                    let _ = delete::finish(home.environment, home.dir, &gone);
                    let _ = folders::remove_deleted(home.files(), home.dir);
                }
                return Err(error);
            }
        };
        let topic = Arc::new(TopicState::new(manifest, logs).in_memory(memory));
        shared.topics.write().insert(name.clone(), topic.clone())?;
        if !name.is_internal() {
            shared.groups.topic_changed(&name, topic.known());
        }
        Ok(topic)
    }

    /// Refuses to make a topic over folders that no manifest speaks of: they may be all that is left of one.
    fn check_folders_free(&self, manifest: &TopicManifest) -> Result<()> {
        let shared = &*self.shared;
        let path = manifest.path(&shared.dir);
        let error = |e| Error::io("look for a topic's manifest", &path, e);
        if shared.files().exists(&path).map_err(error)? {
            // Left by a creation that failed in this process.
            let left = TopicManifest::load(shared.files(), &path)?;
            let left = TopicManifest { life: TopicLife::Deleting, ..left };
            left.store(shared.files(), &shared.dir)?;
            return delete::finish(&shared.environment, &shared.dir, &left);
        }
        for number in 0..manifest.config.partition_count() {
            let folder = folders::folder(&shared.dir, &TopicPartition::new(manifest.name.clone(), number));
            if shared.files().exists(&folder).map_err(error)? {
                let why = "a folder of this name is there, but no manifest of its topic: move it away";
                return Err(Error::corrupted(&folder, 0, why));
            }
        }
        Ok(())
    }

    fn delete(&self, topic: &TopicState) -> Result<()> {
        let shared = &*self.shared;
        // Offsets committed for this topic are gone before it is: a later one of its name inherits none.
        shared.groups.topic_deleted(topic.name(), topic.known())?;
        let manifest = TopicManifest { life: TopicLife::Deleting, ..(*topic.manifest()).clone() };
        let home = shared.home(topic.memory());
        if let Err(error) = manifest.store(home.files(), home.dir) {
            shared.groups.topic_changed(topic.name(), topic.known());
            return Err(error);
        }
        shared.topics.write().remove(topic.name());
        topic.set_deleted();
        for log in topic.partitions().iter() {
            log.delete();
            log.leave_folder();
        }
        delete::finish(home.environment, home.dir, &manifest)?;
        let mut points = shared.points.lock();
        if points.points_mut().forget_topic(topic.id()) {
            points.store(shared.files(), &shared.dir)?;
        }
        drop(points);
        // The topic is gone; what cannot be removed now (because it is mapped, on some systems) goes at
        // the next opening.
        let _ = folders::remove_deleted(home.files(), home.dir);
        Ok(())
    }
}

impl Shared {
    /// Calls with what partitions are opened with: in this memory, or on the disk.
    pub(super) fn with_opener<T>(
        &self,
        memory: Option<&Environment>,
        call: impl FnOnce(&PartitionOpener<'_>) -> Result<T>,
    ) -> Result<T> {
        let pin: Option<Arc<dyn DirLock>> = self.lock.lock().clone();
        let Some(pin) = pin else { return Err(Error::closed("the broker")) };
        let home = self.home(memory);
        if memory.is_some() {
            return call(&PartitionOpener {
                environment: home.environment,
                dir: home.dir,
                config: &self.config,
                pin: &(Arc::new(NoLock) as Arc<dyn DirLock>),
                cells: None,
                map: false,
                budget: &self.budget,
                // Files in memory cost no descriptors.
                open_segments: &OpenSegments::new(u64::MAX / 2),
                service: &self.service,
            });
        }
        call(&PartitionOpener {
            environment: &self.environment,
            dir: &self.dir,
            config: &self.config,
            pin: &pin,
            cells: self.cells.as_ref(),
            map: self.map,
            budget: &self.budget,
            open_segments: &self.open_segments,
            service: &self.service,
        })
    }
}

/// What an internal topic holds only the broker writes: groups and transactions count on it.
pub(super) fn refuse_internal(name: &TopicName) -> Result<()> {
    if !name.is_internal() {
        return Ok(());
    }
    Err(Error::invalid_argument(format!(
        "topic {name} is internal: what begins with __ belongs to the broker"
    )))
}

fn check_codecs(manifest: &TopicManifest, codecs: &[CodecMark; 2]) -> Result<()> {
    let known = [("keys", &manifest.key_codec), ("values", &manifest.value_codec)];
    for ((what, known), asked) in known.into_iter().zip(codecs) {
        if let Some(known) = known.as_ref().filter(|known| known.name != asked.name) {
            let message = format!(
                "topic {} has its {what} in the codec {}, not in {}; open it by its name to see raw bytes",
                manifest.name, known.name, asked.name
            );
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
    }
    Ok(())
}
