//! Sockets that the program is shown, holds, or passes.

use super::Call;
use crate::context::ContextError;
use crate::shown::Shown;
use crate::socket::Socket;
use crate::trap::TrapKind;
use ebpfvm_spec::Errno;
use ebpfvm_spec::context::Pointee;
use std::sync::Arc;

impl Call<'_, '_> {
    /// The socket that an argument points to; none if it is null.
    ///
    /// # Errors
    /// A trap if the argument is something else.
    pub fn socket(&self, number: usize) -> Result<Option<Arc<Socket>>, TrapKind> {
        let address = self.arg(number);
        if address == 0 {
            return Ok(None);
        }
        let mut all = self.run.shown.iter().chain(self.run.ctx.shown());
        let shown = all.find(|shown| shown.address() == address);
        match shown.and_then(Shown::as_socket) {
            Some(socket) => Ok(Some(socket.clone())),
            None => Err(self.bad_arg(number, "is not a socket")),
        }
    }

    /// Shows a socket to the program until the run ends; returns the pointer, or 0 if the socket is
    /// not of the kind that the pointer shows.
    ///
    /// # Errors
    /// `ENOMEM`
    pub fn show_socket(&mut self, pointee: Pointee, socket: &Arc<Socket>) -> Result<u64, Errno> {
        let is_this = |shown: &&Shown| {
            shown.pointee() == pointee && shown.as_socket().is_some_and(|s| Arc::ptr_eq(s, socket))
        };
        if let Some(shown) = self.run.shown.iter().chain(self.run.ctx.shown()).find(is_this) {
            return Ok(shown.address());
        }
        match Shown::socket(pointee, socket.clone()) {
            None => Ok(0),
            Some(Err(_)) => Err(Errno::ENOMEM),
            Some(Ok(shown)) => {
                let address = shown.address();
                self.run.regions.show(&shown);
                self.run.shown.push(shown);
                Ok(address)
            }
        }
    }

    /// Shows a socket as [`Call::show_socket`] does, with a reference that the program releases.
    ///
    /// # Errors
    /// `ENOMEM`
    pub fn acquire_socket(&mut self, pointee: Pointee, socket: &Arc<Socket>) -> Result<u64, Errno> {
        let address = self.show_socket(pointee, socket)?;
        if address != 0 {
            self.run.acquired.push(socket.clone());
        }
        Ok(address)
    }

    /// Releases the reference to the socket that an argument points to.
    ///
    /// # Errors
    /// A trap if the argument is no socket, or one that the program has not acquired.
    pub fn release_socket(&mut self, number: usize) -> Result<(), TrapKind> {
        let socket = self.socket(number)?;
        let is_this = |held: &Arc<Socket>| socket.as_ref().is_some_and(|s| Arc::ptr_eq(s, held));
        match self.run.acquired.iter().position(is_this) {
            Some(at) => {
                self.run.acquired.swap_remove(at);
                Ok(())
            }
            None if self.checked => {
                Err(self.bad_arg(number, "is not a socket that the program has acquired"))
            }
            None => Ok(()),
        }
    }

    /// Puts a socket behind a pointer of the context, or nothing.
    ///
    /// # Errors
    /// `EINVAL` if the pointer takes no such socket, `ENOMEM`.
    pub(crate) fn set_context_socket(
        &mut self,
        name: &str,
        socket: Option<Arc<Socket>>,
    ) -> Result<(), Errno> {
        self.run.ctx.set_socket(name, socket).map_err(|error| match error {
            ContextError::OutOfMemory => Errno::ENOMEM,
            _ => Errno::EINVAL,
        })?;
        self.run.ctx.shown().iter().for_each(|shown| self.run.regions.show(shown));
        Ok(())
    }

    /// Shows a socket as it is now, wherever the program has a pointer to it.
    pub(crate) fn refresh_socket(&mut self, socket: &Arc<Socket>) {
        self.run.shown.iter().for_each(|shown| shown.refresh(socket));
        self.run.ctx.refresh_socket(socket);
    }
}
