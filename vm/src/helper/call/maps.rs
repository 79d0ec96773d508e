//! Maps that arguments name, those found in other maps, and the lock in a value.

use super::Call;
use crate::map::lock::WAIT;
use crate::map::{Map, MapRef};
use crate::run::HeldLock;
use crate::trap::TrapKind;
use ebpfvm_spec::Arg;
use std::sync::Arc;

impl<'c> Call<'c, '_> {
    /// The map that an argument names.
    ///
    /// # Errors
    /// A trap if the argument is not a map of the program.
    pub fn map(&self, number: usize) -> Result<&'c Map, TrapKind> {
        let token = self.arg(number);
        if !self.checked && self.proto.args[number - 1] == Arg::Map {
            // SAFETY: the program is safe to run, so the argument is a map: one of the instance's, or one
            // that the run holds.
            return Ok(unsafe { &*(token as *const Map) });
        }
        let named = |map: &&MapRef| Arc::as_ptr(map) as u64 == token;
        if let Some(map) = self.instance.maps().iter().find(named) {
            return Ok(map);
        }
        match self.run.inner_maps.iter().find(named) {
            // SAFETY: the run holds the map until it ends, which is after this call.
            Some(map) => Ok(unsafe { &*Arc::as_ptr(map) }),
            None => Err(self.bad_arg(number, "is not a map of the program")),
        }
    }

    /// As [`Call::map`], to hold.
    ///
    /// # Errors
    /// As [`Call::map`].
    pub(crate) fn map_ref(&self, number: usize) -> Result<MapRef, TrapKind> {
        let token = self.arg(number);
        let found = self.maps().find(|map| Arc::as_ptr(map) as u64 == token);
        found.cloned().ok_or_else(|| self.bad_arg(number, "is not a map of the program"))
    }

    /// The maps that the program can have records of: its own and those found in others.
    pub(crate) fn maps(&self) -> impl Iterator<Item = &MapRef> {
        self.instance.maps().iter().chain(&self.run.inner_maps)
    }

    /// Gives a map that lies in another to the program until the run ends; returns the value that
    /// stands for it.
    pub fn give_map(&mut self, map: MapRef) -> u64 {
        let token = Arc::as_ptr(&map) as u64;
        if !self.run.inner_maps.iter().any(|held| Arc::ptr_eq(held, &map)) {
            self.run.regions.add_slabs(map.slabs());
            self.run.inner_maps.push(map);
        }
        token
    }

    /// Takes the spin lock that an argument points to, for the program: it has it until
    /// [`unlock`](Call::unlock) or the end of the run.
    ///
    /// # Errors
    /// A trap if the argument is not the lock of a map's value, the program holds a lock already, or
    /// this one does not become free.
    pub(crate) fn lock(&mut self, number: usize) -> Result<(), TrapKind> {
        let address = self.arg(number);
        if self.run.lock.is_some() {
            return Err(self.bad_arg(number, "is a second lock: the program holds one already"));
        }
        let has = |map: &MapRef| map.has_lock_at(address as usize);
        let found = || self.instance.maps().iter().chain(&self.run.inner_maps).any(has);
        if self.checked && !found() {
            return Err(
                self.bad_arg(number, "is not the spin lock in a value of the program's maps")
            );
        }
        // SAFETY: a lock in a value, found above or by the verifier. The maps are the instance's or
        // held by the run, and both are there until the run ends, which gives the lock back.
        let taken = unsafe { HeldLock::take(address) };
        self.run.lock = Some(taken.map_err(|_| {
            let wait = WAIT.as_secs();
            self.bad_arg(number, &format!("is a lock that was not free for {wait} seconds"))
        })?);
        Ok(())
    }

    /// Gives the spin lock back that the program holds.
    ///
    /// # Errors
    /// A trap if the argument does not point to it.
    pub(crate) fn unlock(&mut self, number: usize) -> Result<(), TrapKind> {
        match self.run.lock.take() {
            Some(held) if held.address == self.arg(number) => Ok(()),
            held => {
                self.run.lock = held;
                Err(self.bad_arg(number, "is not the lock that the program holds"))
            }
        }
    }

    /// Whether the program holds a spin lock.
    pub(crate) fn holds_lock(&self) -> bool {
        self.run.lock.is_some()
    }
}
