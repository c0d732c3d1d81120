//! Volumes of a VM: overlay, seed, and what libvirt made beside them. All through the storage API.
//!
//! Every file of a VM begins with `<domain name>.`; domain names have no dot, so no other VM's does.

use std::time::Duration;

use virt::error::ErrorNumber;
use virt::storage_vol::StorageVol;
use virt::stream::Stream;

use super::super::{Seed, VmError};
use super::call::{Call, Pool};
use super::errors::optional;
use super::xml::element;
use super::{read, seed};

/// Bytes sent at once: libvirt's stream packets hold at most 256 KiB of payload.
const CHUNK: usize = 128 * 1024;

/// How often a refused refresh is tried again, and how long between.
const REFRESHES: u32 = 10;
const BETWEEN_REFRESHES: Duration = Duration::from_millis(300);

impl Call<'_> {
    /// `<domain name>.<suffix>`
    pub(super) fn file_name(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.spec.name)
    }

    /// A volume that the class names. Looked for again after a refresh: it may have been copied there.
    pub(super) fn class_volume(&self, pool: &Pool, name: &str) -> Result<StorageVol, VmError> {
        if let Some(volume) = self.volume(pool, name)? {
            return Ok(volume);
        }
        self.refresh(pool);
        self.volume(pool, name)?.ok_or_else(|| VmError::Missing {
            what: "volume",
            name: name.to_owned(),
            hint: format!("upload it to the pool {} or correct the class", self.spec.pool),
        })
    }

    pub(super) fn path(&self, volume: &StorageVol) -> Result<String, VmError> {
        volume.get_path().map_err(self.failed("read a volume's path"))
    }

    fn volume(&self, pool: &Pool, name: &str) -> Result<Option<StorageVol>, VmError> {
        let found = StorageVol::lookup_by_name(&pool.handle, name);
        optional(found, ErrorNumber::NoStorageVolume).map_err(self.failed("look up a volume"))
    }

    /// Libvirt looks at the folder again. Refused while a volume of it is being written: only for what may be old.
    pub(super) fn refresh(&self, pool: &Pool) {
        if let Err(error) = pool.handle.refresh(0) {
            tracing::debug!(
                pool = self.spec.pool,
                error = error.message(),
                "pool was not refreshed"
            );
        }
    }

    /// Libvirt looks at the folder again, for what is done to files that are missing or there. Waits a little for a
    /// volume that is being written: seeds are small.
    ///
    /// # Errors
    /// A volume is being written for longer; try again.
    pub(super) fn look_again(&self, pool: &Pool) -> Result<(), VmError> {
        let mut tries = 0;
        loop {
            let Err(error) = pool.handle.refresh(0) else {
                return Ok(());
            };
            if tries == REFRESHES {
                return Err(self.failed("refresh the pool")(error));
            }
            tries += 1;
            std::thread::sleep(BETWEEN_REFRESHES);
        }
    }

    /// The overlay over the base image, made when it is missing. Answers its path.
    pub(super) fn ensure_overlay(&self, pool: &Pool, base: &str) -> Result<String, VmError> {
        let name = self.file_name("qcow2");
        if let Some(volume) = self.volume(pool, &name)? {
            return self.path(&volume);
        }
        let failed = self.failed("make the overlay");
        let base = self.class_volume(pool, base)?;
        let capacity = base.get_info().map_err(&failed)?.capacity;
        let format = read::volume_format(&base.get_xml_desc(0).map_err(&failed)?)?;
        let backing = element("backingStore")
            .child(element("path").text(self.path(&base)?))
            .child(element("format").attr("type", format));
        let xml = element("volume")
            .child(element("name").text(&name))
            .child(element("capacity").attr("unit", "bytes").text(capacity))
            .child(element("target").child(element("format").attr("type", "qcow2")))
            .child(backing);
        self.session.check()?;
        let volume = StorageVol::create_xml(&pool.handle, &xml.to_string(), 0).map_err(&failed)?;
        self.path(&volume)
    }

    /// Writes the seed anew: called only while no domain uses it, so half a one does no harm.
    pub(super) fn write_seed(&self, pool: &Pool, seed: &Seed) -> Result<String, VmError> {
        let name = self.file_name("seed.img");
        let bytes = seed::image(seed)?;
        let failed = self.failed("upload the seed");
        self.session.check()?;
        if let Some(old) = self.volume(pool, &name)? {
            old.delete(0).map_err(&failed)?;
        }
        let xml = element("volume")
            .child(element("name").text(&name))
            .child(element("capacity").attr("unit", "bytes").text(bytes.len()))
            .child(element("target").child(element("format").attr("type", "raw")));
        let volume = StorageVol::create_xml(&pool.handle, &xml.to_string(), 0).map_err(&failed)?;
        let stream = Stream::new(self.session.connect(), 0).map_err(&failed)?;
        volume
            .upload(&stream, 0, bytes.len() as u64, 0)
            .map_err(&failed)?;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            self.session.check()?;
            let sent = stream.send(rest.get(..CHUNK).unwrap_or(rest)).map_err(&failed)?;
            rest = rest.get(sent..).unwrap_or_default();
        }
        stream.finish().map_err(&failed)?;
        self.path(&volume)
    }

    /// Names of all files of this VM.
    pub(super) fn our_files(&self, pool: &Pool) -> Result<Vec<String>, VmError> {
        self.look_again(pool)?;
        let names = pool.handle.list_volumes().map_err(self.failed("list the pool"))?;
        let prefix = self.file_name("");
        Ok(names
            .into_iter()
            .filter(|name| name.starts_with(&prefix))
            .collect())
    }

    /// Removes a volume; missing is success.
    pub(super) fn remove_file(&self, pool: &Pool, name: &str) -> Result<(), VmError> {
        self.session.check()?;
        let Some(volume) = self.volume(pool, name)? else {
            return Ok(());
        };
        optional(volume.delete(0), ErrorNumber::NoStorageVolume)
            .map(|_| ())
            .map_err(self.failed("remove a volume"))
    }

    /// Bytes that these files take, those that are there.
    pub(super) fn size_of(&self, pool: &Pool, paths: &[String]) -> Result<u64, VmError> {
        let mut sum = 0_u64;
        for name in paths.iter().filter_map(|path| path.rsplit('/').next()) {
            if let Some(volume) = self.volume(pool, name)? {
                let info = volume.get_info().map_err(self.failed("read a volume's size"))?;
                sum = sum.saturating_add(info.allocation);
            }
        }
        Ok(sum)
    }

    /// Whether all these files are in the pool.
    pub(super) fn all_there(&self, pool: &Pool, paths: &[String]) -> Result<bool, VmError> {
        for name in paths.iter().filter_map(|path| path.rsplit('/').next()) {
            if self.volume(pool, name)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
